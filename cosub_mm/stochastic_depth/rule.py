"""When computing a subset of the rows pays: the rule behind ``implementation='auto'``."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from .module import StochasticDepth

__all__ = ['IMPLEMENTATIONS', 'choose', 'explain', 'is_convolutional']

IMPLEMENTATIONS = ('auto', 'subset', 'mask')


def choose(end: 'StochasticDepth', x: Tensor) -> str:
    """Implementation for one branch and one batch, ``'subset'`` or ``'mask'``."""
    if end.implementation != 'auto':
        return end.implementation
    return 'mask' if end.convolutional and x.device.type == 'cpu' else 'subset'


def explain(end: 'StochasticDepth', start: str | None) -> tuple[str, str]:
    """Implementation of one branch, and the reason, for the report."""
    if start is None:
        return 'mask', 'cannot run on fewer rows: other rows join, or it reads the batch size'
    if end.implementation != 'auto':
        return end.implementation, 'asked for'
    if end.convolutional:
        return 'auto', 'mask on CPU, where convolutions over fewer rows are no faster; else subset'
    return 'subset', 'fewer rows, less work'


def is_convolutional(block: nn.Module) -> bool:
    """Whether a block convolves densely over space."""
    return any(
        isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and module.groups == 1
        for module in block.modules()
    )
