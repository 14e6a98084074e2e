"""From where a training goes on."""

from argparse import Namespace

from mmengine.config import Config

from cosub_mm.engine.checkpoints import check_resume

from .arguments import AUTO
from .missed_validation import missed_last_validation
from .work_dir import checkpoint_folders, newest_checkpoint, refuse_to_overwrite

__all__ = ['already_complete', 'find_resume_point']


def find_resume_point(cfg: Config, args: Namespace) -> dict:
    """Resolve ``--resume`` to a file and return its meta data; empty for a training from the start.

    A seed drawn by the first start is taken over, so that data come in the same order again.
    """
    asked = args.resume or ((cfg.get('load_from') or AUTO) if cfg.get('resume') else None)
    path = newest_checkpoint(cfg) if asked == AUTO else asked
    if asked and path is None:
        print(
            f'nothing to resume in {" or ".join(checkpoint_folders(cfg))}: starting anew',
            flush=True,
        )
    cfg.resume = path is not None
    if path is None:
        if not args.overwrite:
            refuse_to_overwrite(cfg)
        return {}
    meta = check_resume(path, cfg, verify=asked != AUTO)
    cfg.load_from = path
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') is None and meta.get('seed') is not None:
        cfg.randomness = dict(randomness, seed=meta['seed'])
    print(f'resuming from {path} (epoch {meta["epoch"]}, iteration {meta["iter"]})', flush=True)
    return meta


def already_complete(cfg: Config, meta: dict) -> bool:
    """Whether the checkpoint to resume from is the end of the training, validated; says so."""
    unit, key = (
        ('epoch', 'max_epochs') if cfg.train_cfg.get('max_epochs') else ('iter', 'max_iters')
    )
    if not meta or meta[unit] < cfg.train_cfg[key]:
        return False
    if missed_last_validation(cfg, meta):
        return False
    print(f'training is complete: {meta[unit]} of {cfg.train_cfg[key]} {unit}s', flush=True)
    return True
