"""Blocks of torch and torchvision: subset is mask, and the shortcut alone is left of all rows."""

import pytest
import torch
from torch import nn
from torchvision.models import mnasnet, mobilenetv2, mobilenetv3, regnet, resnet
from torchvision.models.vision_transformer import EncoderBlock

from cosub_mm.stochastic_depth import UnknownBlockError, apply_stochastic_depth
from tests.stochastic_depth.proofs import (
    check_only_the_shortcut_is_left,
    check_subset_is_mask,
    in_double,
)


def down(width):
    return nn.Sequential(nn.Conv2d(8, width, 1, 2), nn.BatchNorm2d(width))


def inverted(in_, out, stride):
    config = mobilenetv3.InvertedResidualConfig(in_, 3, 12, out, True, 'HS', stride, 1, 1.0)
    return mobilenetv3.InvertedResidual(config, nn.BatchNorm2d)


def reg(in_, stride):
    return regnet.ResBottleneckBlock(in_, 8, stride, nn.BatchNorm2d, nn.ReLU, 4, 1.0, 0.25)


IMAGE, TOKENS = (8, 6, 6), (5, 16)
CASES = {
    'vit': (lambda: [EncoderBlock(2, 16, 32, 0.0, 0.0)], TOKENS, 1, 2),
    'resnet18': (
        lambda: [nn.ReLU(), resnet.BasicBlock(8, 8), resnet.BasicBlock(8, 16, 2, down(16))],
        IMAGE,
        1,
        2,
    ),
    'resnet50': (
        lambda: [nn.ReLU(), resnet.Bottleneck(8, 2), resnet.Bottleneck(8, 4, 2, down(16))],
        IMAGE,
        1,
        2,
    ),
    'regnet': (lambda: [nn.ReLU(), reg(8, 1), reg(8, 2)], IMAGE, 1, 2),
    'mnasnet': (lambda: [mnasnet.MNASNet(0.5).layers[8]], IMAGE, 2, 2),
    'mobilenetv2': (
        lambda: [
            mobilenetv2.InvertedResidual(8, 8, 1, 2),
            mobilenetv2.InvertedResidual(8, 8, 2, 2),
        ],
        IMAGE,
        1,
        1,
    ),
    'mobilenetv3': (lambda: [inverted(8, 8, 1), inverted(8, 8, 2)], IMAGE, 1, 1),
}
"""Name: blocks, shape of a sample, how many are the identity, how many branches there are."""


@pytest.mark.parametrize('name', CASES)
def test_torchvision(name):
    make, shape, identities, branches = CASES[name]
    model = in_double(nn.Sequential(*make()))
    x = torch.randn(5, *shape)
    assert len(check_subset_is_mask(model, x).blocks) == branches
    check_only_the_shortcut_is_left(model, x, ('downsample', 'proj'), identities)


def encoder(norm_first, batch_first=True):
    layer = nn.TransformerEncoderLayer(
        16, 2, 32, dropout=0.0, batch_first=batch_first, norm_first=norm_first
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def test_the_encoder_layer_of_torch_norm_first():
    model, x = in_double(encoder(True)), torch.randn(5, 4, 16)
    report = check_subset_is_mask(model, x)
    assert [branch.start for branch in report.blocks] == ['norm1', 'norm2'] * 2
    check_only_the_shortcut_is_left(model, x)


def test_the_encoder_layer_of_torch_norm_last():
    model, x = in_double(encoder(False)), torch.randn(5, 4, 16)
    assert len(check_subset_is_mask(model, x).blocks) == 4
    check_only_the_shortcut_is_left(model, x, ('norm1', 'norm2'), identities=0)


class Masked(nn.Module):
    """Gives the layers what they take beside the stream, one entry a sample."""

    def __init__(self, norm_first, **masks):
        super().__init__()
        self.encoder, self.masks = encoder(norm_first), masks

    def forward(self, x):
        return self.encoder(x, **self.masks)


@pytest.mark.parametrize('norm_first', [False, True])
@pytest.mark.parametrize('kind', ['padding', 'by head', 'shared'])
def test_the_masks_of_an_encoder_layer_lose_the_same_rows(norm_first, kind):
    lengths = torch.tensor([4, 1, 2, 3, 4])
    padding = torch.arange(4)[None] >= lengths[:, None]
    masks = {
        'padding': dict(src_key_padding_mask=padding),
        'by head': dict(mask=torch.randn(10, 4, 4, dtype=torch.float64)),
        'shared': dict(mask=torch.randn(4, 4, dtype=torch.float64)),
    }
    check_subset_is_mask(in_double(Masked(norm_first, **masks[kind])), torch.randn(5, 4, 16))


def test_a_sequence_first_layer_is_refused_where_it_would_be_dropped():
    model = nn.Sequential(encoder(True, batch_first=False), EncoderBlock(2, 16, 32, 0.0, 0.0))
    with pytest.raises(UnknownBlockError, match=r'0.layers.0 .*second dimension.*batch_first'):
        apply_stochastic_depth(model, 0.5)
