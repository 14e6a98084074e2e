"""Every door to stochastic depth takes the same arguments, and a second call changes nothing."""

import logging
from types import SimpleNamespace

import pytest
import timm
import torch
from mmengine.model import BaseModule
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmseg.registry import MODELS as MMSEG
from torch import nn

import cosub_mm  # noqa: F401
from cosub_mm.engine.hooks.efficient_drop_path_hook import EfficientDropPathHook
from cosub_mm.stochastic_depth import StochasticDepth, apply_stochastic_depth, describe

EXAMPLE = dict(schedule='linear', implementation='subset', example_input=(3, 5, 8, 8))
HEAD = dict(type='LinearClsHead', num_classes=2, in_channels=6)
FCN = dict(type='FCNHead', in_channels=6, channels=4, num_convs=1, num_classes=2, in_index=0)


class Unknown(nn.Module):
    """A block that no table names, for pictures of 5 channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop_path = nn.Conv2d(6, 6, 1), nn.Identity()

    def forward(self, x):
        return x + self.drop_path(self.conv(x))


class FiveChannels(BaseModule):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv1d(5, 6, 1), nn.Sequential(Unknown(), Unknown(), Unknown())

    def forward(self, x):
        return (self.blocks(self.stem(x.flatten(2)).unflatten(2, x.shape[2:])),)


MODELS.register_module(name='TestFiveChannels', module=FiveChannels, force=True)
BACKBONE = dict(type='mmpretrain.TestFiveChannels')


def function(**kwargs):
    model = FiveChannels()
    apply_stochastic_depth(model, 0.4, **kwargs)
    return model


def backbone(**kwargs):
    config = dict(type='CosubBackbone', backbone=BACKBONE, drop_path_rate=0.4, **kwargs)
    return MODELS.build(config)


def timm_backbone(**kwargs):
    config = dict(type='CosubTIMMBackbone', model_name='vit_tiny_patch16_224', drop_path_rate=0.4)
    config |= dict(kwargs, example_input=(3, 3, 32, 32))
    return MODELS.build(dict(config, img_size=32, depth=3, embed_dim=24))


def classifier(kind):
    def build(**kwargs):
        config = dict(type=kind, backbone=BACKBONE, head=HEAD, drop_path_rate=0.4, **kwargs)
        return MODELS.build(config).backbone

    return build


def segmentor(kind):
    def build(**kwargs):
        config = dict(type=kind, backbone=BACKBONE, decode_head=FCN, drop_path_rate=0.4, **kwargs)
        init_default_scope('mmseg')
        return MMSEG.build(dict(config, train_cfg=dict(), test_cfg=dict(mode='whole'))).backbone

    return build


def hook(**kwargs):
    model = FiveChannels()
    runner = SimpleNamespace(model=model, logger=logging.getLogger('test'), train_dataloader=None)
    EfficientDropPathHook(0.4, **kwargs).before_run(runner)
    return model


DOORS = {
    'function': function,
    'CosubBackbone': backbone,
    'CosubTIMMBackbone': timm_backbone,
    'CosubClassifier': classifier('CosubClassifier'),
    'SupervisedClassifier': classifier('SupervisedClassifier'),
    'CosubSegmentor': segmentor('CosubSegmentor'),
    'SupervisedSegmentor': segmentor('SupervisedSegmentor'),
    'hook': hook,
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


class Bare(nn.Module):
    """A block without a DropPath."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        return x + self.conv(x)


@pytest.mark.parametrize('door', DOORS)
def test_every_door_finds_blocks_without_a_drop_path(door, monkeypatch):
    known = 3  # blocks of the table, of timm's ViT
    if door != 'CosubTIMMBackbone':
        monkeypatch.setitem(globals(), 'Unknown', Bare)
        known = 0
    model = DOORS[door](**EXAMPLE, find='all')
    found = [branch for branch in describe(model).blocks if branch.found]
    assert len(found) == (0 if known else 3) and len(describe(model).blocks) == (2 * known or 3)


@pytest.mark.parametrize('door', DOORS)
def test_every_door_takes_the_same_arguments(door):
    model = DOORS[door](**EXAMPLE)
    report = describe(model)
    assert report.settings == (0.4, 'linear', 'subset')
    assert sorted({round(b.rate, 6) for b in report.blocks}) == [0.0, 0.2, 0.4]
    assert all(b.found for b in report.blocks) or door == 'CosubTIMMBackbone'
    ends = [m for m in model.modules() if isinstance(m, StochasticDepth)]
    state = torch.get_rng_state()
    inner = getattr(model, 'timm_model', model)
    again = apply_stochastic_depth(inner, 0.4, **EXAMPLE)
    assert [m for m in model.modules() if isinstance(m, StochasticDepth)] == ends
    assert again.settings == report.settings and torch.equal(torch.get_rng_state(), state)


def test_the_task_of_timm_takes_them_too():
    task = pytest.importorskip('cosub_mm.timm')
    model = timm.create_model('vit_tiny_patch16_224', depth=3, embed_dim=24, img_size=32)
    options = dict(EXAMPLE, example_input=(3, 3, 32, 32), find='all')
    task.CosubTask(model, drop_rate=0.4, **options)
    assert describe(model).settings == (0.4, 'linear', 'subset')
