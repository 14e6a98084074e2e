"""XCiT with the initial weights of its authors."""

from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import XCiT
from mmpretrain.registry import MODELS
from torch import nn

__all__ = ['CosubXCiT']


@MODELS.register_module()
class CosubXCiT(XCiT):
    """mmpretrain's :class:`XCiT`, initialised as its authors do.

    mmpretrain's draws linear weights with a standard deviation of .88 (``TruncNormal`` without
    ``std``) and depthwise filters ten times too small (mmcv's ``ConvModule`` counts the outputs of
    all groups). The authors draw linear weights from a truncated normal of .02 and leave
    convolutions as torch makes them. Arguments, parameter names and checkpoints are those of
    ``XCiT``.
    """

    def init_weights(self) -> None:
        """Initialise as XCiT's authors do, or load the checkpoint of ``init_cfg``."""
        was_init = self.is_init
        super().init_weights()
        if was_init or (self.init_cfg or {}).get('type') == 'Pretrained':
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                module.reset_parameters()
        trunc_normal_(self.cls_token, std=0.02)
