"""Class attention is not dropped: its authors build it so, and a row would lose its image."""

from functools import partial

import pytest
import timm
import torch
from mmpretrain.models.backbones import xcit as mm_xcit
from timm.layers import DropPath
from timm.models import cait, xcit
from timm.models.volo import VOLO
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    apply_stochastic_depth,
    copy_batch_late,
    describe,
    realised_drop_rate,
    register_block,
)
from cosub_mm.stochastic_depth.places.table import BLOCKS
from tests.stochastic_depth import models

CLASS_ATTENTION = ('timm-cait', 'timm-xcit', 'mm-xcit')


def cls_attention(report):
    return [branch for branch in report.blocks if 'class attention' in branch.reason]


@pytest.mark.parametrize('implementation', ['mask', 'subset'])
@pytest.mark.parametrize('name', CLASS_ATTENTION)
def test_every_row_depends_on_its_pixels(name, implementation):
    """At .9 nearly every row of a dropped class attention would be the bare class token."""
    model, shape = models.build(name)
    apply_stochastic_depth(model, 0.9, implementation=implementation)
    models.only_branches_train(model)
    x = torch.randn(12, *shape, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    features = model.forward_features(x)[:, 0] if 'timm' in name else model(x)[0]
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(3))
    (grad,) = torch.autograd.grad((features * weights).sum(), x)
    assert (grad.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize('schedule', ['uniform', 'linear'])
@pytest.mark.parametrize('name', CLASS_ATTENTION)
def test_a_number_reaches_the_blocks_before_and_the_report_says_why(name, schedule):
    model, _ = models.build(name)
    report = apply_stochastic_depth(model, 0.4, schedule=schedule)
    kept = cls_attention(report)
    assert [b.rate for b in kept] == [0] * 4 and kept == report.blocks[-4:]
    assert str(report).count('class attention: its authors drop it in no recipe') == 4
    rates = [b.rate for b in report.blocks[:-4]]
    half = len(rates) // 2
    first = 0.0 if schedule == 'linear' else 0.4
    assert rates == [first] * half + [0.4] * half  # the last of them has the whole rate
    assert realised_drop_rate(model) == pytest.approx(0.4)


def test_blocks_that_a_linear_schedule_built_with_0_are_reached():
    for model in (
        timm.create_model('convnext_atto', depths=(1, 1, 1, 1), dims=(8,) * 4, drop_path_rate=0.3),
        timm.create_model('vit_tiny_patch16_224', depth=2, embed_dim=24, drop_path_rate=0.3),
    ):
        assert describe(model) is None
        assert apply_stochastic_depth(model).blocks[0].rate == 0
        assert {b.rate for b in apply_stochastic_depth(model, 0.2).blocks} == {0.2}


def built(rate):
    """A CaiT whose class attention was built with a rate of its own."""
    model = models.build('timm-cait')[0]
    for block in model.blocks_token_only:
        block.drop_path = DropPath(rate)
    return model


def test_a_rate_that_it_was_built_with_asks_otherwise():
    report = apply_stochastic_depth(built(0.1))
    assert [b.rate for b in report.blocks] == [0] * 4 + [0.1] * 4
    report = apply_stochastic_depth(built(0.1), 0.3)
    assert [b.rate for b in report.blocks] == [0.3] * 8 and not cls_attention(report)
    assert [b.rate for b in apply_stochastic_depth(built(0.0), 0.3).blocks[4:]] == [0] * 4


OTHERWISE = {
    'timm-cait': (
        cait.LayerScaleBlockClassAttn,
        (Branch('norm1', 'drop_path'), Branch('norm2', 'drop_path')),
    ),
    'timm-xcit': (
        xcit.ClassAttentionBlock,
        (Branch('norm1', 'drop_path1'), Branch(None, 'drop_path2')),
    ),
    'mm-xcit': (
        mm_xcit.ClassAttentionBlock,
        (Branch('norm1', 'drop_path'), Branch(None, 'drop_path')),
    ),
}


@pytest.fixture
def registered(monkeypatch):
    for name in [name for name in BLOCKS if 'ClassA' in name or 'ClassAttn' in name]:
        monkeypatch.setitem(BLOCKS, name, BLOCKS[name])  # what a test puts there goes again


@pytest.mark.parametrize('name', CLASS_ATTENTION)
def test_a_registration_asks_otherwise_and_subset_is_mask(name, registered):
    cls, branches = OTHERWISE[name]
    register_block(cls, *branches)
    model, shape = models.build(name)
    x = torch.randn(6, *shape, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        report = apply_stochastic_depth(model, 0.4, implementation=implementation)
        assert {b.rate for b in report.blocks} == {0.4} and len(report.blocks) >= 8
        models.only_branches_train(model)
        results.append(models.forward_backward(model, x))
    scale = max(float(r.abs().max()) for r in results[0][1:])
    for mask, subset in zip(*results, strict=True):
        atol = 1e-11 * max(scale, float(mask.abs().max()))
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=atol)


def test_branches_with_one_end_have_one_answer(registered):
    class Block(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(ValueError, match='share an end have one rate'):
        register_block(Block, Branch('a', 'drop', undropped='never'), Branch('b', 'drop'))


TOKENS = dict(img_size=64, embed_dim=32, num_heads=2, depth=3)
FOUR = dict(depths=(1, 1, 2, 1))
AUTHORS = {
    'deit3_small_patch16_224': (TOKENS, 6),
    'pit_s_224': (dict(img_size=64, depth=(1, 2, 1)), 8),
    'cait_m36_384': (TOKENS, 6),
    'xcit_small_12_p16_224': (dict(TOKENS, img_size=224), 9),
    'swin_tiny_patch4_window7_224': (dict(FOUR, img_size=64, embed_dim=24, window_size=2), 10),
    'convnext_small': (dict(FOUR, dims=(8,) * 4), 5),
    'resnet50': (dict(layers=(1, 1, 2, 1), channels=(8,) * 4), 5),
    'regnety_002': ({}, 13),
    'volo': (
        dict(
            layers=(1, 1, 1, 1),
            img_size=64,
            embed_dims=(24,) * 4,
            num_heads=(2,) * 4,
            use_mix_token=False,
            use_aux_head=False,
        ),
        8,
    ),
}


@pytest.mark.parametrize('name', AUTHORS)
def test_as_many_random_branches_as_in_the_model_of_the_authors(name):
    """Counted in the library's own model: DropPath calls, and those that a ramp built with 0."""
    options, branches = AUTHORS[name]
    make = VOLO if name == 'volo' else partial(timm.create_model, name)
    own = make(drop_path_rate=0.3, **options)
    calls = []
    for module in own.modules():
        if isinstance(module, DropPath):
            module.register_forward_hook(lambda m, args, out: calls.append(m.drop_prob))
    x = torch.randn(4, 3, 64, 64)
    own.train()(x)
    called = sum(rate > 0 for rate in calls)
    ours = apply_stochastic_depth(own, example_input=x).blocks
    assert sum(b.rate > 0 for b in ours) == called
    reached = apply_stochastic_depth(own, 0.3, example_input=x).blocks
    assert sum(b.rate > 0 for b in reached) == branches
    assert len(reached) == branches + len(cls_attention(describe(own)))


def test_copies_begin_before_class_attention():
    model, shape = models.build('timm-cait')
    apply_stochastic_depth(model, 0.4)
    models.only_branches_train(model)
    x = torch.randn(3, *shape, dtype=torch.float64)
    with copy_batch_late(model, x, 2) as batch:
        assert batch.late and len(models.outputs(model, batch.inputs)) == 6
