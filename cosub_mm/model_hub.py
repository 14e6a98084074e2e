"""Our models by name.

``mmpretrain.get_model('cosub_vit-b_in1k')``,
``mmseg.apis.MMSegInferencer('ade20k_upernet_vit-b_512')``.
Neither library asks other packages for an index, so their look-ups are extended here.
"""

from pathlib import Path

__all__ = ['index_root', 'leave_teacher_out', 'register_models', 'register_segmentors']


def index_root() -> Path:
    """Folder that holds ``model-index.yml`` and ``configs``: of the wheel or of the repository.

    Raises:
        FileNotFoundError: neither has one, so the package was not installed whole.
    """
    package = Path(__file__).resolve().parent
    for root in (package / '.mim', package.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise FileNotFoundError(
        f"cosub_mm has no model-index.yml in '{package / '.mim'}' or '{package.parent}': the "
        f'package is incomplete. Install it again by pip.'
    )


def leave_teacher_out(model: dict) -> None:
    """Let a model that was distilled be built without its teacher, which only training needs.

    Args:
        model: the config of a model; changed in place.
    """
    if str(model.get('type')).rpartition('.')[2] == 'DistilledClassifier':
        model.update(teacher=None, teacher_checkpoint=None)


def register_models() -> None:
    """Add our models when mmpretrain reads its own index, at the first name that is asked for.

    Reading the index of all configs takes longer than importing the package.
    """
    from mmpretrain.apis.model import ModelHub

    read_mmpretrains, get_theirs = ModelHub._register_mmpretrain_models, ModelHub.get
    if getattr(read_mmpretrains, 'reads_cosub', False):
        return

    def read_all(cls) -> None:
        read_mmpretrains()
        if not ModelHub.has('cosub_vit-b_in1k'):
            root = index_root()
            ModelHub.register_model_index(root / 'model-index.yml', config_prefix=root)

    def get(cls, model_name):
        found = get_theirs(model_name)
        leave_teacher_out(found.config.model)  # whoever asks for a name predicts
        if found.config.get('default_scope') == 'mmseg':
            import mmseg.models  # noqa: F401  (its registry, in which the model is built)

            found.config.model['_scope_'] = 'mmseg'
        return found

    read_all.reads_cosub = True
    ModelHub._register_mmpretrain_models = classmethod(read_all)
    ModelHub.get = classmethod(get)


def register_segmentors() -> None:
    """Let mmseg's inferencer find our configs by name; weights are given by ``weights=``."""
    from mmengine.config import Config
    from mmseg.apis.mmseg_inferencer import MMSegInferencer

    load_theirs = MMSegInferencer._load_model_from_metafile
    if getattr(load_theirs, 'reads_cosub', False):
        return

    def load(self, model: str):
        folder, _, stem = model.lower().partition('_')
        config = index_root() / 'configs' / folder / f'{stem}.py'
        if folder == 'ade20k' and config.is_file():
            return Config.fromfile(config), None
        return load_theirs(self, model)

    load.reads_cosub = True
    MMSegInferencer._load_model_from_metafile = load
