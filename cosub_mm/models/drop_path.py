"""Stochastic depth of the models: put in once, where no list of hooks can lose it."""

import warnings
from typing import Any

from torch import nn

from cosub_mm.stochastic_depth import apply_stochastic_depth, describe, max_drop_rate

__all__ = ['drop_branches', 'require_drop_rate']


def drop_branches(
    backbone: nn.Module,
    drop_path_rate: float | None = None,
    implementation: str = 'auto',
    schedule: str = 'uniform',
    example_input: Any = None,
    find: str = 'drop_path',
) -> None:
    """Let the branches of a backbone compute the kept rows only, at one rate or a linear schedule.

    Args:
        backbone: changed in place; parameters and ``state_dict`` keys stay.
        drop_path_rate: rate of every branch, in [0, 1). None keeps the rates that it was built
            with, and stochastic depth that it has already; without any rate nothing is changed.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``, see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`. ``'auto'`` also keeps what
            stochastic depth that is already there was given.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        example_input: see the same; in a config a shape such as ``(3, 3, 224, 224)``.
        find: see the same.

    Raises:
        ValueError: as of ``apply_stochastic_depth``.
    """
    if drop_path_rate is None and not max_drop_rate(backbone):
        return
    present = describe(backbone)
    if present is not None and find == 'drop_path':
        kept = drop_path_rate is None or present.settings[:2] == (drop_path_rate, schedule)
        if kept and implementation in ('auto', present.settings[2]):
            return
    with warnings.catch_warnings():  # a config's rate of 0 is meant
        warnings.filterwarnings('ignore', 'Stochastic depth was applied .* with a rate of 0')
        apply_stochastic_depth(
            backbone, drop_path_rate, schedule, implementation, example_input, find
        )


def require_drop_rate(backbone: nn.Module, drop_path_rate: float | None, owner: str) -> None:
    """Refuse co-training without stochastic depth.

    Raises:
        ValueError: the rate of every block is 0, so that all copies of an image would be equal.
    """
    rate = max_drop_rate(backbone) if drop_path_rate is None else drop_path_rate
    if rate == 0:
        raise ValueError(
            f'{owner} needs stochastic depth, and the drop rate of every block is 0: the copies of '
            f'an image would pass the same network and teach each other nothing. Set '
            f'model.drop_path_rate (the paper uses .05 for ViT-S to .6 for ViT-H; a segmentor '
            f"usually takes its pre-training's), or the backbone's own drop_path_rate."
        )
