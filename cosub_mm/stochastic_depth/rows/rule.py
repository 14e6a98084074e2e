"""When computing a subset of the rows pays: the rule behind ``implementation='auto'``.

A branch is masked

1. if no row of this batch is spared: a gather of all rows would buy nothing;
2. if it convolves over space, not only depthwise, and runs on a CPU, where convolutions over odd
   numbers of rows can fall off oneDNN's fast paths.

Everywhere else the kept rows are computed alone. docs/stochastic_depth.md has the measurements.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from ..step.module import StochasticDepth

__all__ = ['IMPLEMENTATIONS', 'choose', 'explain', 'is_convolutional']

IMPLEMENTATIONS = ('auto', 'subset', 'mask')


def choose(end: 'StochasticDepth', x: Tensor, computed: int) -> str:
    """Implementation for one branch and one batch, ``'subset'`` or ``'mask'``.

    Args:
        end: the end of the branch.
        x: the stream where the branch starts, (B, ...).
        computed: rows that a subset would compute.
    """
    if end.implementation != 'auto':
        return end.implementation
    if computed == len(x) or (end.convolutional and x.device.type == 'cpu'):
        return 'mask'
    return 'subset'


def explain(end: 'StochasticDepth', start: str | None) -> tuple[str, str]:
    """Implementation of one branch on the device where it is now, and the reason."""
    if start is None:
        return 'mask', 'cannot run on fewer rows: other rows join, or it reads the batch size'
    if end.implementation != 'auto':
        return end.implementation, 'asked for'
    if end.convolutional and end.device.type == 'cpu':
        return 'mask', 'convolutions on a CPU; elsewhere subset'
    return 'subset', 'less work; mask where a batch spares no row'


def is_convolutional(block: nn.Module) -> bool:
    """Whether a block convolves over space, other than depthwise."""
    return any(
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) > 1
        and module.groups < module.in_channels
        for module in block.modules()
    )
