"""CosubBackbone builds the inner backbone itself, in every scope."""

import mmseg.registry
import pytest
import torch
from mmengine.registry import MODELS as ROOT
from mmengine.registry import DefaultScope
from mmpretrain.models import ResNet, SwinTransformer
from mmpretrain.registry import MODELS

from cosub_mm.stochastic_depth import describe

SWIN = dict(
    type='mmpretrain.SwinTransformer',
    arch=dict(embed_dims=24, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2]),
    img_size=64,
    window_size=2,
)
MIT = dict(
    type='MixVisionTransformer', embed_dims=8, num_heads=[1, 1, 1, 1], num_layers=[1, 1, 1, 1]
)


def config(backbone, **kwargs):
    return dict(type='mmpretrain.CosubBackbone', backbone=backbone, **kwargs)


def test_it_is_the_inner_backbone():
    plain = MODELS.build(SWIN)
    model = MODELS.build(config(SWIN, drop_path_rate=0.2))
    assert type(model) is SwinTransformer
    assert list(model.state_dict()) == list(plain.state_dict())
    assert model.num_features == plain.num_features
    model.load_state_dict(plain.state_dict())
    name = next(iter(dict(model.named_parameters())))
    if hasattr(plain, 'get_layer_depth'):
        assert model.get_layer_depth(name) == plain.get_layer_depth(name)
    assert [b.rate for b in describe(model).blocks] == [0.2] * 8
    x = torch.randn(2, 3, 64, 64)
    model.eval(), plain.eval()
    assert torch.equal(model(x)[0], plain(x)[0])


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg', 'mmdet', None])
def test_it_builds_from_every_scope(scope):
    registry = mmseg.registry.MODELS if scope == 'mmseg' else ROOT
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    cfg = config(backbone, drop_path_rate=0.3, schedule='linear')
    if scope is None:
        model = registry.build(cfg)
    else:
        with DefaultScope.overwrite_default_scope(scope):
            model = registry.build(cfg)
    assert type(model) is ResNet
    assert describe(model).blocks[-1].rate == pytest.approx(0.3)


def test_the_scope_decides_about_a_bare_inner_type():
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = mmseg.registry.MODELS.build(config(MIT, drop_path_rate=0.1))
    assert type(model).__module__.startswith('mmseg.')
    report = describe(model)
    assert {b.start for b in report.blocks} == {'norm1', 'norm2'}
    assert all(b.found and b.rate == 0.1 for b in report.blocks)


def test_none_keeps_the_rates_of_the_inner_backbone():
    model = MODELS.build(config(dict(SWIN, drop_path_rate=0.3)))
    assert describe(model).blocks[-1].rate == pytest.approx(0.3)


def test_bad_arguments():
    with pytest.raises(ValueError, match='must be the config of a backbone'):
        MODELS.build(config('resnet18'))
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\)'):
        MODELS.build(config(SWIN, drop_path_rate=2))
    with pytest.raises(ValueError, match='No residual branch'):
        MODELS.build(config(dict(type='mmpretrain.LeNet5'), drop_path_rate=0.1))
