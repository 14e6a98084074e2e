"""Blocks of mmseg and mmdet that take no drop path rate; those of mmdet where it is installed."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types

import mmcv.cnn  # noqa: F401  registers ContextBlock
import pytest
import torch
from torch import nn

from tests.stochastic_depth.proofs import (
    check_only_the_shortcut_is_left,
    check_subset_is_mask,
    in_double,
)


class NoOps(types.ModuleType):
    """In the place of mmcv's compiled operations, which mmdet imports and these blocks never call.

    The functions that it is asked for at import are never called.
    """

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return None


@pytest.fixture(params=['mmseg', 'mmdet'], scope='module')
def library(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f'{request.param} is not installed')
    before = set(sys.modules)
    if request.param == 'mmdet' and importlib.util.find_spec('mmcv._ext') is None:
        stand_in = NoOps('mmcv._ext')
        stand_in.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', None)
        sys.modules['mmcv._ext'] = stand_in
    yield request.param
    if request.param == 'mmdet':
        for name in set(sys.modules) - before:
            if name.startswith('mmcv.'):
                del sys.modules[name]


def load(library, module):
    return importlib.import_module(f'{library}.models.{module}')


def stack(*blocks):
    return in_double(nn.Sequential(nn.ReLU(), *blocks))


def down(out):
    return nn.Sequential(nn.Conv2d(8, out, 1, 2), nn.BatchNorm2d(out))


def check(model, branches, identities, kept=('downsample',)):
    x = torch.randn(5, 8, 6, 6)
    report = check_subset_is_mask(model, x)
    assert [(b.start, b.end) for b in report.blocks] == branches
    check_only_the_shortcut_is_left(model, x, kept, identities)


def test_resnet(library):
    module = load(library, 'backbones.resnet')
    basic, bottleneck = module.BasicBlock, module.Bottleneck
    check(stack(basic(8, 8), basic(8, 16, 2, downsample=down(16))), [('conv1', 'norm2')] * 2, 1)
    check(
        stack(bottleneck(8, 2), bottleneck(8, 4, 2, downsample=down(16))),
        [('conv1', 'norm3')] * 2,
        1,
    )


def test_a_plugin_behind_the_last_norm_is_part_of_the_branch(library):
    plugin = dict(cfg=dict(type='ContextBlock', ratio=1 / 4), position='after_conv3')
    bottleneck = load(library, 'backbones.resnet').Bottleneck
    check(stack(bottleneck(8, 2, plugins=[plugin])), [('conv1', 'context_block')], 1)


def test_resnext(library):
    block = load(library, 'backbones.resnext').Bottleneck
    check(stack(block(8, 2, groups=2, base_width=64)), [('conv1', 'norm3')], 1)


def test_resnest(library):
    block = load(library, 'backbones.resnest').Bottleneck
    check(stack(block(8, 2, groups=1, base_width=64, base_channels=64)), [('conv1', 'norm3')], 1)


def test_inverted_residuals():
    block = load('mmseg', 'utils.inverted_residual').InvertedResidual
    check(stack(block(8, 8, 1, 2), block(8, 8, 2, 2)), [('conv', 'conv')], 1)


def test_res2net(library):
    if library == 'mmseg':
        pytest.skip('mmseg has none')
    block = load(library, 'backbones.res2net').Bottle2neck
    check(stack(block(8, 2, scales=2, base_width=64, base_channels=64)), [('conv1', 'norm3')], 1)


def test_darknet(library):
    if library == 'mmseg':
        pytest.skip('mmseg has none')
    check(stack(load(library, 'backbones.darknet').ResBlock(8)), [('conv1', 'conv2')], 1)
    layers = load(library, 'layers.csp_layer')
    for block in (layers.DarknetBottleneck, layers.CSPNeXtBlock):
        model = stack(block(8, 8), block(8, 8, add_identity=False))
        check(model, [('conv1', 'conv2')], 1)
