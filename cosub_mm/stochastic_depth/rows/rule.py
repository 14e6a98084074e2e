"""When computing a subset of the rows pays: the rule behind ``implementation='auto'``.

A branch is masked

1. if no row of this batch is spared: a gather of all rows would buy nothing;
2. if it convolves over space, not only depthwise, and runs on a CPU, where convolutions over odd
   numbers of rows can fall off oneDNN's fast paths.

Everywhere else the kept rows are computed alone. docs/stochastic_depth.md has the measurements.
"""

from torch import nn

__all__ = ['IMPLEMENTATIONS', 'explain', 'is_convolutional', 'takes_subset']

IMPLEMENTATIONS = ('auto', 'subset', 'mask')


def takes_subset(
    implementation: str, convolutional: bool, device_type: str, computed: int, batch: int
) -> bool:
    """Whether one branch computes a subset of one batch.

    Args:
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``.
        convolutional: whether its block convolves over space, see :func:`is_convolutional`.
        device_type: where it runs, e.g. ``'cpu'``.
        computed: rows that a subset would compute.
        batch: rows of the stream.
    """
    if implementation != 'auto':
        return implementation == 'subset'
    return computed < batch and not (convolutional and device_type == 'cpu')


def explain(
    implementation: str, convolutional: bool, device_type: str, start: str | None
) -> tuple[str, str]:
    """Implementation of one branch, ``'subset'`` or ``'mask'``, and the reason.

    Args:
        implementation: as for :func:`takes_subset`; likewise the next two.
        convolutional: whether its block convolves over space.
        device_type: where the block is now.
        start: where the branch starts, or None if it cannot run on fewer rows.
    """
    if start is None:
        return 'mask', 'cannot run on fewer rows: other rows join, or it reads the batch size'
    if implementation != 'auto':
        return implementation, 'asked for'
    if convolutional and device_type == 'cpu':
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
