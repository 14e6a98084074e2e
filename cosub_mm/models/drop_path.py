"""Stochastic depth of the models: put in once, where no list of hooks can lose it."""

from torch import nn

from cosub_mm.stochastic_depth import apply_stochastic_depth, describe, max_drop_rate

__all__ = ['drop_branches', 'require_drop_rate']


def drop_branches(
    backbone: nn.Module, drop_path_rate: float | None = None, implementation: str = 'auto'
) -> None:
    """Let the branches of a backbone compute the kept rows only, at a uniform rate.

    Args:
        backbone: changed in place; parameters and ``state_dict`` keys stay.
        drop_path_rate: rate of every branch, in [0, 1). None keeps the rates that it was built
            with, and stochastic depth that it has already; without any rate nothing is changed.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``, see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`. ``'auto'`` also keeps what
            stochastic depth that is already there was given.

    Raises:
        ValueError: as of ``apply_stochastic_depth``.
    """
    if drop_path_rate is None and not max_drop_rate(backbone):
        return
    present = describe(backbone)
    if present is not None:
        rate, schedule, present_implementation = present.settings
        kept = drop_path_rate is None or (rate, schedule) == (drop_path_rate, 'uniform')
        if kept and implementation in ('auto', present_implementation):
            return
    apply_stochastic_depth(backbone, drop_path_rate, implementation=implementation)


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
