"""A residual that waits for its sum: the same values and gradients, and never in the way."""

import pytest
import torch
from mmpretrain.models import VisionTransformer
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    StochasticDepth,
    apply_stochastic_depth,
    register_block,
)
from cosub_mm.stochastic_depth.places.table import BLOCKS, class_name
from cosub_mm.stochastic_depth.savings import pending
from cosub_mm.stochastic_depth.savings.pending import PendingResidual
from tests.stochastic_depth import models


def in_place(x, y):
    y += x
    return y


def method_in_place(x, y):
    z = y
    z.add_(x)
    return y


def changed_stream(x, y):
    x *= 2
    return x + y


SUMS = {
    'stream first': (lambda x, y: x + y, True),
    'residual first': (lambda x, y: y + x, True),
    'torch.add': (torch.add, True),
    'method': (lambda x, y: x.add(y), True),
    'in place': (in_place, True),
    'method in place': (method_in_place, True),
    'another stream': (lambda x, y: x * 2 + y, True),
    'changed stream': (changed_stream, True),
    'twice': (lambda x, y: (x + y) * (2 * x + y), True),
    'into the stream': (lambda x, y: x.clone().add_(y), False),
    'alpha': (lambda x, y: torch.add(x, y, alpha=2), False),
    'scaled first': (lambda x, y: x + 3 * y, False),
    'broadcast': (lambda x, y: x[:1] + y, False),
    'number': (lambda x, y: (y + 1) + x, False),
    'itself': (lambda x, y: x + (y + y), False),
    'indexed': (lambda x, y: x + y[:, :4].repeat(1, 2), False),
    'stacked': (lambda x, y: torch.stack((x, y)).sum(0), False),
    'asked': (lambda x, y: x + y if y.requires_grad and len(y) else x, False),
}


class Shift(nn.Linear):
    """Keeps nothing for backward, so that the stream may be changed."""

    def forward(self, x):
        return x + self.bias


class Block(nn.Module):
    def __init__(self, join):
        super().__init__()
        self.join = join
        self.shift = Shift(8, 8)
        self.mix = nn.Linear(8, 8)
        self.drop_path = nn.Identity()

    def forward(self, x):
        return self.join(x, self.drop_path(self.mix(self.shift(x)).relu()))


@pytest.fixture(autouse=True)
def registered():
    register_block(Block, Branch('shift', 'drop_path'))
    yield
    BLOCKS.pop(class_name(Block))


@pytest.fixture
def fused(monkeypatch):
    """How often kept rows alone were added."""
    calls = []
    plain = pending.add_rows
    monkeypatch.setattr(pending, 'add_rows', lambda *a: calls.append(1) or plain(*a))
    return calls


@pytest.mark.parametrize('name', SUMS)
def test_every_use_gives_the_values_and_gradients_of_mask(name, fused):
    join, is_fused = SUMS[name]
    model = nn.Sequential(nn.Linear(8, 8), Block(join)).double()
    x = torch.randn(6, 8, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.4, implementation=implementation)
        results.append(models.forward_backward(model.train(), x))
    for mask, subset in zip(*results, strict=True):
        assert type(subset) is torch.Tensor
        torch.testing.assert_close(subset, mask, rtol=1e-12, atol=1e-12)
    assert bool(fused) == is_fused


def test_the_blocks_of_a_vit_add_kept_rows_alone(fused):
    model, shape = models.build('mm-vit')
    apply_stochastic_depth(model, 0.5, implementation='subset')
    model.train()
    models.forward_backward(model, torch.randn(4, *shape, dtype=torch.float64))
    assert len(fused) == 4


def note(seen):
    return lambda module, args, output: seen.append(output)


def small_vit():
    model = VisionTransformer(models.VIT, img_size=64).double()
    apply_stochastic_depth(model, 0.5, implementation='subset')
    model.train()  # on its own: of mmpretrain's backbones it returns None
    return model, torch.randn(4, 3, 64, 64, dtype=torch.float64)


@pytest.mark.parametrize('watched', ['layers.0.attn', 'layers.0.attn.out_drop', 'layers.0.ffn'])
def test_hooks_see_plain_tensors(watched):
    model, x = small_vit()
    expected = models.forward_backward(model, x)
    seen, gradients = [], []
    model.get_submodule(watched).register_forward_hook(note(seen))
    model.get_submodule(watched).register_full_backward_hook(
        lambda module, inward, outward: gradients.append(outward[0])
    )
    for a, b in zip(models.forward_backward(model, x), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert type(seen[0]) is torch.Tensor and len(seen[0]) == len(gradients[0]) == 4


def test_global_hooks_see_plain_tensors():
    model, x = small_vit()
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(note(seen))
    try:
        model(x)
    finally:
        handle.remove()
    assert PendingResidual not in set(map(type, seen))


def test_without_gradients_nothing_waits():
    model, _ = small_vit()
    y = torch.randn(4, 17, 32, dtype=torch.float64)
    with torch.no_grad():
        assert type(model.layers[0].attn(model.layers[0].ln1(y))) is torch.Tensor
    assert type(model.layers[0].attn(model.layers[0].ln1(y))) is PendingResidual


class Alias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


def test_what_would_lose_the_gradient_is_an_error():
    model = Block(lambda x, y: x + Alias.apply(y)).train()
    apply_stochastic_depth(model, 0.5, implementation='subset')
    with pytest.raises(RuntimeError, match=r"gradient would be lost.*implementation='mask'"):
        model(torch.randn(4, 8)).sum().backward()


def test_a_look_at_it_does_not_detach_the_branch():
    looks = []

    def join(x, y):
        with torch.no_grad():
            looks.append(float(y.norm()))
        return x + y

    model, x = Block(join).double().train(), torch.randn(4, 8, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.5, implementation=implementation)
        results.append(models.forward_backward(model, x))
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-12, atol=1e-12)
    assert looks[0] == pytest.approx(looks[1])


def test_no_branch_holds_its_stream_after_a_step():
    model, x = small_vit()
    model(x)[0].sum().backward()
    ends = [m for m in model.modules() if isinstance(m, StochasticDepth)]
    assert all(end._stream is None and end._rows is None for end in ends)


@pytest.mark.parametrize('part', ['attn', 'ln1'])
def test_a_branch_that_begins_or_ends_in_a_compiled_part(part):
    """Compiled attention holds its DropPath, a compiled norm the start of the branch."""
    model, x = small_vit()
    results = []
    for implementation in ('mask', 'subset'):
        torch._dynamo.reset()
        apply_stochastic_depth(model, 0.45, implementation=implementation)
        model.train()
        for layer in model.layers:
            layer.get_submodule(part).compile(backend='aot_eager')
        results.append(models.forward_backward(model, x))
        for layer in model.layers:
            layer.get_submodule(part)._compiled_call_impl = None
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-10, atol=1e-10)
