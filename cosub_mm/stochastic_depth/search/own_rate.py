"""Blocks that drop paths by themselves in ``forward``, where no module shows it."""

import copy

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves

from cosub_mm.stochastic_depth.places.drop_path import is_drop_path
from cosub_mm.stochastic_depth.step.module import StochasticDepth

from .additions import watch_additions

__all__ = ['drops_by_itself', 'own_rate_of']

_HIGH, _TRIES = 0.9, 6  # of three samples in six passes, all stay with a probability of 1e-18
_MANY = 40


def own_rate_of(block: nn.Module, args: tuple, kwargs: dict) -> str:
    """Attribute of ``block`` that is the rate of a drop path in its ``forward``, or ''.

    Found by what it does: at .9 samples skip a residual, or come out as they went in.

    Args:
        block: in float64, with random weights; it stays as it is.
        args: what it is called with, batch first.
        kwargs: the same, by name.
    """
    for name, value in vars(block).items():
        if type(value) not in (float, int) or not 0 <= value < 1 or name.startswith('_'):
            continue
        trial = copy.deepcopy(block)
        setattr(trial, name, _HIGH)
        try:
            drops = drops_by_itself(trial, args, kwargs, _TRIES)
        except Exception:
            continue
        if drops:
            setattr(trial, name, 0.0)
            if not drops_by_itself(trial, args, kwargs, _TRIES):
                return name
    return ''


def drops_by_itself(block: nn.Module, args: tuple, kwargs: dict, tries: int = _MANY) -> bool:
    """Whether some samples skip a residual of ``block`` in training, others not."""
    trial = copy.deepcopy(block).train()
    for module in trial.modules():
        if isinstance(module, _DropoutNd | _NormBase | StochasticDepth) or is_drop_path(module):
            module.eval()
    x = next(x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor))
    for _ in range(tries):
        with watch_additions(trial) as tape:
            output = trial(*args, **kwargs)
        out = next(y for y in tree_leaves(output) if isinstance(y, Tensor))
        if any(bool(addition.vanished.any()) for addition in tape.additions):
            return True
        if out.shape == x.shape and bool((out == x).flatten(1).all(1).any()):
            return True
    return False
