"""Models drop branches by themselves, without a hook that a list could lose."""

import copy

import mmseg.registry
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

import cosub_mm  # noqa: F401
from cosub_mm.stochastic_depth import describe

ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
COSUB_VIT = dict(type='mmpretrain.CosubViT', arch=ARCH, img_size=32, patch_size=8)
STOCK_VIT = dict(COSUB_VIT, type='mmpretrain.VisionTransformer')
FCN = dict(type='FCNHead', in_channels=16, channels=8, num_convs=1, num_classes=3)


def segmentor(kind: str, backbone: dict, **kwargs) -> torch.nn.Module:
    init_default_scope('mmseg')
    backbone = dict(backbone, out_type='featmap')
    cfg = dict(type=kind, backbone=backbone, decode_head=FCN, test_cfg=dict(mode='whole'), **kwargs)
    return mmseg.registry.MODELS.build(copy.deepcopy(cfg))


def classifier(kind: str, backbone: dict, **kwargs) -> torch.nn.Module:
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
    return MODELS.build(copy.deepcopy(dict(type=kind, backbone=backbone, head=head, **kwargs)))


def computed_rows(model: torch.nn.Module, images: int) -> list[int]:
    """Rows that the MLP of each block is given for a batch of ``images``."""
    rows = []
    for block in model.backbone.layers:
        block.ffn.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    model.train().extract_feat(torch.randn(images, 3, 32, 32))
    return rows


@pytest.mark.parametrize(
    ('build', 'kind', 'backbone', 'kwargs'),
    [
        (segmentor, 'SupervisedSegmentor', dict(STOCK_VIT, drop_path_rate=0.5), {}),
        (segmentor, 'SupervisedSegmentor', STOCK_VIT, dict(drop_path_rate=0.5)),
        (segmentor, 'EncoderDecoder', dict(COSUB_VIT, drop_path_rate=0.5), {}),
        (classifier, 'SupervisedClassifier', dict(STOCK_VIT, drop_path_rate=0.5), {}),
        (classifier, 'ImageClassifier', dict(COSUB_VIT, drop_path_rate=0.5), {}),
    ],
)
def test_dropped_rows_are_not_computed(build, kind, backbone, kwargs):
    model = build(kind, backbone, **kwargs)
    plain = build('EncoderDecoder' if build is segmentor else 'ImageClassifier', STOCK_VIT)
    if backbone['type'] == STOCK_VIT['type']:
        assert list(model.state_dict()) == list(plain.state_dict())
    assert computed_rows(model, 40)[-1] == 20
    assert computed_rows(plain, 40)[-1] == 40


@pytest.mark.parametrize('kind', ['SupervisedClassifier', 'CosubClassifier'])
def test_what_the_backbone_was_given_stays(kind):
    """Not None, 'uniform', 'auto', which the classifier has by default."""
    inner = dict(STOCK_VIT, drop_path_rate=0.4)
    backbone = dict(
        type='CosubBackbone', backbone=inner, drop_path_rate=0.3, schedule='linear',
        implementation='mask',
    )  # fmt: skip
    report = describe(classifier(kind, backbone).backbone)
    assert [round(b.rate, 6) for b in report.blocks[::2]] == [0, 0.15, 0.3]
    assert {b.implementation for b in report.blocks} == {'mask'}
    for rate in (None, 0.3):
        backbone = dict(type='CosubBackbone', backbone=dict(COSUB_VIT, drop_path_rate=0.3))
        report = describe(classifier(kind, backbone, drop_path_rate=rate).backbone)
        assert {b.rate for b in report.blocks} == {0.3}
    model = classifier(kind, backbone, drop_path_rate=0.1, implementation='mask')
    report = describe(model.backbone)
    assert {(b.rate, b.implementation) for b in report.blocks} == {(0.1, 'mask')}
