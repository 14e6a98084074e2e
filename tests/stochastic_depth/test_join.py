"""However a block joins a residual to its stream: the values and gradients of masking."""

import gc
import weakref

import pytest
import torch
from mmpretrain.models import VisionTransformer
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    apply_stochastic_depth,
    register_block,
)
from cosub_mm.stochastic_depth.places.table import BLOCKS, class_name
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
    'stream first': lambda x, y: x + y,
    'residual first': lambda x, y: y + x,
    'torch.add': torch.add,
    'method': lambda x, y: x.add(y),
    'in place': in_place,
    'method in place': method_in_place,
    'another stream': lambda x, y: x * 2 + y,
    'changed stream': changed_stream,
    'twice': lambda x, y: (x + y) * (2 * x + y),
    'into the stream': lambda x, y: x.clone().add_(y),
    'alpha': lambda x, y: torch.add(x, y, alpha=2),
    'scaled first': lambda x, y: x + 3 * y,
    'broadcast': lambda x, y: x[:1] + y,
    'number': lambda x, y: (y + 1) + x,
    'itself': lambda x, y: x + (y + y),
    'indexed': lambda x, y: x + y[:, :4].repeat(1, 2),
    'stacked': lambda x, y: torch.stack((x, y)).sum(0),
    'asked': lambda x, y: x + y if y.requires_grad and len(y) else x,
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


@pytest.mark.parametrize('name', SUMS)
def test_every_use_gives_the_values_and_gradients_of_mask(name):
    model = nn.Sequential(nn.Linear(8, 8), Block(SUMS[name])).double()
    x = torch.randn(6, 8, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.4, implementation=implementation)
        results.append(models.forward_backward(model.train(), x))
    for mask, subset in zip(*results, strict=True):
        assert type(subset) is torch.Tensor
        torch.testing.assert_close(subset, mask, rtol=1e-12, atol=1e-12)


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
    assert set(map(type, seen)) <= {torch.Tensor, tuple}


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
    assert looks[0] == pytest.approx(looks[-1])


def test_no_branch_holds_its_stream_after_a_step():
    model, x = small_vit()
    streams = []
    model.layers[0].register_forward_hook(lambda m, args, out: streams.append(weakref.ref(out)))
    model(x)[0].sum().backward()
    gc.collect()
    assert streams and all(stream() is None for stream in streams)


@pytest.mark.parametrize('part', ['attn', 'ln1'])
def test_a_branch_that_begins_or_ends_in_a_compiled_part(part):
    """Compiled attention holds its DropPath, a compiled norm the start of the branch."""
    block = small_vit()[0].layers[0]
    x = torch.randn(6, 17, 32, dtype=torch.float64, requires_grad=True)
    weights = torch.randn_like(x)
    block.ffn.dropout_layer.drop_prob = 0.0
    block.eval()
    residual = block.attn(block.ln1(x))
    torch._dynamo.reset()
    block.train().get_submodule(part).compile(backend='aot_eager')
    y = block(x)

    def after(z):
        return block.ffn(block.ln2(z), identity=z)

    kept = (y - after(x)).flatten(1).abs().amax(1) > 1e-9
    assert int(kept.sum()) == 3  # a rate of .5
    expected = after(x + residual * (2.0 * kept)[:, None, None])
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    grads = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (y, expected)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)
