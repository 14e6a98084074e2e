"""What a save that fails (disk full, read-only, gone) must not change."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

__all__ = ['CheckpointNotSaved', 'going_on']

_FIELDS = ('keep_ckpt_ids', 'last_ckpt', 'best_ckpt_path', 'best_ckpt_path_dict')


class CheckpointNotSaved(ValueError):
    """The training is done, and its last checkpoint could not be written."""


@contextmanager
def going_on(hook, runner, kind: str) -> Iterator[None]:
    """Go on training when a checkpoint cannot be written, with the older ones kept.

    What the hook and the message hub note before they write (the newest and the best checkpoint,
    which to keep) is set back, so that the next save tries again and a best score
    that no file holds does not count. A CosubRunner fails in every process together.

    Args:
        hook: a :class:`.CosubCheckpointHook`; ``hook.unsaved[kind]`` says what failed.
        runner: of the training.
        kind: 'regular' or 'best'.
    """
    before, waiting, error = _state(hook, runner), len(hook.file_backend.outdated), None
    together = getattr(runner, 'fail_together', False)
    runner.fail_together = True
    try:
        yield
    except OSError as caught:
        error = caught
    finally:
        runner.fail_together = together
    if error is None:
        if kind == 'regular' or _state(hook, runner) != before:  # there was something to save
            hook.unsaved.pop(kind, None)
        return
    fault = _sentence(error, hook.out_dir)
    _set_back(hook, runner, before)
    del hook.file_backend.outdated[waiting:]
    hook.unsaved[kind] = fault
    runner.logger.error(f'{fault} Older checkpoints are kept; the next save tries again.')


def _state(hook, runner) -> tuple[dict, dict]:
    fields = {name: copy(getattr(hook, name)) for name in _FIELDS if hasattr(hook, name)}
    info = runner.message_hub.runtime_info
    names = ('last_ckpt', 'keep_ckpt_ids')
    return fields, {k: copy(v) for k, v in info.items() if k in names or k.startswith('best_')}


def _set_back(hook, runner, state: tuple[dict, dict]) -> None:
    fields, noted = state
    for name, value in fields.items():
        setattr(hook, name, value)
    info = runner.message_hub.runtime_info
    for name in _state(hook, runner)[1]:
        info.pop(name)
    info.update(noted)


def _sentence(error: OSError, folder: str) -> str:
    reason = error.strerror or str(error)
    try:
        free = f', {shutil.disk_usage(folder).free / 2**30:.1f} GiB are free there'
    except OSError:  # a remote store, or gone
        free = ''
    return f"A checkpoint could not be written to '{folder}': {reason}{free}."
