"""Copy the batch where the first random branch begins, instead of at the input.

All copies of a sample are the same up to there, so the layers before it need to see one only. The
copy is made at the first random block, or, in a model that reads its batch size before that, behind
each module of its stem.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ..places.attach import ends_of
from ..step.module import StochasticDepth

__all__ = ['CopiedBatch', 'copy_batch_late']

_CHECKPOINT_FLAGS = ('grad_checkpointing', 'with_cp', 'use_checkpoint')
_verdicts: WeakKeyDictionary = WeakKeyDictionary()


class CopiedBatch(NamedTuple):
    """What to call the model with.

    Attributes:
        inputs: the batch as it is if the first random block copies it, otherwise with its copies.
        late: whether what lies before the first random branch sees each sample once.
        reason: why it does not, or an empty string.
    """

    inputs: Tensor
    late: bool
    reason: str


class _Verdict(NamedTuple):
    first: StochasticDepth | None
    reason: str
    stem: bool = False  # copied behind the modules of the stem, not at the first random block


@contextmanager
def copy_batch_late(model: nn.Module, inputs: Tensor, num_copies: int) -> Iterator[CopiedBatch]:
    """Let one forward pass of ``model`` on ``inputs`` return rows for ``num_copies`` copies.

    ::

        with copy_batch_late(backbone, images, 2) as batch:
            features = backbone(batch.inputs)  # rows of copy 1, then rows of copy 2

    Either way the output has ``num_copies * len(inputs)`` rows in the order of
    ``torch.cat([inputs] * num_copies)``, and the same values. The model is tried once, on two
    samples, forward and backward; the batch is copied at the input (``late`` is False, ``reason``
    says why) where the trial differs: a model that checkpoints whole blocks, returns features from
    before the first branch, has dropout there, is sharded by FSDP, or drops nothing now.

    BatchNorm before the first branch sees each sample once: same mean and variance, but running
    variances by 1 / (2 n) of their value larger, n being values per channel.

    Args:
        model: with stochastic depth applied; the backbone, called once inside the context.
        inputs: (N, ...), the batch without copies.
        num_copies: at least 1.

    Raises:
        ValueError: ``num_copies`` below 1.
    """
    if num_copies < 1:
        raise ValueError(f'num_copies={num_copies} must be at least 1.')
    model = getattr(model, '_orig_mod', model)  # torch.compile's wrapper
    verdict = _judge(model, inputs) if num_copies > 1 else _Verdict(None, 'one copy only')
    if verdict.first is None:
        yield CopiedBatch(_repeat(inputs, num_copies), False, verdict.reason)
        return
    place = 'stem_copies' if verdict.stem else 'copies'
    setattr(verdict.first, place, num_copies)
    try:
        yield CopiedBatch(_repeat(inputs, num_copies) if verdict.stem else inputs, True, '')
    finally:
        setattr(verdict.first, place, 1)


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.repeat(times, *[1] * (x.ndim - 1))


def _judge(model: nn.Module, inputs: Tensor) -> _Verdict:
    """The verdict of the trial, remembered as long as nothing changes that it depends on."""
    if not any(end.active for end in ends_of(model)):
        return _Verdict(None, 'no branch is random now')
    key = _signature(model, inputs)
    known = _verdicts.get(model)
    if known is None or known[0] != key:
        known = _verdicts[model] = (key, _try(model, inputs))
    return known[1]


def _signature(model: nn.Module, inputs: Tensor) -> tuple:
    flags = tuple(
        bool(getattr(module, flag, False))
        for module in model.modules()
        for flag in _CHECKPOINT_FLAGS
        if hasattr(module, flag)
    )
    return tuple(inputs.shape[1:]), flags, tuple((id(e), e.active) for e in ends_of(model))


def _try(model: nn.Module, inputs: Tensor) -> _Verdict:
    if any(
        'FullySharded' in type(m).__name__ or 'FSDP' in type(m).__name__ for m in model.modules()
    ):
        return _Verdict(None, 'the model is sharded')
    order: list[StochasticDepth | str | nn.Module] = []
    modes = {module: module.training for module in model.modules()}
    ends = ends_of(model)
    tallies = [(end._seen, end._kept) for end in ends]
    handles = [
        m.register_forward_pre_hook(_note(order, type(m).__name__)) for m in modes if _drops(m)
    ]
    handles += [end.register_forward_pre_hook(_note(order, end)) for end in ends if end.active]
    handles += [m.register_forward_pre_hook(_note_stem(order)) for m in model.children()]
    try:
        for module in modes:  # no dropout and no batch statistics, only random branches
            module.training = module.training and not _is_stateful(module)
        _detach_stem(model)
        early = _outputs(model, inputs, 2)
        first = next((x for x in order if isinstance(x, StochasticDepth)), None)
        if first is None:
            return _Verdict(None, 'no random branch is reached')
        before = order[: order.index(first)]
        dropout = next((x for x in before if isinstance(x, str)), None)
        if dropout is not None:
            return _Verdict(None, f'dropout before the first random branch ({dropout})')
        problem = _differs(model, inputs, early, first, 'copies')
        if not problem:
            return _Verdict(first, '')
        _attach_stem(before, first)
        if _has_stem(model) and not _differs(model, inputs, early, first, 'stem_copies'):
            return _Verdict(first, '', stem=True)
        _detach_stem(model)
        return _Verdict(None, problem)
    except Exception as error:  # the model fails however the batch is copied
        return _Verdict(None, f'the trial failed with {type(error).__name__}: {error}')
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
        for end, tally in zip(ends, tallies):
            end.copies, (end._seen, end._kept) = 1, tally


def _differs(
    model: nn.Module, inputs: Tensor, early: list[Tensor], first: StochasticDepth, place: str
) -> str:
    """Why copying at ``place`` does not give what ``early`` is, or an empty string."""
    try:
        late = _outputs(model, inputs, 2, first, place)
    except Exception as error:  # the trial asks whether the model can do it
        return f'the trial failed with {type(error).__name__}: {error}'
    finally:
        first.copies = first.stem_copies = 1
    return '' if _same(early, late) else 'the model returns other values when it copies late'


def _attach_stem(modules: list[nn.Module], first: StochasticDepth) -> None:
    for module in dict.fromkeys(modules):
        random = any(end.active for end in ends_of(module))
        if not random and next(module.parameters(), None) is not None:
            module.register_forward_pre_hook(first.fold)
            module.register_forward_hook(first.unfold)


def _has_stem(model: nn.Module) -> bool:
    return any(map(_stem_hooks, model.children()))


def _detach_stem(model: nn.Module) -> None:
    """Also those that a copy of the model has taken along."""
    for child in model.children():
        for hooks, key in _stem_hooks(child):
            del hooks[key]


def _stem_hooks(module: nn.Module) -> list[tuple[dict, int]]:
    ours = (StochasticDepth.fold, StochasticDepth.unfold)
    return [
        (hooks, key)
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for key, hook in hooks.items()
        if getattr(hook, '__func__', None) in ours
    ]


def _outputs(
    model: nn.Module,
    inputs: Tensor,
    copies: int,
    first: StochasticDepth | None = None,
    place: str = '',
) -> list[Tensor]:
    """Outputs and input gradient for two samples and their copies, always with the same rows.

    Copied at the input, or by ``first`` at its ``place``.
    """
    x = inputs[:2].detach().clone()
    devices = [x.device] if x.device.type == 'cuda' else []
    if x.is_floating_point():
        x.requires_grad_()
    batch = x if place == 'copies' else _repeat(x, copies)
    if first is not None:
        setattr(first, place, copies)
    with (
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        torch.compiler.set_stance('force_eager'),
    ):
        torch.manual_seed(0)
        outputs = [y for y in tree_flatten(model(batch))[0] if isinstance(y, Tensor)]
        if first is not None:
            setattr(first, place, 1)  # as in a real step, whose backward comes after the context
        weights = torch.linspace(0.5, 1.5, 64, device=x.device)
        total = sum((y.float().flatten(1).mean(1) * weights[: len(y)]).sum() for y in outputs)
        gradients = torch.autograd.grad(total, x) if x.requires_grad else ()
    return [y.detach().float() for y in (*outputs, *gradients)]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    tolerance = 5e-2 if torch.is_autocast_enabled() else 1e-3
    return len(left) == len(right) and all(
        a.shape == b.shape and bool((a - b).abs().max() <= tolerance * a.abs().max())
        for a, b in zip(left, right)
    )


def _is_stateful(module: nn.Module) -> bool:
    return _drops(module) or isinstance(module, nn.modules.batchnorm._NormBase)


def _drops(module: nn.Module) -> bool:
    if isinstance(module, StochasticDepth) or 'drop' not in type(module).__name__.lower():
        return False
    rates = (getattr(module, name, 0) for name in ('p', 'prob', 'drop_prob'))
    return any(isinstance(rate, float | int) and rate > 0 for rate in rates)


def _note(order: list, what: nn.Module | str) -> Callable:
    return lambda module, args: order.append(what)


def _note_stem(order: list) -> Callable:
    def note(module: nn.Module, args: tuple) -> None:
        if args and isinstance(args[0], Tensor) and args[0].ndim > 1:
            order.append(module)

    return note
