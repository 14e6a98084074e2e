"""Initial weights of every architecture of the recipes against those of its authors.

timm's models stand for the authors', whose code they follow; the widths and
depths are small, and LayerScale, which depends on the depth, is compared by itself.
"""

import re
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn

import cosub_mm  # noqa: F401
from tests import timm_names

FOLDER = Path(__file__).parents[2] / 'configs/_base_/models'
# Those of segmentation build on no other file.
NAMES = sorted(file.stem for file in FOLDER.glob('*.py') if '_base_' in file.read_text())
# Of the authors: DeiT III 1e-4, CaiT and XCiT by depth, ConvNeXt 1e-6, the others have none.
LAYER_SCALE = {
    **{name: 1e-4 for name in NAMES if name.startswith('vit')},
    'cait-m12': 0.1,
    'cait-l24': 1e-5,
    'convnext-b': 1e-6,
    'convnext-s': 1e-6,
    'xcit-l12': 1.0,
    'xcit-s12': 1.0,
    'xcit-l24': 1e-5,
    'xcit-m24': 1e-5,
}
KINDS = (
    'linear weights',
    'convolutions',
    'depthwise filters',
    'biases',
    'norms',
    'layer scale',
    'tokens and tables',
    'head',
)
RULES = {
    'CosubViT': timm_names.VIT,
    'CosubXCiT': timm_names.XCIT,
    'SwinTransformer': timm_names.SWIN,
    'ConvNeXt': timm_names.CONVNEXT,
    'ResNet': timm_names.RESNET,
    'CosubTIMMBackbone': [(r'^timm_model\.', '')],
}


def _vit(name, cfg):
    # A block of ViT-H or g costs a second to draw; its statistics do not depend on the width.
    arch = dict(embed_dims=192, num_layers=3, num_heads=3, feedforward_channels=768)
    cfg.backbone.update(arch=arch, img_size=56)
    cfg.head.in_channels = 192
    options = dict(img_size=56, patch_size=cfg.backbone.patch_size, embed_dim=192, num_heads=3)
    # timm starts LayerScale of DeiT III at 1e-6 and the class token at 0
    model = timm.create_model('deit3_small_patch16_224', depth=3, init_values=1e-4, **options)
    timm.layers.trunc_normal_(model.cls_token, std=0.02)
    return model


def _xcit(name, cfg):
    cfg.backbone.update(depth=2, embed_dims=192, num_heads=4)
    cfg.head.in_channels = 192
    return timm.create_model(
        'xcit_small_12_p16_224',
        depth=2,
        embed_dim=192,
        num_heads=4,
        eta=LAYER_SCALE[name],
        tokens_norm=True,
    )


def _swin(name, cfg):
    cfg.backbone.arch = dict(embed_dims=32, depths=[2, 1, 2, 1], num_heads=[1, 2, 4, 8])
    cfg.head.in_channels = 256
    return timm.create_model(
        'swin_base_patch4_window7_224',
        embed_dim=32,
        depths=(2, 1, 2, 1),
        num_heads=(1, 2, 4, 8),
    )


def _convnext(name, cfg):
    cfg.backbone.arch = dict(depths=[1, 1, 2, 1], channels=[32, 64, 128, 256])
    cfg.head.in_channels = 256
    return timm.create_model('convnext_base', depths=(1, 1, 2, 1), dims=(32, 64, 128, 256))


def _resnet(name, cfg):
    cfg.backbone.update(depth=50, base_channels=16)
    cfg.head.in_channels = 512
    return timm.create_model('resnet50', channels=(16, 32, 64, 128))


def _pit(name, cfg):
    sizes = dict(depth=(1, 1, 2), base_dims=(32, 32, 32), heads=(2, 4, 8))
    cfg.backbone.update(sizes)
    cfg.head.in_channels = 256
    return timm.create_model(cfg.backbone.model_name, **sizes)


def _cait(name, cfg):
    sizes = dict(depth=2, embed_dim=192, num_heads=4)
    cfg.backbone.update(sizes)
    cfg.head.in_channels = 192
    return timm.create_model('cait_m36_384', img_size=224, init_values=LAYER_SCALE[name], **sizes)


def _regnety(name, cfg):
    sizes = dict(w0=24, wa=36.44, wm=2.49, group_size=8, depth=13)  # of regnety_002
    cfg.backbone.update(sizes)
    model = timm.create_model('regnety_160', **sizes)
    cfg.head.in_channels = model.num_features
    return model


TWINS = dict(
    vit=_vit, xcit=_xcit, swin=_swin, convnext=_convnext, pit=_pit, cait=_cait, regnety=_regnety
)


@cache
def _models(name):
    """Ours by the config with few layers, initialised, and timm's, in its names."""
    torch.manual_seed(0)
    cfg = Config.fromfile(FOLDER / f'{name}.py').model
    family = re.match(r'[a-z]+', name)[0]
    theirs = TWINS.get(family, _resnet)(name, cfg)
    ours = MODELS.build(cfg)
    ours.init_weights()
    return ours, theirs, RULES[cfg.backbone.type]


def _named(name):
    """(name of timm, our parameter, timm's) of all parameters."""
    ours, theirs, rules = _models(name)
    expected = dict(theirs.named_parameters())
    found = {}
    for key, param in ours.named_parameters():
        inner = key.removeprefix('backbone.')
        if inner != key:
            found[timm_names.rename(rules, inner)] = param
    head = next(n.rsplit('.', 1)[0] for n in reversed(expected) if n.endswith('weight'))
    for key, param in ours.head.named_parameters():
        found[f'{head}.{key.rsplit(".", 1)[1]}'] = param
    assert found.keys() == expected.keys()
    return head, [(key, found[key], expected[key]) for key in expected]


def _kind(module: nn.Module, key: str, head: str) -> str:
    owner = module.get_submodule(key.rpartition('.')[0])
    if key.startswith(head):
        return 'head'
    if re.search(r'gamma', key):
        return 'layer scale'
    if re.search(r'token$|pos_embed$|bias_table$|temperature$', key):
        return 'tokens and tables'
    if re.search(r'norm|bn', type(owner).__name__.lower()):
        return 'norms'
    if key.endswith('bias'):
        return 'biases'
    if isinstance(owner, nn.Conv2d):
        return 'depthwise filters' if owner.groups == owner.in_channels else 'convolutions'
    assert isinstance(owner, nn.Linear), key
    return 'linear weights'


def _differences(key, ours, theirs):
    """What a sample of this size does not explain: mean, deviation, mean magnitude, extremes."""
    ours, theirs = ours.detach().double().flatten(), theirs.detach().double().flatten()
    assert ours.shape == theirs.shape, key
    std = theirs.std().item() if theirs.numel() > 1 else 0.0
    if theirs.eq(theirs[0]).all():
        return [] if torch.equal(ours.float(), theirs.float()) else [f'{key}: not {theirs[0]:.3g}']
    slack = 6 / ours.numel() ** 0.5
    lines = []
    for what, a, b in (
        ('mean', ours.mean(), theirs.mean()),
        ('standard deviation', ours.std(), theirs.std()),
        ('mean magnitude', ours.abs().mean(), theirs.abs().mean()),
    ):
        if not abs(a - b) <= max(slack, 0.01) * std:
            lines.append(f'{key}: {what} {a:.4g}, not {b:.4g}')
    return lines


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', NAMES)
def test_equal_to_the_authors(name, kind):
    head, params = _named(name)
    theirs = _models(name)[1]
    chosen = [p for p in params if _kind(theirs, p[0], head) == kind]
    wrong = [line for triple in chosen for line in _differences(*triple)]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('name', NAMES)
def test_layer_scale(name):
    head, params = _named(name)
    theirs = _models(name)[1]
    gammas = [p for key, p, _ in params if _kind(theirs, key, head) == 'layer scale']
    assert bool(gammas) == (name in LAYER_SCALE)
    for gamma in gammas:
        expected = torch.full_like(gamma, LAYER_SCALE[name])
        torch.testing.assert_close(gamma.detach(), expected, rtol=1e-6, atol=0)


def _stream(model, images):
    """Largest standard deviation of what any module gives."""
    largest = []

    def note(module, args, output):
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel() > 1:
            largest.append(output.std().item())

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return max(largest)


@pytest.mark.parametrize('name', NAMES)
def test_first_forward_pass_is_of_the_authors_size(name):
    ours, theirs, _ = _models(name)
    side = 56 if name.startswith('vit') else 224
    images = torch.randn(2, 3, side, side)
    ours.train()
    theirs.train()
    got, expected = _stream(ours.backbone, images), _stream(theirs, images)
    assert expected / 2 < got < 2 * expected
