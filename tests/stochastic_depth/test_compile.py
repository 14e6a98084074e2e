"""Under torch.compile: one graph, the gradients of mask, and counts without recompilation."""

import shutil

import pytest
import timm
import torch

from cosub_mm.stochastic_depth import (
    apply_stochastic_depth,
    copy_batch_late,
    describe,
    realised_drop_rate,
    remove_stochastic_depth,
)
from tests.stochastic_depth import models
from tests.stochastic_depth.oldest import not_in_old_torch

CHECKPOINT_OPTION = 'skip_fwd_side_effects_in_bwd_under_checkpoint'


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def vit(rate=0.45, implementation='subset', depth=3):
    model = timm.create_model(
        'vit_tiny_patch16_224', depth=depth, embed_dim=24, img_size=32, num_classes=5
    )
    apply_stochastic_depth(model, rate, implementation=implementation)
    return model.train()


def counting(graphs):
    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    return backend


@pytest.mark.parametrize('rate', [0.5, 0.45])
def test_one_graph_without_recompilation(rate):
    graphs = []
    compiled = torch.compile(vit(rate), backend=counting(graphs), fullgraph=True)
    for _ in range(5):
        compiled(torch.randn(6, 3, 32, 32)).sum().backward()
    assert len(graphs) == 1


@not_in_old_torch('compiles anew for each number of rows')
def test_batches_of_any_size_share_one_more_graph():
    graphs = []
    compiled = torch.compile(vit(), backend=counting(graphs), fullgraph=True)
    for rows in (8, 6, 7, 5, 9, 10):
        assert compiled(torch.randn(rows, 3, 32, 32)).shape == (rows, 5)
    assert len(graphs) == 2  # one for the first size, one for all others


def compare_with_mask(model, x, compile_it):
    """Outputs and gradients of the compiled implementations, and the scale of the gradients."""
    results = []
    for implementation in ('mask', 'subset'):
        torch._dynamo.reset()
        remove_stochastic_depth(model)
        apply_stochastic_depth(model, 0.45, implementation=implementation)
        models.only_branches_train(model)
        results.append(models.forward_backward(compile_it(model), x))
    return results


MMENGINE = not_in_old_torch("cannot compile mmengine's decorators")


@pytest.mark.parametrize(
    'name',
    [
        'timm-xcit',
        'timm-resnet26',
        *(pytest.param(name, marks=MMENGINE) for name in ('mm-vit', 'mm-swin')),
    ],
)
def test_compiled_subset_equals_compiled_mask(name):
    model, shape = models.build(name)
    x = torch.randn(5, *shape, dtype=torch.float64)
    results = compare_with_mask(
        model, x, lambda m: torch.compile(m, backend='aot_eager', fullgraph=True)
    )
    scale = max(float(r.abs().max()) for r in results[0][1:])
    for mask, subset in zip(*results, strict=True):
        tolerance = 1e-11 * max(scale, float(mask.abs().max()))
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=tolerance)


def test_compiled_under_autocast_equals_mask():
    """bfloat16, the usual setting, up to its rounding."""
    x = torch.randn(6, 3, 32, 32)

    class InBfloat16(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = torch.compile(model, backend='aot_eager', fullgraph=True)

        def forward(self, inputs):
            with torch.autocast('cpu', torch.bfloat16):
                return self.model(inputs).float()

    for mask, subset in zip(*compare_with_mask(vit(depth=2), x, InBfloat16), strict=True):
        torch.testing.assert_close(subset, mask, rtol=0.05, atol=0.05 * float(mask.abs().max()))


@pytest.mark.skipif(not shutil.which('g++'), reason='inductor needs a C++ compiler on the CPU')
def test_inductor_keeps_the_rows_of_mask():
    """It may run random operations in another order: with two a branch the rows differed."""
    x = torch.randn(5, 3, 32, 32)
    for mask, subset in zip(*compare_with_mask(vit(depth=1), x, torch.compile), strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-4, atol=1e-4 * float(mask.abs().max()))


def test_compiled_code_counts_its_rows():
    graphs = []
    model = vit()
    assert realised_drop_rate(model, reset=True) == 0.45  # nothing counted yet: what is asked
    compiled = torch.compile(model, backend=counting(graphs), fullgraph=True)
    steps, branches, rows = 50, 6, 4
    with torch.no_grad():
        for _ in range(steps):
            compiled(torch.randn(rows, 3, 32, 32))
    rate = realised_drop_rate(model, reset=True)
    # 2.2 of 4 rows: a multiple of the smallest step, and near to it
    kept = (1 - rate) * steps * branches * rows
    assert kept == pytest.approx(round(kept), abs=1e-6)
    assert rate == pytest.approx(0.45, abs=5 * 0.4 / rows / (steps * branches) ** 0.5)
    assert rate != 0.45 and len(graphs) == 1
    assert realised_drop_rate(model) == 0.45


def test_counts_begin_anew_when_the_model_moves():
    model = vit()
    model(torch.randn(5, 3, 32, 32))
    torch.compile(model, backend=counting([]))(torch.randn(5, 3, 32, 32))
    assert realised_drop_rate(model) != 0.45
    model.to('meta')
    assert describe(model).blocks[0].rate == 0.45


def pit():
    model = timm.create_model('pit_ti_224', img_size=32, depth=(1, 1, 1))
    apply_stochastic_depth(model, 0.25)
    return model.train()


@pytest.mark.parametrize('make', [vit, pit])  # at the first block, behind the stem
def test_module_compile_copies_the_batch_late(make):
    graphs = []
    model, x = make(), torch.randn(4, 3, 32, 32)
    model.compile(backend=counting(graphs), fullgraph=True)
    for _ in range(3):
        with copy_batch_late(model, x, 2) as batch:
            assert batch.late and len(model(batch.inputs)) == 8
    assert len(graphs) == 1


@pytest.mark.skipif(
    not hasattr(torch._dynamo.config, CHECKPOINT_OPTION),
    reason='this torch cannot compile checkpointed side effects',
)
def test_activation_checkpointing_in_a_compiled_model(monkeypatch):
    """One graph with torch's switch for it; the gradients are those without checkpointing."""
    monkeypatch.setattr(torch._dynamo.config, CHECKPOINT_OPTION, True)
    model, x = vit().double(), torch.randn(5, 3, 32, 32, dtype=torch.float64)
    results = []
    for checkpointing in (False, True):
        torch._dynamo.reset()
        model.set_grad_checkpointing(checkpointing)
        compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
        results.append(models.forward_backward(compiled, x))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
