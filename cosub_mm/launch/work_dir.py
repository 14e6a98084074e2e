"""Where a run writes, and what may already be there."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import get_file_backend

from cosub_mm.engine.checkpoints import last_good_checkpoint, latest_checkpoint

__all__ = [
    'checkpoint_folders',
    'clear_checkpoints',
    'default_work_dir',
    'newest_checkpoint',
    'refuse_to_delete',
    'refuse_to_overwrite',
    'summary',
]


def default_work_dir(config: str) -> str:
    """The OpenMMLab place for the runs of a config file: ``./work_dirs/<its name>``.

    A baseline has the name of the cosub config that it is compared with, and a place of its own:
    ``./work_dirs/baselines/<its name>``.
    """
    path = Path(config).absolute()
    place = Path('work_dirs')
    if path.parent.name == 'baselines':
        place /= 'baselines'
    return str(place / path.stem)


def checkpoint_folders(cfg: Config) -> dict[str, dict | None]:
    """Every folder that a run keeps checkpoints in, that of new ones first, the work dir last.

    A CheckpointHook with ``out_dir`` writes to ``out_dir/<last part of the work dir>``, which may
    lie on another disk or a remote store.

    Returns:
        ``{folder: backend_args}`` for mmengine's storage backends.
    """
    work_dir = os.path.abspath(cfg.work_dir)
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    folders = {}
    for hook in hooks:
        is_checkpoint = isinstance(hook, dict) and str(hook.get('type')).endswith('CheckpointHook')
        out_dir = hook.get('out_dir') if is_checkpoint else None
        if out_dir and str(out_dir) != work_dir:
            folder = os.path.join(str(out_dir), os.path.basename(work_dir))
            folders[folder] = hook.get('backend_args')
    return {**folders, str(cfg.work_dir): None}


def _names(folder: str, backend_args: dict | None) -> list[str]:
    if '://' not in folder:
        return sorted(file.name for file in Path(folder).glob('*.pth'))
    backend = get_file_backend(folder, backend_args=backend_args)
    return sorted(backend.list_dir_or_file(folder, list_dir=False, suffix='.pth'))


def newest_checkpoint(cfg: Config) -> str | None:
    """The newest whole checkpoint of a run, looked for where the run writes; None without one.

    On a remote store the highest epoch or iteration counts, and nothing is put aside.

    Raises:
        CheckpointError: see :func:`.checkpoints.last_good_checkpoint`.
    """
    for folder, backend_args in checkpoint_folders(cfg).items():
        if '://' in folder:
            found = _newest_remote(folder, backend_args)
        else:
            found = last_good_checkpoint(folder)
        if found:
            return found
    return None


def _newest_remote(folder: str, backend_args: dict | None) -> str | None:
    numbered = {
        int(match[1]): name
        for name in _names(folder, backend_args)
        if (match := re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', name))
    }
    return f'{folder}/{numbered[max(numbered)]}' if numbered else None


def refuse_to_overwrite(cfg: Config) -> None:
    """Stop before a new training replaces the checkpoints of an old one.

    Raises:
        FileExistsError: a folder that the run would write to holds checkpoints.
    """
    for folder, backend_args in checkpoint_folders(cfg).items():
        found = _names(folder, backend_args)
        if found:
            newest = latest_checkpoint(folder) if '://' not in folder else None
            raise FileExistsError(
                f"'{folder}' already holds {len(found)} checkpoint(s), the newest is "
                f'{Path(newest or found[-1]).name}. Give --resume to go on from it, --work-dir for '
                'another place, or --overwrite to delete them and start anew.'
            )


def refuse_to_delete(cfg: Config, needed: Iterable[str]) -> None:
    """Stop before ``--overwrite`` deletes weights that the training is to start from.

    Args:
        cfg: of the run.
        needed: the files or addresses it starts from.

    Raises:
        ValueError: one of them would be deleted.
    """
    for folder, backend_args in checkpoint_folders(cfg).items():
        files = [os.path.join(folder, name) for name in _names(folder, backend_args)]
        for path in needed:
            if any(_same(path, file) for file in files):
                raise ValueError(
                    f"--overwrite would delete '{path}', from which this training starts. Move it "
                    'elsewhere, or give another --work-dir.'
                )


def _same(path: str, file: str) -> bool:
    try:
        return path == file or os.path.samefile(path, file)
    except OSError:  # a remote address, or gone
        return False


def clear_checkpoints(cfg: Config) -> list[str]:
    """Delete the checkpoints of a run, logs stay; returns the deleted files."""
    deleted = []
    for folder, backend_args in checkpoint_folders(cfg).items():
        backend = get_file_backend(folder, backend_args=backend_args)
        for name in _names(folder, backend_args):
            deleted.append(os.path.join(folder, name))
            backend.remove(deleted[-1])
        if '://' not in folder:
            for name in ('last_checkpoint', 'last_validation'):
                (Path(folder) / name).unlink(missing_ok=True)
    return deleted


def summary(cfg: Config, work_dir: str, log_dir: str) -> str:
    """What a finished run has written where, one line each."""
    lines = [f'work dir     {work_dir}']
    for folder, backend_args in checkpoint_folders(cfg).items():
        if '://' in folder:
            lines += [f'checkpoint   {folder}/{name}' for name in _names(folder, backend_args)]
            continue
        files = sorted(Path(folder).glob('*.pth'), key=lambda file: file.stat().st_mtime)
        lines += [f'checkpoint   {file} ({file.stat().st_size / 2**20:.1f} MiB)' for file in files]
    lines.append(f'log          {Path(log_dir) / (Path(log_dir).name + ".log")}')
    if (Path(log_dir) / 'vis_data').is_dir():
        lines.append(f'curves       {Path(log_dir) / "vis_data"}')
    if cfg.get('filename') or getattr(cfg, 'filename', None):
        lines.append(f'config       {Path(work_dir) / Path(cfg.filename).name}')
    return '\n'.join(lines)
