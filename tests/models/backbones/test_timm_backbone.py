import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from torch import nn

import cosub_mm  # noqa: F401
from cosub_mm.stochastic_depth import describe
from cosub_mm.stochastic_depth.rows.draw import draw_rows_at_once
from cosub_mm.stochastic_depth.search.example import example_inputs
from cosub_mm.stochastic_depth.step import plan

PIT = dict(model_name='pit_ti_224', img_size=64, depth=(1, 1, 1), base_dims=(8, 8, 8))
CAIT = dict(model_name='cait_xxs24_224', img_size=32, depth=2, embed_dim=48)
REGNET = dict(model_name='regnety_002')
SWIN = dict(
    model_name='swin_tiny_patch4_window7_224',
    img_size=64,
    embed_dim=16,
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 2, 2),
    window_size=2,
)
VIT = dict(model_name='vit_tiny_patch16_224', img_size=32, embed_dim=32, depth=2, num_heads=2)
XCIT = dict(model_name='xcit_nano_12_p16_224', embed_dim=32, depth=2, num_heads=2)
ALL = [PIT, CAIT, REGNET, SWIN, VIT, XCIT]


def _id(cfg):
    return cfg['model_name']


def _build(cfg, **kwargs):
    return MODELS.build(dict(cfg, type='CosubTIMMBackbone', **kwargs))


def _image(cfg, size=None):
    return torch.randn(2, 3, *[size or cfg.get('img_size', 64)] * 2)


@pytest.mark.parametrize('cfg', ALL, ids=_id)
def test_pooled_is_what_timm_classifies(cfg):
    backbone = _build(cfg).eval()
    reference = timm.create_model(num_classes=7, **cfg).eval()
    missing = reference.load_state_dict(backbone.timm_model.state_dict(), strict=False)
    assert all('head' in key for key in missing.missing_keys)
    classifier = reference.get_classifier()
    image = _image(cfg)
    (pooled,) = backbone(image)
    assert pooled.shape == (2, reference.num_features)
    torch.testing.assert_close(classifier(pooled), reference(image))


@pytest.mark.parametrize('cfg', ALL, ids=_id)
def test_feature_maps_have_timms_strides_and_no_idle_parameters(cfg):
    backbone = _build(cfg, out_type='featmap')
    maps = backbone(_image(cfg))
    assert [m.shape[1] for m in maps] == backbone.out_channels
    size = cfg.get('img_size', 64)
    for index, feature in zip(backbone.out_indices, maps):
        side = size / backbone.timm_model.feature_info[index]['reduction']
        assert abs(feature.shape[2] - side) <= 1
        assert feature.shape[2] == feature.shape[3]
    sum(m.square().sum() for m in maps).backward()
    idle = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


def test_maps_are_channels_first():
    backbone = _build(SWIN, out_type='featmap', out_indices=(0, 3)).eval()
    image = _image(SWIN)
    first, last = backbone(image)
    assert first.shape == (2, 16, 16, 16)
    assert last.shape == (2, 128, 2, 2)
    model = timm.create_model(num_classes=0, global_pool='', **SWIN).eval()
    model.norm = torch.nn.Identity()
    model.load_state_dict(backbone.timm_model.state_dict(), strict=False)
    torch.testing.assert_close(last, model.forward_features(image).permute(0, 3, 1, 2))


@pytest.mark.parametrize('cfg', [PIT, CAIT, VIT], ids=_id)
@pytest.mark.parametrize('out_type', ['pooled', 'featmap'])
def test_position_embeddings_fit_other_sizes(cfg, out_type):
    small = _build(cfg, out_type=out_type).eval()
    large = _build(dict(cfg, img_size=96), out_type=out_type).eval()
    large.load_state_dict(small.state_dict())
    image = _image(cfg, 96)
    for a, b in zip(small(image), large(image)):
        torch.testing.assert_close(a, b)
    small.train()(image)[-1].square().sum().backward()
    assert small.timm_model.pos_embed.grad.abs().sum() > 0
    assert isinstance(small.timm_model.pos_embed, torch.nn.Parameter)


def test_rectangles_are_taken():
    backbone = _build(PIT, out_type='featmap').eval()
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert maps[0].shape[2:] == (7, 11)


def test_drop_rate_is_uniform():
    backbone = _build(VIT, drop_path_rate=0.5)
    torch.manual_seed(0)
    image = _image(VIT).repeat(8, 1, 1, 1)
    a, b = backbone(image)[0], backbone(image)[0]
    assert not torch.allclose(a, b)
    backbone.eval()
    assert torch.equal(backbone(image)[0], backbone(image)[0])


def test_layer_depth_is_timms():
    backbone = _build(CAIT)
    depth = {n: backbone.get_layer_depth(n, '') for n, _ in backbone.named_parameters()}
    assert depth['timm_model.patch_embed.proj.weight'] == (0, 4)
    assert depth['timm_model.blocks.0.norm1.weight'] == (1, 4)
    assert depth['timm_model.blocks.1.norm1.weight'] == (2, 4)
    assert backbone.get_layer_depth('backbone.timm_model.cls_token', 'backbone.') == (0, 4)
    assert backbone.get_layer_depth('head.fc.weight', 'backbone.') == (3, 4)


def test_init_weights_keeps_what_timm_made_and_loads_init_cfg(tmp_path):
    backbone = _build(REGNET)
    before = backbone.state_dict()['timm_model.stem.conv.weight'].clone()
    backbone.init_weights()
    assert torch.equal(backbone.state_dict()['timm_model.stem.conv.weight'], before)

    torch.save(backbone.state_dict(), tmp_path / 'weights.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    other = _build(REGNET, init_cfg=init_cfg)
    assert not torch.equal(other.state_dict()['timm_model.stem.conv.weight'], before)
    other.init_weights()
    assert torch.equal(other.state_dict()['timm_model.stem.conv.weight'], before)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="no model 'vit_enormous'"):
        _build(dict(model_name='vit_enormous'))
    with pytest.raises(ValueError, match='out_type'):
        _build(REGNET, out_type='tokens')


@pytest.mark.parametrize('out_type', ['pooled', 'featmap'])
def test_all_branches_are_drawn_for_at_once(out_type, monkeypatch):
    numbers = []

    def note(batch, rates, *args):
        numbers.append(len(rates))
        return draw_rows_at_once(batch, rates, *args)

    monkeypatch.setattr(plan, 'draw_rows_at_once', note)
    backbone = _build(VIT, out_type=out_type, drop_path_rate=0.5).train()
    backbone(_image(VIT))
    assert numbers == [4]
    backbone(_image(VIT, 48))  # with position embeddings of another size
    assert numbers == [4, 4]


def test_unknown_blocks_are_searched_on_images_of_the_size_that_timms_model_takes():
    backbone = _build(dict(VIT, drop_path_rate=0.5))
    assert example_inputs(backbone, None)[0].shape[1:] == (3, 32, 32)
    assert example_inputs(nn.DataParallel(backbone), None)[0].shape[1:] == (3, 32, 32)


def test_what_it_is_told_of_stochastic_depth_arrives():
    told = dict(drop_path_rate=0.5, schedule='linear', implementation='mask')
    report = describe(_build(VIT, **told))
    assert report.settings == (0.5, 'linear', 'mask')
    assert [branch.rate for branch in report.blocks] == [0, 0, 0.5, 0.5]
    assert {branch.implementation for branch in report.blocks} == {'mask'}


def test_blocks_without_a_drop_path_are_found():
    """GhostNet's blocks add to their stream and have no DropPath."""
    config = dict(model_name='ghostnet_050', drop_path_rate=0.5, example_input=(3, 3, 64, 64))
    with pytest.raises(ValueError, match='has no DropPath'):
        _build(config)
    report = describe(_build(config, find='all'))
    assert len(report.blocks) == 16 and {branch.rate for branch in report.blocks} == {0.5}
