"""Where a run writes, and what may already be there."""

from pathlib import Path

from mmengine.config import Config

from .checkpoints import latest_checkpoint

__all__ = ['clear_checkpoints', 'default_work_dir', 'refuse_to_overwrite', 'summary']


def default_work_dir(config: str) -> str:
    """The OpenMMLab place for the runs of a config file: ``./work_dirs/<its name>``."""
    return str(Path('work_dirs') / Path(config).stem)


def _checkpoints(work_dir: str) -> list[Path]:
    return sorted(Path(work_dir).glob('*.pth'))


def refuse_to_overwrite(work_dir: str) -> None:
    """Stop before a new training replaces the checkpoints of an old one.

    Raises:
        FileExistsError: ``work_dir`` holds checkpoints.
    """
    found = _checkpoints(work_dir)
    if found:
        newest = latest_checkpoint(work_dir) or str(found[-1])
        raise FileExistsError(
            f"'{work_dir}' already holds {len(found)} checkpoint(s), the newest is "
            f'{Path(newest).name}. Give --resume to go on from it, --work-dir for another place, '
            'or --overwrite to delete them and start anew.'
        )


def clear_checkpoints(work_dir: str) -> list[str]:
    """Delete the checkpoints of a work dir, logs stay; returns the deleted names."""
    found = _checkpoints(work_dir)
    for file in found:
        file.unlink()
    (Path(work_dir) / 'last_checkpoint').unlink(missing_ok=True)
    return [file.name for file in found]


def summary(cfg: Config, work_dir: str, log_dir: str) -> str:
    """What a finished run has written where, one line each."""
    lines = [f'work dir     {work_dir}']
    files = sorted(_checkpoints(work_dir), key=lambda file: file.stat().st_mtime)
    lines += [f'checkpoint   {file} ({file.stat().st_size / 2**20:.1f} MiB)' for file in files]
    lines.append(f'log          {Path(log_dir) / (Path(log_dir).name + ".log")}')
    if (Path(log_dir) / 'vis_data').is_dir():
        lines.append(f'curves       {Path(log_dir) / "vis_data"}')
    if cfg.get('filename') or getattr(cfg, 'filename', None):
        lines.append(f'config       {Path(work_dir) / Path(cfg.filename).name}')
    return '\n'.join(lines)
