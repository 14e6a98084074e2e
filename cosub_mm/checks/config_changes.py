"""What a resumed run is asked to do otherwise than the run that wrote its checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.dist import get_world_size

from cosub_mm.engine.batch_size import global_batch_size
from cosub_mm.engine.checkpoints import recorded_config
from cosub_mm.engine.code_version import code_changes, code_version
from cosub_mm.version import __version__

__all__ = ['CHOICES', 'Change', 'changes_between', 'compare_with_checkpoint', 'restore']

CHOICES = ('stop', 'new', 'old')

# The sections of a config that decide what is learned. All others, such as logs, work dir,
# launcher, evaluation and the processes' environment, may change between stop and resume.
SECTIONS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'auto_scale_lr',
    'custom_hooks',
    'randomness',
)
# Below those, what changes nothing that is learned, by the last name of its path.
HARMLESS = {
    'ann_file',
    'collate_fn',
    'data_prefix',
    'data_root',
    'init_cfg',
    'lazy_init',
    'multiprocessing_context',
    'num_workers',
    'timeout',
    'persistent_workers',
    'pin_memory',
    'policy',
    'prefetch_factor',
    'dynamic_intervals',
    'val_begin',
    'val_interval',
    'worker_init_fn',
}
HARMLESS_PATHS = ('model.test_cfg', 'randomness.deterministic', 'auto_scale_lr.base_batch_size')
# Classes that compute the same, by name; the first starts from other weights or is slower.
SAME_CLASSES = ({'Lamb', 'CosubLamb'}, {'XCiT', 'CosubXCiT'})
# Hooks that look on; any other hook may change what is learned.
ONLOOKERS = ('Draw', 'Visualization', 'Profiler', 'Logger', 'Memory', 'Seed', 'FiniteLoss')
ABSENT = '(not set)'
# Settings of which only the product with the number of processes counts.
BATCH = (('train_dataloader', 'batch_size'), ('optim_wrapper', 'accumulative_counts'))


@dataclass(frozen=True)
class Change:
    """One setting that differs.

    Attributes:
        path: keys and positions that lead to it, as ``('optim_wrapper', 'optimizer', 'lr')``.
        old: its value in the checkpoint's config; :data:`ABSENT` where it is not set.
        new: its value in the config asked for.
    """

    path: tuple[str | int, ...]
    old: object
    new: object

    def __str__(self) -> str:
        return f'{".".join(map(str, self.path))}: {_short(self.old)} -> {_short(self.new)}'


def compare_with_checkpoint(cfg: Config, meta: dict, choice: str) -> None:
    """Stop where the config differs from the checkpoint's, or do what was chosen.

    Args:
        cfg: the config of the run that goes on; with ``'old'`` changed in place.
        meta: of the checkpoint.
        choice: one of :data:`CHOICES`.

    Raises:
        ValueError: settings differ and ``choice`` is ``'stop'``; the message lists them.
    """
    recorded = recorded_config(dict(meta=meta))
    if recorded is None:
        print('the checkpoint holds no config: its settings cannot be compared', flush=True)
        return
    if meta.get('seed') is not None:  # which mmengine drew where the config gave none
        recorded['randomness'] = dict(recorded.get('randomness') or {}, seed=meta['seed'])
    _say_versions(meta)
    world_size = get_world_size()
    old_world_size = meta.get('world_size', world_size)
    before = _images(Config(recorded), old_world_size)
    now = _images(cfg, world_size)
    changes = changes_between(recorded, cfg)
    if before == now:  # whatever makes them up
        changes = [change for change in changes if change.path not in BATCH]
    listed = [str(change) for change in changes]
    if before != now:
        listed.append(_new_batch(before, now, old_world_size, world_size))
    elif old_world_size != world_size:
        print(
            f'{world_size} process(es) go on where {old_world_size} stopped, with as many images a '
            f'step: the same recipe, other random numbers',
            flush=True,
        )
    if not listed:
        return
    lines = '\n  '.join(listed)
    if choice == 'stop':
        raise ValueError(
            f'the run is to go on with other settings than the checkpoint was trained with:\n  '
            f'{lines}\nGive --on-config-change new to go on with the new ones (schedules are put '
            f'where a run of this config would be), or --on-config-change old to keep the '
            f"checkpoint's."
        )
    if choice == 'old':
        restore(cfg, recorded, changes)
        left = _images(cfg, world_size)
        if left != before:
            raise ValueError(
                f'{_new_batch(before, left, old_world_size, world_size)}: the old batch needs the '
                'old number of processes.'
            )
    print(f'going on with the {choice} settings:\n  {lines}', flush=True)


def _images(cfg: Config, world_size: int) -> tuple[int, int]:
    """Images an iteration, and between two steps of the optimizer."""
    return cfg.train_dataloader.batch_size * world_size, global_batch_size(cfg, world_size)


def _new_batch(before: tuple, now: tuple, old_world_size: int, world_size: int) -> str:
    """Say what another batch means; schedules, intervals and lengths count iterations or epochs."""
    place = 1 if before[1] != now[1] else 0
    words = ('images an iteration, of which the schedules count', 'images between two steps')[place]
    processes = (
        f' ({old_world_size} -> {world_size} processes)' if old_world_size != world_size else ''
    )
    return f'{words}: {before[place]} -> {now[place]}{processes}'


def _say_versions(meta: dict) -> None:
    before = meta.get('code') or {'cosub_mm': meta.get('cosub_mm_version', __version__)}
    changes = code_changes(before, code_version())
    if changes:
        print(
            f'the code is not the one that wrote the checkpoint: {", ".join(changes)}', flush=True
        )


def changes_between(recorded: Mapping, asked: Mapping) -> list[Change]:
    """Differences that change what the rest of a run learns.

    Args:
        recorded: the config in the checkpoint.
        asked: the config of the run that goes on from it.
    """
    found = []
    for section in SECTIONS:
        old, new = recorded.get(section), asked.get(section)
        if section == 'custom_hooks':
            old, new = _by_type(old), _by_type(new)
        found += _differences((section,), _plain(old), _plain(new))
    return [change for change in found if not _harmless(change)]


def restore(cfg: Config, recorded: Mapping, changes: list[Change]) -> None:
    """Put the checkpoint's settings back into the config of the resumed run.

    Args:
        cfg: changed in place.
        recorded: the config in the checkpoint.
        changes: what differs.
    """
    for section in dict.fromkeys(change.path[0] for change in changes):
        if section == 'custom_hooks':
            ours = [h for h in cfg.get(section) or [] if _looks_on(h)]
            cfg[section] = ours + [h for h in recorded.get(section) or [] if not _looks_on(h)]
        elif section == 'train_dataloader':
            for change in changes:
                if change.path[0] == section:
                    _set(cfg._cfg_dict, change)
        else:
            cfg[section] = recorded.get(section)


def _set(node: Mapping, change: Change) -> None:
    """Write the old value of a change below a section; lists are replaced as a whole."""
    *way, last = change.path
    for name in way:
        node = node[name]
    if change.old is ABSENT:
        node.pop(last, None)
    else:
        node[last] = change.old


def _differences(path: tuple, old: object, new: object) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key in old and key in new:
                yield from _differences((*path, key), old[key], new[key])
            else:
                yield Change((*path, key), old.get(key, ABSENT), new.get(key, ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new)):
            yield from _differences((*path, i), one, other)
    elif old != new and not (not old and not new and path[-1] in SECTIONS):
        yield Change(path, old, new)


def _harmless(change: Change) -> bool:
    if any(str(name) in HARMLESS for name in change.path):
        return True
    dotted = '.'.join(map(str, change.path))
    if dotted.startswith(HARMLESS_PATHS):
        return True
    if change.path[-1] == 'type':
        names = {str(value).removeprefix('mmpretrain.') for value in (change.old, change.new)}
        if any(names <= same for same in SAME_CLASSES):
            return True
    # A seed that nobody asked for is taken over from the checkpoint.
    return change.path == ('randomness', 'seed') and change.new in (None, ABSENT)


def _by_type(hooks: object) -> dict[str, object]:
    """Hooks by type, as their order in the config changes nothing; onlookers are left out."""
    named = {}
    for hook in hooks or []:
        if not _looks_on(hook):
            kind = str(hook.get('type')).rpartition('.')[2]
            named.setdefault(kind, []).append({k: v for k, v in hook.items() if k != 'type'})
    return named


def _looks_on(hook: object) -> bool:
    return not isinstance(hook, Mapping) or any(word in str(hook.get('type')) for word in ONLOOKERS)


def _plain(value: object) -> object:
    """The same with dict and list only; a class is known by its name, as a dumped config has it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key != '_scope_'}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        return f'{value.__module__}.{value.__qualname__}'
    return value


def _short(value: object) -> str:
    text = repr(value) if value is not ABSENT else ABSENT
    return text if len(text) <= 100 else f'{text[:97]}...'
