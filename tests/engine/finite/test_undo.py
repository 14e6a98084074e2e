"""What a step has written comes back bit by bit, or stays, as a flag on the device says."""

import pytest
import torch

from cosub_mm.engine.finite.undo import Copies


def _tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        'plain': torch.randn(3, 4),
        'a number': torch.randn(()),
        'empty': torch.randn(0, 3),
        'bfloat16': torch.randn(7).bfloat16(),
        'double': torch.randn(5, 2, dtype=torch.double),
        'count': torch.tensor([3, 4]),
        'channels last': torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        'transposed': torch.randn(4, 6).t(),
        'every other': torch.randn(9)[::2],
        'part of rows': torch.randn(4, 6)[:, 1:4],
        'no numbers': torch.tensor([float('nan'), float('inf'), -0.0]),
        'parameter': torch.nn.Parameter(torch.randn(8, 2)),
    }


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize('at_once', [1, 10, 2**26])
@pytest.mark.parametrize('bad', [0, 1])
def test_all_or_nothing_comes_back(bad, at_once):
    tensors = _tensors()
    before = {name: _bytes(tensor) for name, tensor in tensors.items()}
    copies = Copies(at_once)
    copies.make([*tensors.values()])
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.mul_(3).add_(1)
        tensors['plain'][1] = float('nan')
    written = {name: _bytes(tensor) for name, tensor in tensors.items()}
    changed = {name for name in tensors if written[name] != before[name]}
    assert changed == set(tensors) - {'empty'}
    copies.bring_back(torch.tensor(bad, dtype=torch.int32))
    now = {name: _bytes(tensor) for name, tensor in tensors.items()}
    assert now == (before if bad else written)


def test_what_lies_between_the_rows_of_a_tensor_is_left_alone():
    whole = torch.arange(24.0).view(4, 6)
    copies = Copies()
    copies.make([whole[:, 1:4]])
    whole += 100
    copies.bring_back(torch.tensor(1))
    expected = torch.arange(24.0).view(4, 6) + 100
    expected[:, 1:4] -= 100
    assert torch.equal(whole, expected)


def test_the_next_step_may_have_other_memory_or_other_tensors():
    first, second = torch.ones(3), torch.ones(3)
    copies = Copies()
    for tensors in ([first], [first], [first, second], [second]):
        copies.make(tensors)
        for tensor in tensors:
            tensor.zero_()
        copies.bring_back(torch.tensor(1))
        assert first.tolist() == second.tolist() == [1, 1, 1]
    second.data = torch.full((3,), 2.0)  # as moving a model to another device does
    copies.make([second])
    second.zero_()
    copies.bring_back(torch.tensor(1))
    assert second.tolist() == [2, 2, 2]


def test_a_copy_comes_back_once():
    tensor = torch.ones(2)
    copies = Copies()
    copies.bring_back(torch.tensor(1))
    copies.make([tensor])
    copies.bring_back(torch.tensor(1))
    tensor += 1
    copies.bring_back(torch.tensor(1))
    assert tensor.tolist() == [2, 2]
