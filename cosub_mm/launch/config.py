"""Configs as the tools need them: checked overrides, and the defaults that depend on the task."""

from difflib import get_close_matches
from pathlib import Path

import torch
from mmengine.config import Config

from cosub_mm.checks.walk import PARTS, datasets_of
from cosub_mm.engine.worker_watch import WORKER_TIMEOUT
from cosub_mm.model_hub import index_root

from .option_merge import merge_options

__all__ = [
    'add_training_hooks',
    'check_task',
    'load_config',
    'name_absent_classes',
    'set_data_root',
    'set_dataloader_defaults',
    'task_of',
]

TASKS = {'mmpretrain': 'classification', 'mmseg': 'segmentation'}
COLLATE = {'classification': 'default_collate', 'segmentation': 'pseudo_collate'}


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config file and merge checked overrides into it.

    Args:
        path: a text config.
        options: ``{'a.b.c': value}`` as ``--cfg-options`` gives it.

    Raises:
        FileNotFoundError: no such file; the message names similar ones.
        ValueError: an override that cannot mean anything, a config without a known task, or one
            whose own code fails.
    """
    path = _shipped(path)
    if not Path(path).is_file():
        known = [str(p) for p in Path('configs').rglob('*.py')]
        near = get_close_matches(path, known, n=3, cutoff=0.6)
        near += [p for p in known if Path(p).name == Path(path).name and p not in near]
        hint = f' Did you mean {", ".join(near)}?' if near else ' See configs/ for what there is.'
        raise FileNotFoundError(f"config file '{path}' does not exist.{hint}")
    cfg = _read(path)
    if options:
        merge_options(cfg, options)
    task_of(cfg)
    return cfg


def _read(path: str) -> Config:
    try:
        return Config.fromfile(path)
    except OSError:  # names the file: one of its bases
        raise
    except Exception as error:  # a config is code of the user's: it may raise anything
        raise ValueError(
            f"config '{path}' cannot be read: {type(error).__name__}: {error} [COSUB_DEBUG=1 shows "
            f'where]'
        ) from error


def _shipped(path: str) -> str:
    """A config of ours by its path in the repository, also where only the package is installed."""
    if Path(path).is_file() or Path(path).parts[:1] != ('configs',):
        return path
    shipped = index_root() / path
    return str(shipped) if shipped.is_file() else path


def task_of(cfg: Config) -> str:
    """'classification' or 'segmentation', from ``default_scope``.

    Raises:
        ValueError: another ``default_scope``, or none.
    """
    scope = cfg.get('default_scope')
    if scope not in TASKS:
        allowed = ' or '.join(f"'{name}' ({task})" for name, task in TASKS.items())
        raise ValueError(f'default_scope={scope!r} in the config: these tools know {allowed}.')
    return TASKS[scope]


def check_task(cfg: Config, task: str) -> None:
    """Refuse a config of the other task.

    Raises:
        ValueError: it is not a config of ``task``.
    """
    if task_of(cfg) != task:
        raise ValueError(f'this tool is for {task}; the config is one of {task_of(cfg)}.')


def set_data_root(cfg: Config, data_root: str) -> None:
    """Let every data set of the config read from ``data_root``.

    Raises:
        FileNotFoundError: no such folder.
    """
    if '://' not in data_root and not Path(data_root).is_dir():
        raise FileNotFoundError(f"--data-root '{data_root}' is not a folder.")
    for _, dataset in datasets_of(cfg):
        dataset['data_root'] = data_root


def set_dataloader_defaults(cfg: Config) -> None:
    """Collating by task, pinned memory with a GPU, workers that are not waited for for ever."""
    for part in PARTS:
        loader = cfg.get(f'{part}_dataloader')
        if not loader:
            continue
        # A stock mmpretrain config leaves collating to the tool; mmseg stacks in the model.
        loader.setdefault('collate_fn', dict(type=COLLATE[task_of(cfg)]))
        loader.setdefault('pin_memory', torch.cuda.is_available())
        loader.setdefault('timeout', WORKER_TIMEOUT)
        if not loader.get('num_workers'):
            loader['persistent_workers'] = False
    if cfg.get('train_dataloader'):
        cfg.train_dataloader.setdefault('worker_init_fn', dict(type='mmengine.seed_worker'))


def name_absent_classes(cfg: Config) -> None:
    """Put our IoUMetric, which has the same values, in the place of mmseg's."""
    for part in ('val', 'test'):
        evaluators = cfg.get(f'{part}_evaluator') or []
        for one in [evaluators] if isinstance(evaluators, dict) else evaluators:
            if one.get('type') in ('IoUMetric', 'mmseg.IoUMetric'):
                one['type'] = 'mmseg.CosubIoUMetric'


def add_training_hooks(cfg: Config) -> None:
    """Add the hooks every training needs, unless the config has them already."""
    hooks = list(cfg.get('custom_hooks') or [])
    present = {str(hook.get('type')).rpartition('.')[2] for hook in hooks}
    for name in ('EpochSeedHook', 'FiniteLossHook', 'GradientHook'):
        if name not in present:
            hooks.append(dict(type=f'mmengine.{name}'))
    cfg.custom_hooks = hooks
