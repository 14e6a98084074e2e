"""What a model with stochastic depth is tested against: masking, and the shortcut alone."""

import torch
from torch import Tensor, nn

from cosub_mm.stochastic_depth import Report, apply_stochastic_depth, remove_stochastic_depth
from cosub_mm.stochastic_depth.step.compare import use_float64
from tests.stochastic_depth import models

ALL = 1 - 1e-12  # a rate at which no row is kept


def in_double(model: nn.Module, std: float = 0.2) -> nn.Module:
    """The model in float64 with random parameters, so that no layer scale hides a branch."""
    model = use_float64(model)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


def check_subset_is_mask(model: nn.Module, x: Tensor, rate: float = 0.4, **options) -> Report:
    """Outputs and all gradients of subset and mask agree in float64; evaluation stays.

    ``options`` go to ``apply_stochastic_depth``.
    """
    x = x.double()
    model.eval()
    with torch.no_grad():
        torch.manual_seed(0)
        plain = models.outputs(model, x)
    results = []
    for implementation in ('mask', 'subset'):
        report = apply_stochastic_depth(model, rate, implementation=implementation, **options)
        model.eval()
        with torch.no_grad():
            torch.manual_seed(0)
            assert torch.equal(models.outputs(model, x), plain)
        models.only_branches_train(model)
        results.append(models.forward_backward(model, x))
    scale = max(float(r.abs().max()) for r in results[0][1:])
    for mask, subset in zip(*results, strict=True):
        tolerance = 1e-11 * max(scale, float(mask.abs().max()))
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=tolerance)
    assert (results[0][0] - plain).abs().max() > 1e-6 * plain.abs().max()
    remove_stochastic_depth(model)
    return report


def check_only_the_shortcut_is_left(
    model: nn.Module,
    x: Tensor,
    kept: tuple[str, ...] = (),
    identities: int | None = None,
    **options,
) -> None:
    """With all rows dropped a block is the identity, and its parameters get no gradient.

    That asks nothing of ours: neither of masking, nor of where a branch is said to be.

    Args:
        model: float64.
        x: its input.
        kept: modules of the blocks that work on the shortcut, or on the sum.
        identities: how many blocks are the identity; all by default.
        **options: for ``apply_stochastic_depth``.
    """
    blocks = {branch.block for branch in apply_stochastic_depth(model, ALL, **options).blocks}
    models.only_branches_train(model)
    seen: list[bool] = []

    def compare(block: nn.Module, args: tuple, kwargs: dict, output) -> None:
        given = (*args, *kwargs.values())[0]
        output = output[0] if isinstance(output, tuple) else output
        seen.append(given.shape == output.shape and torch.equal(given, output))

    handles = [
        model.get_submodule(name).register_forward_hook(compare, with_kwargs=True)
        for name in blocks
    ]
    models.outputs(model, x.double()).sum().backward()
    for handle in handles:
        handle.remove()
    assert len(seen) == len(blocks)
    assert sum(seen) == (len(blocks) if identities is None else identities)
    for name in blocks:
        for path, parameter in model.get_submodule(name).named_parameters():
            assert path.startswith(kept) or parameter.grad is None or not parameter.grad.any(), path
    remove_stochastic_depth(model)
