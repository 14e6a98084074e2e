"""Learning rate and weight decay of every parameter of the recipes, as their authors have them."""

import re
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from cosub_mm.analysis.complexity import meta_device
from tests.configs.recipe_table import paper_configs

ROOT = Path(__file__).parents[2] / 'configs'
# One recipe for each kind of backbone and schedule.
RECIPES = (
    'vit-s_in1k',
    'vit-b_in1k-128px-ft224',
    'vit-s_in21k',
    'vit-g_in21k-112px-pre_in1k-112px',
    'cait-m12_in1k',
    'pit-b_in1k',
    'pit-b_in21k-pre_in1k',
    'xcit-l12_in1k-400e',
    'xcit-s12_in21k-pre_in1k',
    'swin-b_in1k-400e',
    'swin-b_in21k',
    'swin-b_in21k-pre_in1k',
    'convnext-s_in21k',
    'convnext-s_in21k-pre_in1k',
    'resnet50_in1k-600e',
    'regnety-16gf_in1k-600e',
    'regnety-16gf_in21k-pre_in1k',
)
# Rate of the first and of a middle parameter as a share of the head's.
LAYER_DECAY = {
    # the authors' groups: one a block (BEiT, MAE), 12 in all (ConvNeXt), one a block (SimMIM)
    'vit-s_in21k-pre_in1k': (0.8**13, 'layers.6.ln1.weight', 0.8**6),
    'vit-b_in21k-pre_in1k': (0.85**13, 'layers.6.ln1.weight', 0.85**6),
    'vit-l_in21k-pre_in1k': (0.9**25, 'layers.12.ln1.weight', 0.9**12),
    'convnext-b_in21k-pre_in1k': (0.8**13, 'stages.2.13.norm.weight', 0.8**6),
    'convnext-s_in21k-pre_in1k': (0.8**13, 'stages.2.13.norm.weight', 0.8**6),
    'swin-b_in21k-pre_in1k': (0.89**25, 'stages.2.blocks.8.norm1.weight', 0.89**12),
    'swin-l_in21k-pre_in1k': (0.89**25, 'stages.2.blocks.8.norm1.weight', 0.89**12),
    # timm's groups, one a block, with a rate that reaches as far as ConvNeXt's
    'xcit-s12_in21k-pre_in1k': (0.82**15, 'xca_layers.6.norm1.weight', 0.82**8),
    'xcit-m24_in21k-pre_in1k': (0.9**27, 'xca_layers.12.norm1.weight', 0.9**14),
    'xcit-l24_in21k-pre_in1k': (0.9**27, 'xca_layers.12.norm1.weight', 0.9**14),
    'pit-b_in21k-pre_in1k': (
        0.81**14,
        'timm_model.transformers.1.blocks.3.norm1.weight',
        0.81**7,
    ),
    'resnet152_in21k-pre_in1k': (0.945**51, 'layer3.14.conv1.weight', 0.945**25),
    'regnety-16gf_in21k-pre_in1k': (0.86**19, 's3.b3.conv1.conv.weight', 0.86**10),
}


@cache
def _settings(name):
    """Parameter -> (tensor, learning rate as a share of the optimizer's, weight decay likewise)."""
    cfg = Config.fromfile(ROOT / 'cosub' / f'{name}.py')
    init_default_scope('mmpretrain')
    with meta_device():
        model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(param): key for key, param in model.named_parameters()}
    base = cfg.optim_wrapper.optimizer
    return {
        names[id(param)]: (param, group['lr'] / base.lr, group['weight_decay'] / base.weight_decay)
        for group in optimizer.param_groups
        for param in group['params']
    }


def _undecayed(key, param):
    """DeiT's rule, which is timm 0.3.2's: vectors, and what the model's class names; Swin's tables.

    XCiT's position encoding is a module and its temperature belongs to a block, so that neither
    has the name that their class excludes: its authors decay both.
    """
    tables = ('.cls_token', '.pos_embed', '.relative_position_bias_table')
    return param.ndim == 1 or key.endswith(tables)


@pytest.mark.parametrize('name', RECIPES)
def test_weight_decay_by_parameter_kind(name):
    settings = _settings(name)
    for key, (param, _, decay) in settings.items():
        assert decay == (0 if _undecayed(key, param) else 1), key


def test_what_is_decayed_and_what_is_not():
    """The rule above, by the names that it is about."""
    expected = {
        'swin-b_in1k-400e': {
            'backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table': 0,
            'backbone.patch_embed.projection.weight': 1,
            'backbone.stages.0.blocks.0.norm1.weight': 0,
        },
        'xcit-l12_in1k-400e': {
            'backbone.cls_token': 0,
            'backbone.pos_embed.token_projection.conv.weight': 1,
            'backbone.pos_embed.token_projection.conv.bias': 0,
            'backbone.xca_layers.0.attn.temperature': 1,
            'backbone.xca_layers.0.gamma1': 0,
            'backbone.xca_layers.0.local_mp.conv1.conv.weight': 1,
        },
        'vit-s_in1k': {
            'backbone.pos_embed': 0,
            'backbone.cls_token': 0,
            'backbone.layers.0.attn.gamma1.weight': 0,
            'backbone.layers.0.attn.qkv.bias': 0,
            'head.layers.head.weight': 1,
            'head.layers.head.bias': 0,
        },
        'cait-m12_in1k': {
            'backbone.timm_model.pos_embed': 0,
            'backbone.timm_model.blocks.0.gamma_1': 0,
            'backbone.timm_model.blocks.0.attn.proj_l.weight': 1,
        },
        'pit-b_in1k': {
            'backbone.timm_model.pos_embed': 0,
            'backbone.timm_model.transformers.1.pool.conv.weight': 1,
        },
        'convnext-s_in21k': {
            'backbone.stages.0.0.gamma': 0,
            'backbone.stages.0.0.depthwise_conv.weight': 1,
        },
        'resnet50_in1k-600e': {'backbone.bn1.weight': 0, 'backbone.conv1.weight': 1},
        'regnety-16gf_in1k-600e': {
            'backbone.timm_model.s1.b1.se.fc1.weight': 1,
            'backbone.timm_model.s1.b1.se.fc1.bias': 0,
        },
    }
    for name, params in expected.items():
        settings = _settings(name)
        assert {key: settings[key][2] for key in params} == params, name


@pytest.mark.parametrize('name', LAYER_DECAY)
def test_reach_of_layer_decay(name):
    first, middle, share = LAYER_DECAY[name]
    settings = _settings(name)
    stem = next(
        key
        for key in settings
        if re.search(r'patch_embed|downsample_layers\.0|stem|backbone\.conv1', key)
    )
    assert settings[stem][1] == pytest.approx(first)
    key = next(key for key in settings if key.endswith(f'.{middle}'))
    assert settings[key][1] == pytest.approx(share)
    assert next(value[1] for key, value in settings.items() if key.startswith('head.')) == 1
    assert min(value[1] for value in settings.values()) == pytest.approx(first)


def test_no_recipe_with_layer_decay_is_left_out():
    """Other sizes and lengths of the ViT take the rate of their width."""
    for file in paper_configs('cosub'):
        if file.stem.endswith('-pre_in1k') and not file.stem.startswith('vit'):
            assert file.stem in LAYER_DECAY
