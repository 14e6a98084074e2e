"""Our models by name: ``mmpretrain.get_model('cosub_vit-b_in1k')``."""

from pathlib import Path

__all__ = ['index_root', 'register_models']


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


def register_models() -> None:
    """Add our models when mmpretrain reads its own index, at the first name that is asked for.

    Reading the index of all configs takes longer than importing the package.
    """
    from mmpretrain.apis.model import ModelHub

    read_mmpretrains = ModelHub._register_mmpretrain_models
    if getattr(read_mmpretrains, 'reads_cosub', False):
        return

    def read_all(cls) -> None:
        read_mmpretrains()
        if not ModelHub.has('cosub_vit-b_in1k'):
            root = index_root()
            ModelHub.register_model_index(root / 'model-index.yml', config_prefix=root)

    read_all.reads_cosub = True
    ModelHub._register_mmpretrain_models = classmethod(read_all)
