"""Try whether a model gives the same values when it copies its batch late."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cosub_mm.stochastic_depth.places.drop_path import ends_of
from cosub_mm.stochastic_depth.step.compare import (
    close,
    float64_inputs,
    made_up_state,
    tensors_of,
)
from cosub_mm.stochastic_depth.step.module import StochasticDepth

from .stem import Copier, keeping, repeat, stem_candidates

__all__ = ['Verdict', 'try_late_copy']


class Verdict(NamedTuple):
    """How a model copies its batch.

    Attributes:
        copier: what copies it inside the model; None: it is copied in front of it.
        stem: whether it is copied behind the stem, whose modules are given the copies.
        where: in words.
    """

    copier: Copier | None
    stem: bool
    where: str


class _Reached(Exception):
    """The first random block is reached; nothing behind it matters."""


def try_late_copy(model: nn.Module, inputs: Tensor) -> Verdict:
    """Run ``model`` on two samples and their copies, copied early and late, and compare.

    In float64, with random weights and without autocast, so that the verdict is the same in any
    precision, at any time of a training and in every process.
    """
    if keeping().others_rule:
        return _early('other hooks rule what is saved for backward')
    if any('FullySharded' in t or 'FSDP' in t for t in (type(m).__name__ for m in model.modules())):
        return _early('the model is sharded')
    problem = ''
    for dtype in (torch.float64, torch.float32):  # some kernels have no float64
        try:
            with _conditions(model, inputs):
                return _try(model, inputs, dtype)
        except Exception as error:  # the model fails however the batch is copied
            text = str(error).splitlines()[0] if str(error) else ''
            problem = problem or f'the trial failed with {type(error).__name__}: {text}'
    return _early(problem)


def _early(reason: str) -> Verdict:
    return Verdict(None, False, reason)


def _try(model: nn.Module, inputs: Tensor, dtype: torch.dtype) -> Verdict:
    state = made_up_state(model, dtype)
    x = _samples(inputs, dtype)
    order, early = _watch(model, state, repeat(x, 2))
    ends = [what for what in order if isinstance(what, StochasticDepth)]
    if not ends:
        return _early('no random branch is reached')
    before = order[: order.index(ends[0])]
    dropout = next((what for what in before if isinstance(what, str)), None)
    if dropout is not None:
        return _early(f'dropout before the first random branch ({dropout})')
    block, place = ends[0].home[0], ends[0].place
    candidates = stem_candidates(model, block)
    stem = [m for m in dict.fromkeys(before) if m in candidates]
    recomputed = _recomputed(model, state, repeat(x, 2), [*stem, block])
    problem = 'what comes before the first random branch is computed anew for backward'
    if block not in recomputed:
        copier = Copier(block)
        problem = _differs(model, state, x, early, copier)
        if not problem:
            return Verdict(copier, False, f'at {place.block or "the model"}')
    copier = Copier(stem=stem)
    if (
        stem
        and not recomputed.intersection(stem)
        and not _differs(model, state, repeat(x, 2), early, copier)
    ):
        names = {module: name for name, module in model.named_modules()}
        return Verdict(copier, True, f'behind {", ".join(names[m] for m in stem)}')
    return _early(problem)


def _samples(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Two samples; made up, unless they are numbers of words."""
    if not inputs.is_floating_point():
        return torch.cat((inputs, inputs))[:2]
    shape = (2, *inputs.shape[1:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    return noise.to(inputs.device)


def _watch(model: nn.Module, state: dict, x: Tensor) -> tuple[list, list[Tensor]]:
    """What is called in which order (ends, parts, names of dropouts), and the outputs."""
    order: list = []
    handles = []
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            note = module if module.active else None
        else:
            note = type(module).__name__ if drops(module) else module
        if note is not None:
            handles.append(module.register_forward_pre_hook(_note(order, note)))
    try:
        return order, _outputs(model, state, x)
    finally:
        for handle in handles:
            handle.remove()


def _note(order: list, what: nn.Module | str):
    def note(module: nn.Module, args: tuple) -> None:
        if args and isinstance(args[0], Tensor) and args[0].ndim > 1:
            order.append(what)

    return note


def _differs(model: nn.Module, state: dict, x: Tensor, early: list[Tensor], copier: Copier) -> str:
    """Why copying by ``copier`` does not give what ``early`` is, or an empty string."""
    copier.switch(True)
    copier.count = 2
    try:
        late = _outputs(model, state, x)
    except Exception as error:  # the trial asks whether the model can do it
        text = str(error).splitlines()[0] if str(error) else ''
        return f'the trial failed with {type(error).__name__}: {text}'
    finally:
        copier.count = 1
        copier.switch(False)
    tolerance = 1e-9 if x.dtype != torch.float32 else 1e-3
    same = close(early, late, tolerance)
    return '' if same else 'the model returns other values when it copies late'


def _outputs(model: nn.Module, state: dict, x: Tensor) -> list[Tensor]:
    """What the model returns, always with the same rows."""
    torch.manual_seed(0)
    dtype = next((t.dtype for t in state.values() if t.is_floating_point()), x.dtype)
    with torch.no_grad(), float64_inputs(model):
        return [y.to(dtype) for y in tensors_of(functional_call(model, state, (x,)))]


def _recomputed(
    model: nn.Module, state: dict, x: Tensor, places: list[nn.Module]
) -> set[nn.Module]:
    """Which of ``places`` are called within a checkpoint: backward would call them once more.

    By then the batch is no longer to be copied, so that a copy must not be made there. The last of
    the places is the last that is called.
    """
    found = set()

    def note(module: nn.Module, args: tuple) -> None:
        if keeping() != outside:
            found.add(module)
        if module is places[-1]:
            raise _Reached

    handles = [place.register_forward_pre_hook(note, prepend=True) for place in places]
    try:
        with torch.enable_grad(), float64_inputs(model):
            outside = keeping()
            functional_call(model, state, (x,))
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _conditions(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Random branches, but no dropout and no batch statistics; nothing is left behind."""
    modes = {module: module.training for module in model.modules()}
    counts = {id(end.counts): end.counts for end in ends_of(model)}.values()
    before = [(count, count.seen, count.kept) for count in counts]
    devices = [inputs.device] if inputs.device.type == 'cuda' else []
    try:
        for module, mode in modes.items():
            module.training = mode and not _is_stateful(module)
        with (
            torch.random.fork_rng(devices=devices),
            torch.compiler.set_stance('force_eager'),
            torch.autocast(inputs.device.type, enabled=False),
        ):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for count, seen, kept in before:
            count.seen, count.kept = seen, kept


def _is_stateful(module: nn.Module) -> bool:
    return drops(module) or isinstance(module, nn.modules.batchnorm._NormBase)


def drops(module: nn.Module) -> bool:
    """Whether a module is a dropout that drops."""
    if isinstance(module, StochasticDepth) or 'drop' not in type(module).__name__.lower():
        return False
    rates = (getattr(module, name, 0) for name in ('p', 'prob', 'drop_prob'))
    return any(isinstance(rate, float | int) and rate > 0 for rate in rates)
