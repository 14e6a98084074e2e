import math
import re

import pytest
import timm
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from timm.optim import param_groups_layer_decay
from torch import nn

import cosub_mm  # noqa: F401
from tests import timm_names

LR, WD, LD = 1e-3, 0.05, 0.7
NO_DECAY = {
    '.cls_token': dict(decay_mult=0.0),
    '.pos_embed': dict(decay_mult=0.0),
    'relative_position_bias_table': dict(decay_mult=0.0),
}


def _build(model, constructor='mmpretrain.CosubLayerDecay', **paramwise):
    cfg = dict(
        optimizer=dict(type='AdamW', lr=LR, weight_decay=WD),
        constructor=constructor,
        paramwise_cfg=dict(layer_decay_rate=LD, **paramwise),
    )
    return build_optim_wrapper(model, cfg)


def _settings(model, **paramwise):
    """Parameter name -> (learning-rate scale, weight decay)."""
    names = {id(p): n for n, p in model.named_parameters()}
    wrapper = _build(model, flat_decay_mult=0.0, custom_keys=NO_DECAY, **paramwise)
    return {
        names[id(p)]: (group['lr'] / LR, group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }


def _timm_settings(model):
    groups = param_groups_layer_decay(
        model, WD, no_weight_decay_list=getattr(model, 'no_weight_decay', set)(), layer_decay=LD
    )
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr_scale'], group['weight_decay'])
        for group in groups
        for p in group['params']
    }


class _Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        self.head = nn.Linear(4, 2)


VIT = (
    dict(
        type='CosubViT',
        arch=dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64),
        img_size=32,
    ),
    lambda: timm.create_model(
        'deit3_small_patch16_224', img_size=32, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2
    ),
    timm_names.VIT,
)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[2, 1, 3, 1], num_heads=[1, 2, 2, 4]),
    img_size=64,
    window_size=2,
)
CONVNEXT = dict(type='ConvNeXt', arch=dict(depths=[3, 3, 27, 3], channels=[8, 16, 24, 32]))
RESNET = (
    dict(type='ResNet', depth=50, base_channels=8, stem_channels=8),
    lambda: timm.create_model('resnet50'),
    [],
)
XCIT = (
    dict(type='XCiT', embed_dims=32, depth=3, num_heads=2, layer_scale_init_value=1.0),
    lambda: timm.create_model('xcit_nano_12_p16_224', embed_dim=32, depth=3, num_heads=2),
    timm_names.XCIT,
)


@pytest.mark.parametrize(
    ('ours', 'theirs', 'rules'),
    [VIT, RESNET, XCIT],
    ids=['ViT', 'ResNet', 'XCiT'],
)
def test_equal_to_timm(ours, theirs, rules):
    model = _Model(ours)
    settings = _settings(model)
    expected = _timm_settings(theirs())
    got = {
        timm_names.rename(rules, name.removeprefix('backbone.')): value
        for name, value in settings.items()
        if name.startswith('backbone.')
    }
    trunk = {n: v for n, v in expected.items() if not re.match(r'(head|fc)\b(?!\.norm)', n)}
    assert got.keys() == trunk.keys()
    for name, (scale, decay) in trunk.items():
        assert got[name][0] == pytest.approx(scale, rel=1e-12), name
        assert got[name][1] == decay, name
    assert settings['head.weight'] == (1.0, WD)
    assert settings['head.bias'] == (1.0, 0.0)


def _depths(model):
    """Parameter of the backbone -> number of layers between it and the head, and its decay."""
    return {
        name.removeprefix('backbone.'): (round(math.log(scale, LD)), decay)
        for name, (scale, decay) in _settings(model).items()
    }


def test_swin_has_simmims_layers():
    """Patch embedding, one a block, head; merging belongs to the block before it."""
    depths = _depths(_Model(SWIN))
    first = [0, 2, 3, 6]  # number of the first block of a stage of 2, 1, 3, 1
    for name, (below, decay) in depths.items():
        stage, block = re.match(r'stages\.(\d)\.blocks\.(\d)|', name).groups()
        merge = re.match(r'stages\.(\d)\.downsample|', name)[1]
        if stage:
            layer = first[int(stage)] + int(block) + 1
        elif merge:
            layer = first[int(merge) + 1]
        else:
            layer = 0 if name.startswith('patch_embed') else 8
        assert below == 8 - layer, name
        table = name.endswith(('bias', 'bias_table')) or 'norm' in name
        assert decay == (0 if table else WD), name


def test_convnext_has_its_authors_12_groups():
    """Stem .055 of the rate at .8: 12 groups whatever the number of blocks in the third stage."""
    depths = _depths(_Model(CONVNEXT))
    expected = {
        'downsample_layers.0.0.weight': 0,
        'stages.0.2.gamma': 1,
        'downsample_layers.1.1.weight': 2,
        'stages.1.2.gamma': 2,
        'downsample_layers.2.1.weight': 3,
        **{f'stages.2.{block}.gamma': 3 + block // 3 for block in range(27)},
        'downsample_layers.3.1.weight': 12,
        'stages.3.2.gamma': 12,
        'norm3.weight': 13,
        'head.weight': 13,
    }
    assert {name: 13 - depths[name][0] for name in expected} == expected


@pytest.mark.parametrize('name', ['cait_xxs24_224', 'regnety_002', 'vit_tiny_patch16_224'])
def test_timm_backbone_is_grouped_by_timm(name):
    source = timm.create_model(name, num_classes=0)
    settings = _settings(_Model(source))
    for key, (scale, _) in _timm_settings(timm.create_model(name)).items():
        if not key.startswith('head'):
            assert settings[f'backbone.{key}'][0] == pytest.approx(scale, rel=1e-12), key


def test_pit_counts_its_blocks_through():
    settings = _settings(_Model(timm.create_model('pit_ti_224', num_classes=0)))
    depth = {
        n: round(torch.log(torch.tensor(s)).item() / -0.35667) for n, (s, _) in settings.items()
    }
    blocks = sum(timm.create_model('pit_ti_224').transformers[i].blocks.__len__() for i in range(3))
    assert depth['backbone.cls_token'] == depth['backbone.patch_embed.conv.weight'] == blocks + 1
    assert depth['backbone.transformers.0.blocks.0.norm1.weight'] == blocks
    assert depth['backbone.transformers.1.pool.fc.weight'] == blocks - 2
    assert depth['backbone.transformers.1.blocks.0.norm1.weight'] == blocks - 2
    assert depth['backbone.norm.weight'] == 1
    assert depth['head.weight'] == 0


def test_segmentor_has_decode_heads_at_the_full_rate():
    model = _Model(VIT[0])
    model.neck = nn.Conv2d(4, 4, 1)
    model.auxiliary_head = nn.Conv2d(4, 4, 1)
    settings = _settings(model)
    assert settings['neck.weight'][0] == settings['auxiliary_head.weight'][0] == 1
    assert settings['backbone.layers.2.ln1.weight'][0] == pytest.approx(LD)
    assert settings['backbone.pos_embed'] == (pytest.approx(LD**4), 0.0)


def test_output_norms_of_a_segmentation_backbone():
    """They follow the layers and are at the full rate, as SimMIM has the last one."""
    settings = _settings(_Model(dict(SWIN, out_indices=(0, 1, 2, 3))))
    assert {settings[f'backbone.norm{i}.weight'][0] for i in range(4)} == {1.0}


@pytest.mark.parametrize('constructor', ['CosubLayerDecay', 'mmpretrain.CosubLayerDecay'])
def test_found_by_both_names(constructor):
    wrapper = _build(_Model(VIT[0]), constructor)
    rates = sorted({round(group['lr'], 12) for group in wrapper.optimizer.param_groups})
    assert rates == pytest.approx(sorted(LR * LD**i for i in range(5)))


def test_parameterwise_keys_multiply_with_the_layer():
    model = _Model(VIT[0])
    names = {id(p): n for n, p in model.named_parameters()}
    wrapper = _build(
        model,
        norm_decay_mult=0.0,
        bias_decay_mult=0.5,
        custom_keys={'.cls_token': dict(lr_mult=10.0, decay_mult=0.1)},
    )
    groups = {names[id(p)]: g for g in wrapper.optimizer.param_groups for p in g['params']}
    assert groups['backbone.cls_token']['lr'] == pytest.approx(LR * 10 * LD**4)
    assert groups['backbone.cls_token']['weight_decay'] == pytest.approx(WD * 0.1)
    assert groups['backbone.layers.0.ln1.weight']['weight_decay'] == 0
    assert groups['head.bias']['weight_decay'] == pytest.approx(WD * 0.5)
    assert groups['backbone.pos_embed']['weight_decay'] == WD


def test_frozen_parameters_are_left_out_and_groups_are_few():
    model = _Model(VIT[0])
    model.backbone.patch_embed.requires_grad_(False)
    wrapper = _build(model, flat_decay_mult=0.0)
    held = {id(p) for g in wrapper.optimizer.param_groups for p in g['params']}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(wrapper.optimizer.param_groups) <= 2 * 5
    assert 'names' not in wrapper.optimizer.param_groups[0]


def test_table_names_each_layer(caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        _build(_Model(VIT[0]), flat_decay_mult=0.0)
    finally:
        logger.removeHandler(caplog.handler)
    table = next(r.getMessage() for r in caplog.records if 'Layer decay:' in r.getMessage())
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == ['stem', '1', '2', '3', 'head']
    assert [float(row[1]) for row in rows] == pytest.approx(
        [LD**i for i in (4, 3, 2, 1, 0)], rel=1e-3
    )


@pytest.mark.parametrize('rate', [None, 0, -0.5, 1.5, 'fast'])
def test_wrong_rate(rate):
    cfg = dict(optimizer=dict(type='AdamW', lr=LR), constructor='CosubLayerDecay')
    with pytest.raises(ValueError, match='layer_decay_rate'):
        build_optim_wrapper(_Model(VIT[0]), dict(cfg, paramwise_cfg=dict(layer_decay_rate=rate)))


def test_unknown_backbone():
    odd = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r'layers of Sequential.*get_layer_depth'):
        _build(_Model(odd))


def test_weight_decay_of_the_optimizer_stays_when_not_given():
    cfg = dict(
        optimizer=dict(type='AdamW', lr=LR),
        constructor='CosubLayerDecay',
        paramwise_cfg=dict(layer_decay_rate=LD),
    )
    wrapper = build_optim_wrapper(_Model(VIT[0]), cfg)
    assert {g['weight_decay'] for g in wrapper.optimizer.param_groups} == {0.01}
