"""Converted weights give the logits of the model they come from, in float64."""

import pytest
import timm
import torch
from mmpretrain.registry import MODELS

import cosub_mm  # noqa: F401
from cosub_mm.architectures.convert import (
    ConversionError,
    family_of,
    to_deit,
    to_mmpretrain,
    to_timm,
)

CLASSES = 7
GAP = dict(type='GlobalAveragePooling')


def _linear(channels):
    return dict(type='LinearClsHead', num_classes=CLASSES, in_channels=channels)


def _vit(**kwargs):
    sizes = dict(img_size=32, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2)
    return sizes | kwargs


COSUB_VIT = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CosubViT',
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
        img_size=32,
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=CLASSES, in_channels=32),
)
CASES = {
    'deit3': (('deit3_small_patch16_224', _vit()), COSUB_VIT),
    'plain vit': (('vit_small_patch16_224', _vit()), COSUB_VIT),
    'swin': (
        (
            'swin_tiny_patch4_window7_224',
            dict(embed_dim=16, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4)),
        ),
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='SwinTransformer',
                arch=dict(embed_dims=16, depths=[2, 1, 2, 1], num_heads=[1, 2, 2, 4]),
            ),
            neck=GAP,
            head=_linear(128),
        ),
    ),
    'convnext': (
        ('convnext_tiny', dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))),
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='ConvNeXt', arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32])
            ),
            head=_linear(32),
        ),
    ),
    'resnet': (
        ('resnet50', {}),
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=50),
            neck=GAP,
            head=_linear(2048),
        ),
    ),
    'xcit': (
        (
            'xcit_nano_12_p16_224',
            dict(embed_dim=32, depth=2, num_heads=2, eta=1.0, tokens_norm=True),
        ),
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='XCiT',
                embed_dims=32,
                depth=2,
                num_heads=2,
                layer_scale_init_value=1.0,
                tokens_norm=True,
            ),
            head=_linear(32),
        ),
    ),
}


def _randomise(model):
    """Every value, norms and running statistics too: equal defaults would hide a mix-up."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor) * 0.2)
        if name.endswith('running_var') or ('norm' in name and name.endswith('weight')):
            tensor.abs_().add_(0.5)
    return model.double().eval()


def _source(case):
    name, kwargs = CASES[case][0]
    model = timm.create_model(name, num_classes=CLASSES, **kwargs)
    _double_fourier(model, case)
    return _randomise(model)


def _target(case):
    model = MODELS.build(CASES[case][1]).double().eval()
    _double_fourier(model.backbone, case)
    return model


def _double_fourier(model, case):
    """The libraries make XCiT's Fourier features in single precision whatever the weights are."""
    if case == 'xcit':
        model.pos_embed.token_projection.register_forward_pre_hook(lambda _, x: (x[0].double(),))


def _images(case):
    side = 224 if case == 'swin' else CASES[case][0][1].get('img_size', 64)
    return torch.randn(2, 3, side, side, dtype=torch.double)


@pytest.mark.parametrize('case', CASES)
def test_logits_are_the_sources(case):
    source, target = _source(case), _target(case)
    result = target.load_state_dict(to_mmpretrain(source.state_dict()), strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith('relative_position_index') for key in result.missing_keys)
    images = _images(case)
    with torch.no_grad():
        logits = target.head(target.extract_feat(images))
        torch.testing.assert_close(logits, source(images), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('case', CASES)
def test_back_to_timm(case):
    source = _source(case)
    if case == 'plain vit':  # comes back as the DeiT III model that computes the same
        source = _source('deit3')
    weights = source.state_dict()
    back = to_timm(to_mmpretrain(weights))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


@pytest.mark.parametrize('case', CASES)
def test_from_mmpretrain_to_timm(case):
    """Weights of a model of ours make the timm model predict the same."""
    target = _randomise(_target(case))
    name, kwargs = CASES['deit3'][0] if case == 'plain vit' else CASES[case][0]
    source = timm.create_model(name, num_classes=CLASSES, **kwargs).double().eval()
    _double_fourier(source, case)
    source.load_state_dict(to_timm(target.state_dict()))
    images = _images(case)
    with torch.no_grad():
        logits = target.head(target.extract_feat(images))
        torch.testing.assert_close(logits, source(images), rtol=1e-11, atol=1e-11)


def test_deit_repository_layout():
    """models_v2 of facebookresearch/deit has gamma_1 and gamma_2 in its blocks."""
    weights = _source('deit3').state_dict()
    official = to_deit(to_mmpretrain(weights))
    assert 'blocks.1.gamma_2' in official
    assert not any('.ls' in key for key in official)
    assert official['pos_embed'].shape == (1, 4, 32)
    again = to_mmpretrain(official)
    assert all(torch.equal(again[k], v) for k, v in to_mmpretrain(weights).items())
    with pytest.raises(ConversionError, match='of a resnet'):
        to_deit(_source('resnet').state_dict())


def test_headless_weights():
    source = timm.create_model('deit3_small_patch16_224', num_classes=0, **_vit())
    converted = to_mmpretrain(source.state_dict())
    assert all(key.startswith('backbone.') for key in converted)


def test_unknown_weights():
    with pytest.raises(ConversionError, match='first keys: a, b'):
        family_of(dict(a=torch.zeros(1), b=torch.zeros(1)))
    weights = timm.create_model('deit_tiny_distilled_patch16_224', **_vit()).state_dict()
    with pytest.raises(ConversionError, match='dist_token'):
        to_mmpretrain(weights)
