"""Models to measure, and the ways to drop their branches, on the same parameters."""

import copy

import timm
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from cosub_mm.stochastic_depth import apply_stochastic_depth, realised_drop_rate

from .references import has_references, put_drop_path, put_reference

__all__ = ['VARIANTS', 'build_model', 'input_shape', 'kept_share', 'make_variant', 'output_of']

VARIANTS = {
    'none': 'no drop',
    'mask': 'masking (timm)',
    'index_add': 'index_add (paper)',
    'dinov2': 'DINOv2-style subset',
    'ours': "ours ('auto')",
    'subset': "ours ('subset')",
}


def build_model(name: str, options: dict | None = None) -> nn.Module:
    """A model of timm, or a backbone of mmpretrain, with random weights and no drop path.

    Raises:
        ValueError: a name that neither library knows.
    """
    options = options or {}
    if timm.is_model(name):
        return timm.create_model(name, **options)
    from mmpretrain.registry import MODELS

    import cosub_mm  # noqa: F401  registers CosubViT

    if MODELS.get(name) is None:
        raise ValueError(
            f'--model {name} is neither a model of timm (timm.list_models()) nor a backbone that '
            f'mmpretrain registers, such as CosubViT or ResNet (with --model-args).'
        )
    return MODELS.build(dict(type=name, **options))


def make_variant(model: nn.Module, variant: str, rate: float, compiled: bool = False) -> nn.Module:
    """A copy of ``model`` that drops its branches in one way; parameters are shared.

    Args:
        model: without stochastic depth.
        variant: key of ``VARIANTS``.
        rate: drop rate of every branch, in [0, 1).
        compiled: whether torch.compile is to compile it.
    """
    twin = copy.deepcopy(model, {id(p): p for p in model.parameters()}).train()
    if variant in ('ours', 'subset'):
        apply_stochastic_depth(twin, rate, implementation={'ours': 'auto'}.get(variant, variant))
    elif variant == 'mask' and not has_references(twin):
        put_drop_path(twin, rate)
    elif variant != 'none':
        put_reference(twin, variant, rate)
    return torch.compile(twin) if compiled else twin


def kept_share(model: nn.Module, variant: str, rate: float, batch: int) -> float:
    """Rows kept over all rows in the steps since the last call, mean over branches.

    Of masking, which draws each row alone, the expected share.
    """
    if variant in ('ours', 'subset'):
        return 1 - realised_drop_rate(getattr(model, '_orig_mod', model), reset=True)
    expected = batch * (1 - rate)
    counts = {'none': batch, 'index_add': round(expected), 'dinov2': max(int(expected), 1)}
    return counts.get(variant, expected) / batch


def input_shape(model: nn.Module, side: int | None) -> tuple[int, int, int]:
    """Channels, height and width that a model takes; ``side`` overrides the size."""
    config = getattr(model, 'pretrained_cfg', None) or {}
    channels, height, width = config.get('input_size') or (3, 224, 224)
    return (channels, side, side) if side else (channels, height, width)


def output_of(model: nn.Module, x: Tensor) -> Tensor:
    """The last output of ``model``, (N, ...): backbones of mmpretrain return tuples."""
    return tree_flatten(model(x))[0][-1]
