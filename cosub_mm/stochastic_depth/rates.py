"""Other rates for a time: a warm-up, a schedule, a second pass that drops more."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from .places.drop_path import ends_of
from .rows.schedule import block_rates
from .step.module import StochasticDepth

__all__ = ['drops_now', 'other_drop_rate', 'scale_drop_rates']


def scale_drop_rates(model: nn.Module, factor: float) -> None:
    """Set every rate to ``factor`` times what :func:`apply_stochastic_depth` gave, for a warm-up.

    Args:
        model: a model that stochastic depth was applied to.
        factor: in [0, 1].

    Raises:
        ValueError: a factor outside [0, 1], or a model without stochastic depth.
    """
    if not 0 <= factor <= 1:
        raise ValueError(f'factor={factor} must lie in [0, 1].')
    ends = ends_of(model)
    if not ends:
        raise ValueError('The model has no stochastic depth; call apply_stochastic_depth first.')
    for end in ends:
        end.drop_prob = end.base_rate * factor


def drops_now(model: nn.Module) -> bool:
    """Whether a forward pass of ``model`` in its present mode would drop anything."""
    # Asked in each step: in training the first end answers, without a walk over the whole model.
    return any(isinstance(module, StochasticDepth) and module.active for module in model.modules())


@contextmanager
def other_drop_rate(model: nn.Module, drop_rate: float) -> Iterator[None]:
    """Let the passes inside drop at another rate, the same in every branch.

    Branches that their authors never drop (class attention) keep 0. Under torch.compile each rate
    is a graph of its own.

    Args:
        model: a model that stochastic depth was applied to.
        drop_rate: in [0, 1).

    Raises:
        ValueError: a rate outside [0, 1), or a model without stochastic depth.
    """
    (rate,) = block_rates(drop_rate, 1)
    ends = [end for end in ends_of(model) if not end.place.undropped]
    if not ends:
        raise ValueError('The model has no stochastic depth; call apply_stochastic_depth first.')
    before = [end.drop_prob for end in ends]
    try:
        for end in ends:
            end.drop_prob = rate
        yield
    finally:
        for end, present in zip(ends, before):
            end.drop_prob = present
