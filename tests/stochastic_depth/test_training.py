"""What a training does around a model: autocast, checkpointing, copies, collectors."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cosub_mm.stochastic_depth import (
    Branch,
    StochasticDepth,
    apply_stochastic_depth,
    describe,
    realised_drop_rate,
    register_block,
    remove_stochastic_depth,
)
from cosub_mm.stochastic_depth.places.table import BLOCKS
from tests.stochastic_depth import models


def vit(rate=0.5, implementation='subset', **kwargs):
    model = timm.create_model(
        'vit_tiny_patch16_224', depth=3, embed_dim=24, img_size=32, num_classes=5, **kwargs
    )
    apply_stochastic_depth(model, rate, implementation=implementation)
    return model.train()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_gives_the_values_of_mask(dtype):
    model, x = vit(), torch.randn(6, 3, 32, 32)
    results = []
    for implementation in ('mask', 'subset'):
        remove_stochastic_depth(model)
        apply_stochastic_depth(model, 0.5, implementation=implementation)
        with torch.autocast('cpu', dtype):
            results.append(models.forward_backward(model, x))
    for mask, subset in zip(*results):
        assert mask.dtype == subset.dtype
        torch.testing.assert_close(subset, mask, rtol=0.1, atol=0.02 * float(mask.abs().max()))


@pytest.mark.parametrize('reentrant', [False, True])
@pytest.mark.parametrize('implementation', ['mask', 'subset'])
def test_activation_checkpointing_gives_the_same_gradients(implementation, reentrant):
    model = vit(implementation=implementation).double()
    x = torch.randn(5, 3, 32, 32, dtype=torch.float64)

    def run(block):
        torch.manual_seed(2)
        model.zero_grad()
        y = model.patch_embed(x)
        for layer in model.blocks:
            y = block(layer, y)
        y.square().sum().backward()
        return [y.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    plain = run(lambda layer, y: layer(y))
    again = run(
        lambda layer, y: torch.utils.checkpoint.checkpoint(layer, y, use_reentrant=reentrant)
    )
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_timm_checkpointing_switch_gives_the_same_gradients():
    model, x = vit().double(), torch.randn(5, 3, 32, 32, dtype=torch.float64)
    plain = models.forward_backward(model, x)
    model.set_grad_checkpointing()
    for a, b in zip(plain, models.forward_backward(model, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_models_of_their_own(clone):
    model = vit()
    twin = clone(model)
    x = torch.randn(6, 3, 32, 32)
    for a, b in zip(models.forward_backward(model, x), models.forward_backward(twin, x)):
        assert torch.equal(a, b)
    apply_stochastic_depth(model, 0.1)
    assert {b.rate for b in describe(twin).blocks} == {0.5}
    torch.manual_seed(0)
    model(x)
    counted = realised_drop_rate(model, reset=True)
    assert realised_drop_rate(twin, reset=True) == pytest.approx(0.5)  # of its own steps
    assert counted == pytest.approx(0.1, abs=0.1)
    remove_stochastic_depth(twin)
    assert isinstance(twin.blocks[0].drop_path1, nn.Identity)


def test_a_copy_with_a_branch_that_starts_at_a_method():
    model = timm.create_model(
        'swinv2_tiny_window8_256', img_size=64, depths=(1, 1), embed_dim=12, num_heads=(1, 1)
    )
    apply_stochastic_depth(model, 0.5, implementation='subset')
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model))).train()
    block = twin.layers[0].blocks[0]
    x = torch.randn(4, 3, 64, 64)
    for a, b in zip(models.forward_backward(model.train(), x), models.forward_backward(twin, x)):
        assert torch.equal(a, b)
    remove_stochastic_depth(twin)
    assert '_attn' not in vars(block)


def test_ema_copy_averages_and_evaluates():
    model = vit()
    ema = AveragedModel(model)
    ema.update_parameters(model)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ema.eval()(x), model.eval()(x))


def test_collected_features_are_not_changed_later():
    model, x = vit().double(), torch.randn(6, 3, 32, 32, dtype=torch.float64)
    stream, then = [], []

    def collect(module, args, output):
        stream.append(output)
        then.append(output.detach().clone())

    for block in model.blocks:
        block.register_forward_hook(collect)
    model(x).sum().backward()
    assert all(map(torch.equal, stream, then))
    remove_stochastic_depth(model)
    collected = timm.create_model('resnet18', features_only=True, channels=(8, 8, 8, 8)).train()
    apply_stochastic_depth(collected, 0.5, implementation='subset')
    assert [len(f) for f in collected(torch.randn(4, 3, 32, 32))] == [4] * 5


def test_channels_last_is_kept_and_equals_the_default_format():
    model, shape = models.build('timm-resnet26')
    apply_stochastic_depth(model, 0.4, implementation='subset')
    models.only_branches_train(model)
    x = torch.randn(5, *shape, dtype=torch.float64)
    plain = models.forward_backward(model, x)
    formats = []
    for block in model.layer2:
        block.register_forward_hook(lambda m, a, out: formats.append(out))
        block.conv2.register_forward_pre_hook(lambda m, a: formats.append(a[0]))
    model.to(memory_format=torch.channels_last)
    last = models.forward_backward(model, x.to(memory_format=torch.channels_last))
    assert len(formats) == 4
    assert all(f.is_contiguous(memory_format=torch.channels_last) for f in formats)
    for a, b in zip(plain, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))


class NormBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, momentum=None)  # cumulative mean
        self.drop_path = nn.Identity()

    def forward(self, x):
        return x + self.drop_path(self.norm(x))


def test_batch_norm_statistics_of_kept_rows_are_unbiased():
    """They are noisier than those of all rows, and right in the mean."""
    register_block(NormBlock, Branch('norm', 'drop_path'))
    try:
        x = torch.randn(12, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0]) + 5
        norms = {}
        for implementation in ('mask', 'subset'):
            block = NormBlock().train()
            apply_stochastic_depth(block, 0.5, implementation=implementation)
            for _ in range(1500):
                block(x)
            norms[implementation] = block.norm
    finally:
        BLOCKS.pop(f'{NormBlock.__module__}.{NormBlock.__qualname__}')
    torch.testing.assert_close(norms['mask'].running_mean, x.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norms['subset'].running_mean, x.mean(0), rtol=0.02, atol=0.02)
    # the unbiased variance of a random subset has the unbiased variance of the set as its mean
    torch.testing.assert_close(norms['subset'].running_var, x.var(0), rtol=0.04, atol=0)


def test_double_backward():
    model = vit().double()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    penalties = []
    for implementation in ('mask', 'subset'):
        remove_stochastic_depth(model)
        apply_stochastic_depth(model, 0.5, implementation=implementation)
        torch.manual_seed(0)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            (grad,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
            penalties.append(
                torch.autograd.grad(grad.square().sum(), model.blocks[0].mlp.fc1.weight)
            )
    torch.testing.assert_close(*penalties, rtol=1e-9, atol=1e-9)


def test_ends_hold_no_parameters_and_no_buffers():
    end = next(m for m in vit().modules() if isinstance(m, StochasticDepth))
    assert not end.state_dict() and not list(end.parameters()) and not list(end.children())
