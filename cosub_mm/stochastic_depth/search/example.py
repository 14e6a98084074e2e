"""What a model is searched on."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ['example_inputs', 'rows_in']

_ROWS = 3


def example_inputs(model: nn.Module, example_input: Any) -> tuple:
    """Arguments to call ``model`` with: those of the user, or an image as large as it expects.

    There are three samples at least: of one no row can be spared, so that it proves nothing.
    """
    if _is_shape(example_input):
        return _enough((_noise(model, tuple(example_input)),))
    if example_input is not None:
        return _enough(example_input if isinstance(example_input, tuple) else (example_input,))
    shape, size = _says(model)
    children = list(model.children())
    while not (shape or size) and len(children) == 1:  # what only wraps another knows no size
        shape, size = _says(children[0])
        children = list(children[0].children())
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if size is not None:
        sides = (tuple(tree_leaves(size)) * 2)[:2]
        shape = (shape[0] if shape else getattr(first, 'in_channels', 3), *sides)
    shape = shape or (getattr(first, 'in_channels', 3), 224, 224)
    return (_noise(model, (_ROWS, *shape)),)


def rows_in(inputs: Any) -> int:
    """Samples in what a model is called with: rows of the first tensor."""
    return next((len(x) for x in tree_leaves(inputs) if isinstance(x, Tensor) and x.ndim), 0)


def _enough(inputs: tuple) -> tuple:
    rows = rows_in(inputs)
    if not 0 < rows < _ROWS:
        return inputs

    def repeat(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.ndim or len(x) != rows:
            return x
        return torch.cat([x] * _ROWS)[:_ROWS]

    return tree_map(repeat, inputs)


def _says(model: nn.Module) -> tuple[tuple[int, ...], Any]:
    """What a model says of its images: the shape it was trained on, and the size that it takes."""
    config = getattr(model, 'pretrained_cfg', None) or getattr(model, 'default_cfg', None) or {}
    shape = tuple(config.get('input_size') or ()) if isinstance(config, dict) else ()
    embed = getattr(model, 'patch_embed', None)
    return shape, getattr(model, 'img_size', None) or getattr(embed, 'img_size', None)


def _is_shape(example_input: Any) -> bool:
    """Whether it is a tensor's shape, as a config can give it."""
    numbers = isinstance(example_input, tuple | list) and len(example_input) > 0
    return numbers and all(type(size) is int for size in example_input)


def _noise(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    parameter = next(model.parameters())
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return x.to(device=parameter.device, dtype=parameter.dtype)
