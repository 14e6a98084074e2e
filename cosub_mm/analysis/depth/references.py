"""Other ways to drop residual branches, to measure against.

They are plain functions of a stream and a residual branch, put into the blocks of a ViT. Other
models are measured against :func:`put_drop_path`, timm's own module where their branches end.

- ``mask``: timm's DropPath (Huang et al., 2016), every row computed;
- ``index_add``: section 4 of the paper, with torch's own functions;
- ``dinov2``: the subset of DINOv2 (Oquab et al., 2023), after its description.
"""

import types
from collections.abc import Callable

import torch
from timm.layers import DropPath, drop_path
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from cosub_mm.stochastic_depth import (
    StochasticDepth,
    apply_stochastic_depth,
    remove_stochastic_depth,
)

__all__ = ['REFERENCES', 'has_references', 'put_drop_path', 'put_reference']

Residual = Callable[[Tensor], Tensor]


def mask(x: Tensor, residual: Residual, rate: float) -> Tensor:
    """Masking as in timm: each row is kept by a draw of its own."""
    return x + drop_path(residual(x), rate, training=True)


def index_add(x: Tensor, residual: Residual, rate: float) -> Tensor:
    """The paper: round(B (1 - rate)) rows, added with index_add, scaled by 1 / (1 - rate)."""
    kept = round(len(x) * (1 - rate))
    rows = torch.randperm(len(x), device=x.device)[:kept]
    return _add_rows(x, rows, residual(x.index_select(0, rows)), 1 / (1 - rate))


def dinov2(x: Tensor, residual: Residual, rate: float) -> Tensor:
    """DINOv2: floor(B (1 - rate)) rows and at least one, scaled by B / kept."""
    kept = max(int(len(x) * (1 - rate)), 1)
    rows = torch.randperm(len(x), device=x.device)[:kept]
    return _add_rows(x, rows, residual(x[rows]), len(x) / kept)


def _add_rows(x: Tensor, rows: Tensor, residual: Tensor, scale: float) -> Tensor:
    flat = torch.index_add(x.flatten(1), 0, rows, residual.flatten(1).to(x.dtype), alpha=scale)
    return flat.view_as(x)


REFERENCES = {'mask': mask, 'index_add': index_add, 'dinov2': dinov2}


def has_references(model: nn.Module) -> bool:
    """Whether ``model`` has blocks that the references are written for."""
    return any(_residuals(module) is not None for module in model.modules())


def put_reference(model: nn.Module, name: str, rate: float) -> None:
    """Replace the forward of every ViT block of ``model`` by a reference.

    Args:
        model: a ViT of timm or mmpretrain, without stochastic depth.
        name: key of ``REFERENCES``.
        rate: drop rate of every branch.

    Raises:
        ValueError: a model without such blocks.
    """
    if not has_references(model):
        raise ValueError(
            f'{type(model).__name__}: index_add and dinov2 are written for ViT blocks of timm and '
            f'mmpretrain only. Leave them out with --variants.'
        )
    for module in model.modules():
        residuals = _residuals(module)
        if residuals is not None:
            module.forward = types.MethodType(_forward(REFERENCES[name], residuals, rate), module)


def put_drop_path(model: nn.Module, rate: float) -> None:
    """Put timm's DropPath where the residual branches of any model end.

    Args:
        model: without stochastic depth.
        rate: drop rate of every branch.

    Raises:
        ValueError: a branch that ends in no module of its own.
    """
    apply_stochastic_depth(model, rate, implementation='mask')
    places = [
        (parent, name, end)
        for parent in model.modules()
        for name, end in parent.named_children()
        if isinstance(end, StochasticDepth)
    ]
    remove_stochastic_depth(model)
    for parent, name, end in places:
        if not end.place.original:
            behind = f'{end.place.block}: no DropPath can stand behind {end.place.path!r}.'
            raise ValueError(behind)
        setattr(parent, name, DropPath(end.drop_prob).train(model.training))


def _forward(reference: Callable, residuals: tuple[Residual, Residual], rate: float) -> Callable:
    def forward(self: nn.Module, x: Tensor, **kwargs) -> Tensor:
        for residual in residuals:
            x = reference(x, residual, rate)
        return x

    return forward


def _residuals(module: nn.Module) -> tuple[Residual, Residual] | None:
    if type(module) is Block:
        return (
            lambda x: module.ls1(module.attn(module.norm1(x))),
            lambda x: module.ls2(module.mlp(module.norm2(x))),
        )
    if type(module).__name__ == 'TransformerEncoderLayer' and hasattr(module, 'ffn'):
        # mmpretrain's FFN adds its identity itself; zeros in its place leave the residual.
        return (
            lambda x: module.attn(module.ln1(x)),
            lambda x: module.ffn.gamma2(module.ffn.layers(module.ln2(x))),
        )
    return None
