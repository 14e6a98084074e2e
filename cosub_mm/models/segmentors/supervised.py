"""A segmentor whose dropped branches are not computed."""

from typing import Any

from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS

from cosub_mm.models.drop_path import drop_branches

from .head_loss import WaitFreeHeads

__all__ = ['SupervisedSegmentor']


@MODELS.register_module()
class SupervisedSegmentor(WaitFreeHeads, EncoderDecoder):
    """An ``EncoderDecoder`` with efficient stochastic depth in its backbone.

    Stochastic depth is part of the model, so that whatever stands in ``custom_hooks`` cannot
    switch it off. Losses, prediction and state_dict are EncoderDecoder's; plain cross-entropy
    does not wait for the device.

    Args:
        backbone: as in EncoderDecoder.
        *args: further positional arguments of EncoderDecoder.
        drop_path_rate: rate of every block of the backbone, in [0, 1); None keeps the rates that
            the backbone was built with.
        implementation: how blocks are dropped, ``'auto'``, ``'subset'`` or ``'mask'``; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        example_input: what the backbone is called with to search or prove its blocks; in a config
            its shape, e.g. ``(3, 3, 224, 224)``.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        **kwargs: neck, heads, train_cfg, test_cfg, ... of EncoderDecoder.

    Raises:
        ValueError: a rate outside [0, 1), or a backbone whose branches cannot be dropped.
    """

    def __init__(
        self,
        backbone: dict,
        *args,
        drop_path_rate: float | None = None,
        implementation: str = 'auto',
        schedule: str = 'uniform',
        example_input: Any = None,
        find: str = 'drop_path',
        **kwargs,
    ) -> None:
        super().__init__(backbone, *args, **kwargs)
        drop_branches(self.backbone, drop_path_rate, implementation, schedule, example_input, find)
