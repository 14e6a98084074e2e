"""Whole tensors from what lies in parts in the processes, and parts from whole ones.

A checkpoint of a spread model or optimizer is that of a single process: the same names, numbers and
whole tensors on the CPU. So it resumes, converts, tests and is published like any other.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from mmengine.dist import is_main_process
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

__all__ = ['collecting', 'loads_whole', 'spread_optimizer', 'whole']


def whole(value: object) -> object:
    """The same with whole tensors on the CPU in the first process, and empty ones in the others.

    All processes have to call it, with the same structure.

    Args:
        value: dicts, lists and tuples of anything; they stay as they are.
    """
    if isinstance(value, DTensor):
        full = value.detach().full_tensor()
        return full.cpu() if is_main_process() else torch.empty(0)
    if isinstance(value, dict):
        copied = value.copy()  # an OrderedDict keeps its attributes
        copied.update({key: whole(item) for key, item in value.items()})
        return copied
    if isinstance(value, list | tuple):
        return type(value)(whole(item) for item in value)
    return value


@contextmanager
def collecting(model: nn.Module, optimizers: list[Optimizer]) -> Iterator[None]:
    """While this lasts, state dicts hold whole tensors; all processes have to ask for them.

    mmengine moves what it finds to the CPU, where parts that were on devices could no longer meet.
    """

    def of_model(module: nn.Module, states: dict, prefix: str, local_metadata: dict) -> None:
        for name, value in states.items():
            if isinstance(value, DTensor):
                states[name] = whole(value)

    with ExitStack() as stack:
        stack.callback(model.register_state_dict_post_hook(of_model).remove)
        for optimizer in optimizers:
            handle = optimizer.register_state_dict_post_hook(lambda _, states: whole(states))
            stack.callback(handle.remove)
        yield


def loads_whole(model: nn.Module) -> None:
    """Let a spread model load state dicts of whole tensors, of which each part takes its share."""
    for module in model.modules():
        if any(isinstance(p, DTensor) for p in module.parameters(recurse=False)):
            module.register_load_state_dict_pre_hook(_spread_loaded)


def _spread_loaded(module: nn.Module, states: dict, prefix: str, *_: object) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        if f'{prefix}{name}' in states:
            states[f'{prefix}{name}'] = _part(states[f'{prefix}{name}'], parameter)


def spread_optimizer(optimizer: Optimizer) -> None:
    """Let the optimizer of a spread model load the states of whole tensors."""

    def spread(optimizer: Optimizer, saved: dict) -> dict:
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        numbers = [number for group in saved['param_groups'] for number in group['params']]
        states = dict(saved['state'])
        for number, parameter in zip(numbers, parameters):
            if number in states:
                items = states[number].items()
                states[number] = {name: _part(value, parameter) for name, value in items}
        return {**saved, 'state': states}

    optimizer.register_load_state_dict_pre_hook(spread)


def _part(value: object, like: Tensor) -> object:
    """This process's part of a whole tensor, if ``like`` is one in parts and has its shape."""
    fits = torch.is_tensor(value) and not isinstance(value, DTensor)
    if not fits or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    mesh, (placement,) = like.device_mesh, like.placements
    chunks = value.chunk(mesh.size(), dim=placement.dim)
    rank = mesh.get_local_rank()
    mine = chunks[rank] if rank < len(chunks) else chunks[0].narrow(placement.dim, 0, 0)
    return DTensor.from_local(
        mine.to(like.device).contiguous(),
        mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
