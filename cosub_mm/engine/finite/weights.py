"""Weights that are not numbers are neither saved nor used."""

from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from .steps import watches
from .undo import local

__all__ = ['NonFiniteWeightsError', 'check_before_save', 'not_finite', 'some', 'weights_of']

NAMED = 5


class NonFiniteWeightsError(ValueError):
    """Weights that are infinite or not a number."""


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a value which is infinite or not a number.

    The device is asked once for all.
    """
    floats = {k: local(v.detach()) for k, v in tensors.items() if v.is_floating_point()}
    floats = {k: v for k, v in floats.items() if v.device.type != 'meta' and v.numel()}
    if not floats:
        return []
    home = next(iter(floats.values())).device
    finite = torch.stack([v.isfinite().all().to(home) for v in floats.values()]).tolist()
    return [name for name, good in zip(floats, finite) if not good]


def check_before_save(runner) -> None:
    """Stop before weights that are no numbers are saved, in all processes together.

    Looks at the model and at its running average.

    Raises:
        NonFiniteWeightsError: naming the tensors.
        NonFiniteLossError: the last step was one too many of its kind.
    """
    for one in watches(runner.optim_wrapper):
        one.settle()
    tensors = weights_of(runner.model)
    for hook in runner.hooks:
        if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model'):
            averaged = weights_of(hook.ema_model)
            tensors |= {f'average of {name}': value for name, value in averaged.items()}
    bad = not_finite(tensors)
    if get_world_size() > 1:
        device = next(iter(tensors.values())).device if tensors else 'cpu'
        number = torch.tensor(len(bad), device=device)
        all_reduce(number, op='max')
        if int(number) and not bad:
            bad = ['those of another process']
    if bad:
        raise NonFiniteWeightsError(
            f'Weights are infinite or not a number, and are not saved: {some(bad)}. Older '
            f'checkpoints are as they were: go on from the last one with --resume, with a lower '
            f'learning rate, a longer warm-up, or without --amp.'
        )


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, and the running statistics of normalisation layers.

    Other buffers may hold infinity by their nature, as masks of attention do.
    """
    model = model.module if is_model_wrapper(model) else model
    found = dict(model.named_parameters())
    for name, module in model.named_modules():
        if hasattr(module, 'running_mean'):
            found |= {f'{name}.{key}': value for key, value in module.named_buffers(recurse=False)}
    return found


def some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return f'{", ".join(names[:NAMED])}{more}'
