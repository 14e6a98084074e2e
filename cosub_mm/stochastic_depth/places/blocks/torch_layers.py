"""Blocks of torch and torchvision, which take no drop path rate."""

from torch import nn

from cosub_mm.stochastic_depth.places.branch import Branch, Entry, Side

__all__ = ['TORCH']

_SIDES = (Side('self_attn', 'key_padding_mask', 2), Side('self_attn', 'attn_mask', 3))


def _encoder_layer(block: nn.TransformerEncoderLayer) -> tuple[Branch, ...]:
    first, second = ('norm1', 'norm2') if block.norm_first else ('_sa_block', '_ff_block')
    return (
        Branch(first, 'dropout1', after=True, sides=_SIDES, ndim=3),
        Branch(second, 'dropout2', after=True),
    )


_TORCHVISION = {
    'vision_transformer.EncoderBlock': (
        Branch('ln_1', 'dropout', after=True),
        Branch('ln_2', 'mlp', after=True),
    ),
    'resnet.BasicBlock': (Branch('conv1', 'bn2', after=True),),
    'resnet.Bottleneck': (Branch('conv1', 'bn3', after=True),),
    'regnet.ResBottleneckBlock': (Branch('f', 'f', after=True),),
    'mnasnet._InvertedResidual': (
        Branch('layers', 'layers', after=True, shortcut='apply_residual'),
    ),
    'mobilenetv2.InvertedResidual': (
        Branch('conv', 'conv', after=True, shortcut='use_res_connect'),
    ),
    'mobilenetv3.InvertedResidual': (
        Branch('block', 'block', after=True, shortcut='use_res_connect'),
    ),
}

TORCH: dict[str, Entry] = {
    'torch.nn.modules.transformer.TransformerEncoderLayer': _encoder_layer,
    **{f'torchvision.models.{name}': branches for name, branches in _TORCHVISION.items()},
}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run."""
