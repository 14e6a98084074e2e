"""What implementation='auto' does."""

import copy

import pytest
import timm
import torch
from torch import nn

from cosub_mm.stochastic_depth import apply_stochastic_depth, describe
from cosub_mm.stochastic_depth.rows.rule import is_convolutional, takes_subset


@pytest.mark.parametrize(
    ('implementation', 'convolutional', 'computed', 'expected'),
    [
        ('auto', False, 7, 'subset'),
        ('auto', False, 8, 'mask'),
        ('auto', True, 4, 'mask'),
        ('subset', True, 8, 'subset'),
        ('mask', False, 4, 'mask'),
    ],
)
def test_the_rule(implementation, convolutional, computed, expected):
    subset = takes_subset(implementation, convolutional, 'cpu', computed, 8)
    assert subset == (expected == 'subset')


def test_convolutions_run_on_fewer_rows_off_the_cpu():
    assert takes_subset('auto', True, 'cuda', 4, 8)
    assert not takes_subset('auto', True, 'cpu', 4, 8)


def test_depthwise_and_pointwise_convolutions_do_not_count():
    assert is_convolutional(nn.Sequential(nn.Conv2d(4, 4, 3)))
    assert is_convolutional(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))
    assert not is_convolutional(nn.Sequential(nn.Conv2d(4, 4, 7, groups=4), nn.Conv2d(4, 8, 1)))


@pytest.mark.parametrize(('name', 'rows'), [('resnet18', 8), ('vit_tiny_patch16_224', 4)])
def test_auto_in_a_model(name, rows):
    model = timm.create_model(name, img_size=32) if 'vit' in name else timm.create_model(name)
    report = apply_stochastic_depth(model, 0.5)
    first = report.blocks[0]
    assert first.implementation == ('subset' if 'vit' in name else 'mask')
    assert first.computed_rows(8) == rows
    if 'resnet' in name:
        assert 'convolutions on a CPU' in first.reason
        elsewhere = copy.deepcopy(model).to('meta')
        assert describe(elsewhere).blocks[0].implementation == 'subset'
    seen = []
    first = model.blocks[0].attn if 'vit' in name else model.layer1[0].conv2
    first.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    model.train()(torch.randn(8, 3, 32, 32))
    assert seen == [rows]
