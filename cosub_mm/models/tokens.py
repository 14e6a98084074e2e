"""Some of the patches: tokens of a vision transformer removed behind the position embedding."""

from collections.abc import Iterator
from contextlib import contextmanager

import timm.models
import torch
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor, nn

__all__ = ['TokenDrop', 'drop_tokens']

_POOLED = ('cls_token', 'avg_featmap')


class TokenDrop(nn.Module):
    """Keeps another random part of each image's patches, while :meth:`removing` says so.

    It stands all the time where the network has an identity: torch.compile looks at modules and
    their attributes, and not for hooks that come and go. No parameters, no state to save.

    Args:
        prefix: tokens in front of the patches (class token, registers), which stay.
    """

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.share = 0.0

    @contextmanager
    def removing(self, share: float) -> Iterator[None]:
        """Remove a share of the patches in the passes inside."""
        self.share = share
        try:
            yield
        finally:
            self.share = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """(batch, prefix + patches, channels) -> (batch, prefix + kept, channels)."""
        if not self.share:
            return x
        patches = x.shape[1] - self.prefix
        kept = max(int(patches * (1 - self.share)), 1)
        order = torch.rand(x.shape[0], patches, device=x.device).argsort(dim=1)[:, :kept]
        index = (order + self.prefix).unsqueeze(-1).expand(-1, -1, x.shape[2])
        return torch.cat((x[:, : self.prefix], x.gather(1, index)), dim=1)


def drop_tokens(backbone: nn.Module, owner: str) -> TokenDrop:
    """Put a :class:`TokenDrop` into a vision transformer.

    Args:
        backbone: mmpretrain's VisionTransformer or one made of it (CosubViT), or timm's, as it is
            or in CosubTIMMBackbone or TIMMBackbone.
        owner: who asks, for the message.

    Raises:
        ValueError: a backbone without tokens, whose output needs all of them, or with something
            else in that place.
    """
    inner = getattr(backbone, 'timm_model', backbone)
    if isinstance(inner, timm.models.VisionTransformer):
        slot, prefix = 'patch_drop', inner.num_prefix_tokens
        pooled = getattr(backbone, 'out_type', 'pooled') == 'pooled'
        wanted = "out_type='pooled'"
    elif isinstance(inner, VisionTransformer):
        slot, prefix = 'pre_norm', inner.num_extra_tokens
        pooled = inner.out_type in _POOLED
        wanted = f'out_type one of {_POOLED}'
    else:
        raise ValueError(
            f"{owner} with sub='mask' removes tokens of a vision transformer (CosubViT, or timm's "
            f'VisionTransformer in CosubTIMMBackbone), and {type(inner).__name__} has none that '
            f"could be removed. Use sub='path', which drops residual branches instead."
        )
    if not pooled:
        raise ValueError(
            f"{owner} with sub='mask': out_type={backbone.out_type!r} of {type(backbone).__name__} "
            f'needs every patch in its place. Set {wanted}.'
        )
    present = getattr(inner, slot)
    if not isinstance(present, nn.Identity):
        raise ValueError(
            f"{owner} with sub='mask' removes tokens in the place of {slot}, where this "
            f'{type(inner).__name__} has {type(present).__name__}: leave patch_drop_rate or '
            f"pre_norm out, or use sub='path'."
        )
    setattr(inner, slot, TokenDrop(prefix))
    return getattr(inner, slot)
