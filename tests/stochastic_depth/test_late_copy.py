"""Copying the batch at the first random branch gives what copying the input gives."""

import copy

import pytest
import timm
import torch
from torch import nn

from cosub_mm.models.backbones.timm_backbone import CosubTIMMBackbone
from cosub_mm.stochastic_depth import (
    apply_stochastic_depth,
    copy_batch_late,
    describe,
    remove_stochastic_depth,
)
from tests.stochastic_depth import models
from tests.stochastic_depth.oldest import OLD_TIMM

# These read their batch size before the blocks: what is copied is the output of their stem.
STEM = ('timm-pit', 'mm-xcit', *(('timm-xcit',) if OLD_TIMM else ()))


def run(model, x, copies, late):
    x = x.clone().requires_grad_()
    torch.manual_seed(5)
    if late:
        with copy_batch_late(model, x, copies) as batch:
            assert (batch.late, batch.reason) == (True, '')
            assert batch.inputs is x or len(batch.inputs) == copies * len(x)
            torch.manual_seed(5)
            out = models.outputs(model, batch.inputs)
    else:
        out = models.outputs(model, torch.cat([x] * copies))
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7), dtype=out.dtype)
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad((out * weights).sum(), [x, *parameters], allow_unused=True)
    return [out.detach(), *(g for g in grads if g is not None)]


@pytest.mark.parametrize('implementation', ['mask', 'subset'])
@pytest.mark.parametrize('name', models.MODELS)
def test_late_equals_early(name, implementation):
    model, shape = models.build(name)
    apply_stochastic_depth(model, 0.4, implementation=implementation)
    models.only_branches_train(model)
    x = torch.randn(3, *shape, dtype=torch.float64)
    early, late = run(model, x, 3, False), run(model, x, 3, True)
    with copy_batch_late(model, x, 3) as batch:
        assert len(batch.inputs) == (9 if name in STEM else 3)
    assert len(early[0]) == 9
    torch.testing.assert_close(late[0], early[0], rtol=1e-12, atol=0)
    for a, b in zip(early, late, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-8, atol=1e-10 * float(early[1].abs().max()))
    assert len(models.outputs(model, x)) == 3  # nothing is copied outside


@pytest.mark.parametrize('name', ['timm-vit', *STEM])
def test_the_stem_sees_each_sample_once(name):
    model, shape = models.build(name)
    apply_stochastic_depth(model, 0.4)
    models.only_branches_train(model)
    rows = []
    model.patch_embed.register_forward_hook(lambda m, args, out: rows.append(len(args[0])))
    x = torch.randn(3, *shape, dtype=torch.float64)
    for _ in range(2):
        with copy_batch_late(model, x, 2) as batch:
            rows.clear()
            model(batch.inputs)
        assert rows == [3]
    rows.clear()
    model(x)
    assert rows == [3]


def test_a_copy_of_a_model_folds_its_stem_once():
    model, x = _pit(), torch.randn(3, 3, 32, 32)
    with copy_batch_late(model, x, 2) as batch:
        assert batch.late
    twin = copy.deepcopy(model)
    expected = run(twin, x, 2, False)
    with copy_batch_late(twin, x, 2) as batch:
        assert batch.late
    for a, b in zip(run(twin, x, 2, True), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    remove_stochastic_depth(twin)
    assert not twin.patch_embed._forward_pre_hooks and not twin.patch_embed._forward_hooks


def vit(rate=0.5, **kwargs):
    model = timm.create_model(
        'vit_tiny_patch16_224', depth=2, embed_dim=24, img_size=32, num_classes=5, **kwargs
    )
    apply_stochastic_depth(model, rate)
    return model.train()


def test_outputs_are_bit_identical_in_float32():
    model, x = vit(), torch.randn(4, 3, 32, 32)
    assert torch.equal(run(model, x, 2, True)[0], run(model, x, 2, False)[0])


class ReadsBatchSizeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.vit = vit()

    def forward(self, x):
        rows = len(x)
        return self.vit(x).view(rows, 5)


class SixRowsOnly(ReadsBatchSizeFirst):
    def forward(self, x):
        return self.vit(x).view(6, 5)


class NoisyFirst(ReadsBatchSizeFirst):
    def forward(self, x):
        return self.vit(x + torch.rand(len(x), 1, 1, 1))


class CollectsStem(ReadsBatchSizeFirst):
    def forward(self, x):
        return self.vit.patch_embed(x), self.vit(x)


def _pit():
    model = timm.create_model('pit_ti_224', img_size=32, depth=(1, 1, 1))
    apply_stochastic_depth(model, 0.5)
    return model.train()


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (lambda: vit(pos_drop_rate=0.1), 'dropout before the first random branch'),
        (SixRowsOnly, 'the trial failed with RuntimeError'),
        (NoisyFirst, 'other values'),
        (lambda: vit(0.0), 'no branch is random now'),
        (lambda: vit().eval(), 'no branch is random now'),
        (lambda: remove_stochastic_depth(m := vit()) or m, 'no branch is random now'),
    ],
)
def test_a_model_that_does_not_allow_it_says_so_and_gets_the_copies(make, reason):
    model, x = make(), torch.randn(3, 3, 32, 32)
    modes = [m.training for m in model.modules()]
    with copy_batch_late(model, x, 2) as batch:
        assert not batch.late and reason in batch.reason
        assert torch.equal(batch.inputs, torch.cat([x, x]))
        model(batch.inputs)
    assert [m.training for m in model.modules()] == modes


def test_checkpointed_blocks_copy_behind_the_stem():
    model, x = vit(), torch.randn(3, 3, 32, 32)
    with copy_batch_late(model, x, 2) as batch:
        assert batch.late and batch.inputs is x
    expected = run(model, x, 2, False)
    model.set_grad_checkpointing()
    with copy_batch_late(model, x, 2) as batch:
        assert batch.late and len(batch.inputs) == 6
    torch.manual_seed(5)
    with copy_batch_late(model, x, 2) as batch:
        out = model(batch.inputs)
    assert torch.equal(out, expected[0])


def test_linear_schedule_copies_at_the_first_block_with_a_rate():
    model = timm.create_model('vit_tiny_patch16_224', depth=3, embed_dim=24, img_size=32).train()
    apply_stochastic_depth(model, 0.5, schedule='linear')
    rows = []
    for block in model.blocks:
        block.norm2.register_forward_pre_hook(lambda m, a: rows.append(len(a[0])))
        block.register_forward_hook(lambda m, a, out: rows.append(len(out)))
    with copy_batch_late(model, torch.randn(4, 3, 32, 32), 2) as batch:
        rows.clear()
        model(batch.inputs)
    assert rows[1] == 4 and rows[3] == rows[5] == 8


def test_the_trial_leaves_no_trace():
    model = models.build('timm-resnet18')[0].float().train()
    apply_stochastic_depth(model, 0.5)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with copy_batch_late(model, torch.randn(4, 3, 64, 64), 2) as batch:
        assert batch.late
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_bad_number_of_copies():
    with pytest.raises(ValueError, match='num_copies=0'), copy_batch_late(vit(), torch.ones(1), 0):
        pass


def test_one_copy_is_the_batch():
    x = torch.randn(2, 3, 32, 32)
    with copy_batch_late(vit(), x, 1) as batch:
        assert torch.equal(batch.inputs, x) and not batch.late


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_precision_and_weights_do_not_decide(dtype):
    verdicts = []
    for _ in range(2):
        model = vit()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=3.0)
        x = torch.randn(3, 3, 32, 32)
        autocast = torch.autocast('cpu', dtype, enabled=dtype != torch.float32)
        with autocast, copy_batch_late(model, x, 2) as batch:
            assert batch.late and len(model(batch.inputs)) == 6
        verdicts.append(describe(model).late_copy)
    assert verdicts == ['at blocks.0'] * 2 and 'made at blocks.0' in str(describe(model))


def test_pit_in_a_backbone_copies_behind_its_stem():
    model = CosubTIMMBackbone('pit_ti_224', img_size=32, depth=(1, 1, 1), drop_path_rate=0.4)
    model.train()
    x = torch.randn(3, 3, 32, 32)
    rows = []
    model.timm_model.patch_embed.register_forward_hook(lambda m, a, out: rows.append(len(a[0])))
    with copy_batch_late(model, x, 2) as batch:
        assert batch.late
        rows.clear()
        assert len(model(batch.inputs)[0]) == 6 and rows == [3]
    assert describe(model).late_copy == 'behind timm_model.patch_embed'


@pytest.mark.parametrize('make', [ReadsBatchSizeFirst, CollectsStem])
def test_a_model_around_a_model_copies_behind_the_stem_inside(make):
    model, x = make().double(), torch.randn(3, 3, 32, 32, dtype=torch.float64)
    for a, b in zip(run(model, x, 2, False), run(model, x, 2, True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert describe(model).late_copy == 'behind vit.patch_embed'


def test_the_trial_is_made_once():
    model, x = vit(), torch.randn(3, 3, 32, 32)
    rows = []
    model.patch_embed.register_forward_hook(lambda m, args, out: rows.append(len(args[0])))
    for _ in range(3):
        with copy_batch_late(model, x, 2) as batch:
            model(batch.inputs)
    tried = len(rows) - 3
    for _ in range(5):
        with copy_batch_late(model, x, 2) as batch:
            model(batch.inputs)
    assert len(rows) == tried + 8
