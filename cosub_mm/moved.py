"""Old names of modules that have moved; they go with the version after this one."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ['MOVED', 'know_old_names']

# new folder -> old names, ``old=new`` where the file has another name now
_ROOMS = {
    'analysis': 'datasets.loading_rates datasets.reference_pipeline datasets.startup '
    'evaluation.complexity evaluation.curves evaluation.label_maps evaluation.step_cost '
    'evaluation.training_memory',
    'architectures': 'engine.optimizers.layer_groups=layer_depths models.convert',
    'checks': 'datasets.checks=data datasets.folders datasets.label_checks=labels '
    'datasets.verification=every_file engine.config_changes engine.labels=classes '
    'engine.run_length engine.strategies',
    'datasets.imagenet21k': 'datasets.image_index datasets.image_table datasets.preparation '
    'datasets.tar_backend',
    'demo': 'datasets.demo=data datasets.manifest engine.stages',
    'engine.hooks': 'engine.drawing',
    'launch': 'engine.cli=arguments engine.config engine.distributed engine.errors '
    'engine.interruption engine.isolation engine.launch=run engine.missed_validation '
    'engine.one_voice engine.option_merge engine.outputs engine.overrides engine.rendezvous '
    'engine.resume_point engine.tested_weights engine.torchrun engine.tta engine.work_dir '
    'engine.work_dir_lock',
}
MOVED = {}
"""Old name of a module -> its name."""
for _room, _names in _ROOMS.items():
    for _name in _names.split():
        _old, _, _new = _name.partition('=')
        MOVED[f'cosub_mm.{_old}'] = f'cosub_mm.{_room}.{_new or _old.rpartition(".")[2]}'


def know_old_names() -> None:
    """Let the old names be imported, with a warning that says the new one."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())  # last: it is asked for what nobody else has


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(
            f'{old} is {MOVED[old]} now; the old name goes with the next version.',
            FutureWarning,
            stacklevel=2,
        )
        sys.modules[old] = import_module(MOVED[old])  # which the import hands out
