"""How many branches are dropped at random, counted against the authors' models.

timm's models stand for the authors'. Those whose rate grows linearly start at 0, which leaves the
first block undropped; the paper's rate is uniform (section 4), so that this block counts here.
"""

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from timm.layers import DropPath

from cosub_mm.analysis.complexity import meta_device
from cosub_mm.stochastic_depth import describe

FOLDER = Path(__file__).parents[2] / 'configs/_base_/models'
# Config -> (timm's model, its arguments, branches of a first block at rate 0)
ARCHITECTURES = {
    'vit-s': ('deit3_small_patch16_224', {}, 2),
    'cait-m12': ('cait_m36_384', dict(img_size=224, depth=12), 0),
    'xcit-s12': ('xcit_small_12_p16_224', {}, 0),
    'swin-b': ('swin_base_patch4_window7_224', {}, 2),
    'convnext-s': ('convnext_small', {}, 1),
    'pit-s': ('pit_s_224', {}, 2),
    'resnet50': ('resnet50', {}, 1),
    'regnety-16gf': ('regnety_160', {}, 1),
}


def _dropped_by_timm(name, options):
    """Calls of DropPath in one pass: a module may serve several branches, as CaiT's does."""
    calls = []
    with meta_device():
        model = timm.create_model(name, drop_path_rate=0.2, **options).train()
        for module in model.modules():
            if isinstance(module, DropPath) and module.drop_prob > 0:
                module.register_forward_hook(lambda *_: calls.append(1))
        model(torch.empty(2, 3, 224, 224))
    return len(calls)


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_as_many_as_the_authors(name):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(FOLDER / f'{name}.py').model
    with meta_device():
        model = MODELS.build(cfg)
    rates = [branch.rate for branch in describe(model).blocks]
    twin, options, at_zero = ARCHITECTURES[name]
    assert sum(rate > 0 for rate in rates) == _dropped_by_timm(twin, options) + at_zero
    assert {rate for rate in rates if rate} == {cfg.drop_path_rate}
