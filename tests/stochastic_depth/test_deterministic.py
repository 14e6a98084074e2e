"""Under ``torch.use_deterministic_algorithms`` nothing is written by index, and runs are equal."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cosub_mm.stochastic_depth import apply_stochastic_depth
from cosub_mm.stochastic_depth.rows.draw import Rows
from cosub_mm.stochastic_depth.rows.functional import put_rows
from tests.stochastic_depth import models

# On CUDA each of these sorts its indices where torch is to be deterministic.
SORTING = ('index_put', 'index_add', 'index_copy', 'scatter')


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))

    @property
    def sorting(self) -> list[str]:
        return [name for name in self.names if any(part in name for part in SORTING)]


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def step(model, x):
    with Operators() as operators:
        values = models.forward_backward(model, x)
    return values, operators


# As many rows are computed as are kept, or one more, which is thrown away.
@pytest.mark.parametrize(
    ('name', 'rows'), [('timm-vit', 5), ('timm-vit', 64), ('timm-resnet26', 5)]
)
def test_two_steps_are_equal_and_nothing_is_written_by_index(name, rows, request):
    model, shape = models.build(name)
    apply_stochastic_depth(model, 0.3, implementation='subset')
    models.only_branches_train(model)
    x = torch.randn(rows, *shape, dtype=torch.float64)
    plain, operators = step(model, x)
    assert operators.sorting  # what is looked for is found where it is
    request.getfixturevalue('deterministic')
    first, operators = step(model, x)
    assert operators.names and not operators.sorting
    second, _ = step(model, x)
    for a, b, c in zip(first, second, plain, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-12 * float(c.abs().max()))


def test_channels_last_is_kept(deterministic):
    model, shape = models.build('timm-resnet26')
    apply_stochastic_depth(model, 0.4, implementation='subset')
    models.only_branches_train(model)
    formats = []
    for block in model.layer2:
        block.register_forward_hook(lambda m, a, out: formats.append(out))
        block.conv2.register_forward_pre_hook(lambda m, a: formats.append(a[0]))
    model.to(memory_format=torch.channels_last)
    x = torch.randn(5, *shape, dtype=torch.float64).to(memory_format=torch.channels_last)
    models.forward_backward(model, x)
    assert len(formats) == 4
    assert all(f.is_contiguous(memory_format=torch.channels_last) for f in formats)


def test_a_branch_that_keeps_no_row_adds_nothing(deterministic):
    """Its one row is computed and thrown away, also where it is no number."""
    residual = torch.full((1, 3), torch.nan, requires_grad=True)
    put = put_rows(residual, Rows(torch.tensor([2]), 0, None, 2.0, 4))
    assert torch.equal(put, torch.zeros(4, 3))
    residual = torch.tensor([[torch.inf, 1.0], [2.0, 3.0]])
    put = put_rows(residual, Rows(torch.tensor([2, 0]), 2, None, 2.0, 3))
    assert torch.equal(put, torch.tensor([[4.0, 6.0], [0.0, 0.0], [torch.inf, 2.0]]))
