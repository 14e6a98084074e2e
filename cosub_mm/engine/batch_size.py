"""The global batch of a run, and what a learning rate made for another batch becomes."""

import math

from mmengine.config import Config

__all__ = ['check_batch_size', 'describe_batch', 'global_batch_size', 'lr_factor', 'share_batch']

RULES = ('linear', 'sqrt')


def global_batch_size(cfg: Config, world_size: int) -> int:
    """Distinct images between two optimizer steps: a process's batch x processes x accumulation.

    Args:
        cfg: the config; reads ``train_dataloader.batch_size`` and
            ``optim_wrapper.accumulative_counts``.
        world_size: number of processes.
    """
    accumulation = cfg.optim_wrapper.get('accumulative_counts', 1)
    return cfg.train_dataloader.batch_size * world_size * accumulation


def describe_batch(cfg: Config, world_size: int) -> str:
    """The global batch and how it comes about, in one line."""
    loader, batch = cfg.train_dataloader, global_batch_size(cfg, world_size)
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    recipe = f'; the recipe is for {base}' if base else ''
    return (
        f'global batch {batch} = {loader.batch_size} a process x {world_size} process(es) x '
        f'{cfg.optim_wrapper.get("accumulative_counts", 1)} accumulated, '
        f'{loader.get("num_workers", 0)} worker(s) a process{recipe}'
    )


def share_batch(batch: int, processes: int, largest: int) -> tuple[int, int]:
    """Images a process and steps accumulated that make up a global batch, the fewest steps.

    Args:
        batch: global batch to keep.
        processes: number of processes (GPUs).
        largest: images that one process can take at once.

    Raises:
        ValueError: not divisible, naming the nearest batches that are; or not one image fits.
    """
    if largest < 1:
        raise ValueError('not one image fits: checkpoint activations, or take more memory.')
    share, rest = divmod(batch, processes)
    if rest:
        near = [n * processes for n in (share, share + 1) if n]
        raise ValueError(
            f'a global batch of {batch} does not divide among {processes} processes; the nearest '
            f'that do are {" and ".join(map(str, near))} (with --auto-scale-lr), or take a number '
            f'of processes that divides {batch}.'
        )
    steps = next(n for n in range(1, share + 1) if share % n == 0 and share // n <= largest)
    return share // steps, steps


def lr_factor(auto_scale_lr: dict, batch: int) -> float:
    """Factor for a learning rate that was chosen for ``auto_scale_lr['base_batch_size']``.

    Args:
        auto_scale_lr: ``base_batch_size`` and ``rule``: 'linear' (Goyal et al. 2017, the default)
            or 'sqrt', which timm uses for Adam and LAMB.
        batch: global batch of this run.

    Raises:
        ValueError: no ``base_batch_size``, or an unknown rule.
    """
    base, rule = auto_scale_lr.get('base_batch_size'), auto_scale_lr.get('rule', 'linear')
    if not base:
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=N) in the config: the '
            'global batch that its learning rate is for.'
        )
    if rule not in RULES:
        raise ValueError(f"auto_scale_lr.rule='{rule}' is unknown; use one of {', '.join(RULES)}.")
    return batch / base if rule == 'linear' else math.sqrt(batch / base)


def check_batch_size(cfg: Config, world_size: int) -> None:
    """Refuse a run whose global batch is not its recipe's, unless somebody has decided what to do.

    Args:
        cfg: the config; ``auto_scale_lr.base_batch_size`` is the recipe's batch. Without one, or
            with ``auto_scale_lr.enable``, nothing is checked.
        world_size: number of processes.

    Raises:
        ValueError: saying what the recipe has, what this run has, and the choices.
    """
    auto = cfg.get('auto_scale_lr') or {}
    base = auto.get('base_batch_size')
    batch = global_batch_size(cfg, world_size)
    if not base or auto.get('enable') or batch == base:
        return
    accumulation = cfg.optim_wrapper.get('accumulative_counts', 1)
    raise ValueError(
        f'the learning rate of this recipe is for a global batch of {base} images; this run has '
        f'{batch} ({cfg.train_dataloader.batch_size} a process x {world_size} process(es) x '
        f'{accumulation} accumulated). Give --auto-scale-lr to multiply the learning rate by '
        f'{lr_factor(auto, batch):.4g}; or change train_dataloader.batch_size, the number of '
        f'processes or optim_wrapper.accumulative_counts; or keep the learning rate as it is by '
        f'--cfg-options auto_scale_lr=None.'
    )
