"""Residual blocks of open_clip; where it is installed."""

import pytest
import torch
from torch import nn

from cosub_mm.stochastic_depth import UnknownBlockError, apply_stochastic_depth
from tests.stochastic_depth.proofs import (
    check_only_the_shortcut_is_left,
    check_subset_is_mask,
    in_double,
)

transformer = pytest.importorskip('open_clip.transformer')
from open_clip.modified_resnet import ModifiedResNet  # noqa: E402


@pytest.mark.parametrize('scale', [None, 0.1])
def test_the_vision_transformer(scale):
    model = transformer.VisionTransformer(16, 8, 16, 2, 2, 2.0, ls_init_value=scale, output_dim=8)
    model, x = in_double(model), torch.randn(5, 3, 16, 16)
    assert len(check_subset_is_mask(model, x).blocks) == 4
    check_only_the_shortcut_is_left(model, x)


def test_the_custom_block():
    model = transformer.Transformer(16, 2, 2, 2.0, block_type='custom')
    model, x = in_double(model), torch.randn(5, 3, 16)
    assert len(check_subset_is_mask(model, x).blocks) == 4
    check_only_the_shortcut_is_left(model, x)


def test_the_resnet():
    model = in_double(ModifiedResNet([2, 1, 1, 1], 8, 2, 32, 8))
    x = torch.randn(5, 3, 32, 32)
    assert len(check_subset_is_mask(model, x).blocks) == 5
    check_only_the_shortcut_is_left(model, x, ('downsample',), identities=1)


class Captions(nn.Module):
    """A block that looks at another sequence, with a mask a sample and head, as CoCa's do."""

    def __init__(self):
        super().__init__()
        self.block = transformer.ResidualAttentionBlock(16, 2, 2.0, is_cross_attention=True)

    def forward(self, x):
        mask = x[:, :3, :3].repeat_interleave(2, 0)
        return self.block(x[:, :3], x[:, 3:6], x[:, 3:6], attn_mask=mask)


def test_cross_attention_and_a_mask_by_head_lose_the_same_rows():
    assert len(check_subset_is_mask(in_double(Captions()), torch.randn(5, 6, 16)).blocks) == 2


def test_a_sequence_first_block_is_refused():
    model = transformer.Transformer(16, 2, 2, 2.0, batch_first=False)
    with pytest.raises(UnknownBlockError, match='second dimension'):
        apply_stochastic_depth(model, 0.5)
