"""Whether subset and mask are the same for a whole model, in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from cosub_mm.stochastic_depth import (
    Report,
    StochasticDepth,
    apply_stochastic_depth,
    remove_stochastic_depth,
)
from cosub_mm.stochastic_depth.step.compare import use_float64

__all__ = ['TOLERANCE', 'Comparison', 'compare_implementations']

TOLERANCE = 1e-9
"""Largest difference over the largest value that counts as equal in float64."""

_NEGLIGIBLE = 1e-4
"""Share of the largest value below which a value is compared with that share instead: a gradient
that is 0 by symmetry is nothing but rounding, some 1e-15 of the largest (MLP-Mixer's biases)."""


@dataclass(frozen=True)
class Comparison:
    """What a model did with stochastic depth.

    Attributes:
        report: of the subset implementation.
        error: largest difference of subset from mask, over outputs and gradients of the input and
            of every parameter, each relative to its largest value.
        effect: largest difference of the dropped from the full output, relative.
        evaluation_kept: evaluation is bit-identical with stochastic depth and after its removal.
    """

    report: Report
    error: float
    effect: float
    evaluation_kept: bool

    @property
    def equal(self) -> bool:
        """Handled rightly: the same as mask, different from no drop, evaluation untouched."""
        return self.error <= TOLERANCE and self.effect > 1e-6 and self.evaluation_kept


def compare_implementations(model: nn.Module, x: Tensor, rate: float = 0.25) -> Comparison:
    """Run ``model`` with subset and with mask on the same kept rows.

    The model becomes float64, and parameters that are constant, such as a layer scale near 0, are
    made random: they could hide a difference. Only the branches are in training mode; dropout and
    batch statistics would differ for reasons of their own.

    Args:
        model: without stochastic depth; it is used up.
        x: (N, ...), N at least 4.
        rate: drop rate of every branch.

    Raises:
        ValueError: as :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
    """
    _reveal(use_float64(model))
    x = x.double()
    full = _evaluate(model, x)
    apply_stochastic_depth(model, rate, implementation='mask', example_input=x)
    kept = _same(full, _evaluate(model, x))
    mask = _train(model, x)
    report = apply_stochastic_depth(model, rate, implementation='subset', example_input=x)
    kept &= _same(full, _evaluate(model, x))
    subset = _train(model, x)
    remove_stochastic_depth(model)
    kept &= _same(full, _evaluate(model, x))
    return Comparison(report, _difference(mask, subset), _difference(full, mask[: len(full)]), kept)


def _reveal(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.copy_(0.5 + 0.1 * noise)


def _evaluate(model: nn.Module, x: Tensor) -> list[Tensor]:
    _set_training(model, ends=False)
    torch.manual_seed(0)  # some are random in evaluation, too (the masks of MAE)
    with torch.no_grad():
        return _tensors(model(x))


def _train(model: nn.Module, x: Tensor) -> list[Tensor | None]:
    """Outputs, gradient of the input, gradients of the parameters."""
    _set_training(model, ends=True)
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    outputs = _tensors(model(x))
    torch.manual_seed(2)
    total = sum((y * torch.randn_like(y)).sum() for y in outputs)
    leaves = [x, *(p for p in model.parameters() if p.requires_grad)]
    return [*(y.detach() for y in outputs), *torch.autograd.grad(total, leaves, allow_unused=True)]


def _set_training(model: nn.Module, ends: bool) -> None:
    model.eval()  # as a call: some models compute what evaluation needs here
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.training = ends


def _tensors(output: object) -> list[Tensor]:
    return [x for x in tree_flatten(output)[0] if isinstance(x, Tensor) and x.is_floating_point()]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _difference(left: list[Tensor | None], right: list[Tensor | None]) -> float:
    """Largest relative difference; a gradient that only one side has counts as zeros."""
    sizes = [float(x.abs().max()) for x in (*left, *right) if x is not None and x.numel()]
    floor = _NEGLIGIBLE * max(sizes)
    worst = 0.0
    for a, b in zip(left, right, strict=True):
        if (a is None and b is None) or (a if b is None else b).numel() == 0:
            continue
        a = torch.zeros_like(b) if a is None else a
        b = torch.zeros_like(a) if b is None else b
        gap = float((a - b).abs().max()) / max(float(a.abs().max()), floor)
        worst = max(worst, gap) if gap == gap else float('inf')
    return worst
