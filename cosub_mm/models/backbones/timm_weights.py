"""Position embeddings and files of timm models, as :class:`CosubTIMMBackbone` loads them."""

import math

import timm
import torch
from mmengine.logging import MMLogger
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from cosub_mm.architectures.position_grid import (
    PositionGridError,
    SourceGrid,
    find_grid,
    is_square,
    noted_grid,
)
from cosub_mm.engine.checkpoints import AVERAGED, choose_weights, load_checkpoint

__all__ = ['load_timm_file', 'resize_embedding', 'resize_loaded_embedding']


def load_timm_file(module: nn.Module, path: str) -> None:
    """Load a file of timm into ``module.timm_model``; a classifier in it is left out.

    Args:
        module: the backbone.
        path: a file in timm's layout.

    Raises:
        ValueError: the file is of another model, with the names that differ.
        UntrustedCheckpoint: it holds more than data.
        PositionGridError: the grid of its position embedding cannot be known.
    """
    model = module.timm_model
    if str(path).lower().endswith(('.npz', '.npy')):
        timm.models.load_checkpoint(model, path)
        return
    classifiers = (model.pretrained_cfg or {}).get('classifier') or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    weights = {
        f'timm_model.{name}': value
        for name, value in _tensors_of(path, type(model).__name__).items()
        if not name.startswith(tuple(f'{classifier}.' for classifier in classifiers))
    }
    resize_loaded_embedding(module, weights, '', {})
    weights = {name.removeprefix('timm_model.'): value for name, value in weights.items()}
    lost = model.load_state_dict(weights, strict=False)
    if lost.missing_keys or lost.unexpected_keys:
        raise ValueError(
            f"checkpoint_path='{path}' is of another model than {type(model).__name__}: it lacks "
            f'{lost.missing_keys[:3] or "nothing"} and has {lost.unexpected_keys[:3] or "nothing"} '
            f'beyond it.'
        )


def _tensors_of(path: str, owner: str) -> dict[str, Tensor]:
    """What timm would read, as data, and said: of a file with both it takes the average (EMA)."""
    if str(path).lower().endswith('.safetensors'):
        return timm.models.load_state_dict(path)
    weights = choose_weights(load_checkpoint(path), path, default=AVERAGED)
    MMLogger.get_current_instance().info(f'{owner} starts from {path}: {weights}')
    return timm.models.clean_state_dict(weights.tensors)


def resize_embedding(embedding: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bicubic resizing; prefix tokens of (1, prefix + H * W, C) stay, (1, C, H, W) is a map."""
    if embedding.dim() == 4:
        resized = F.interpolate(embedding, size=new, mode='bicubic', antialias=True)
    else:
        prefix = embedding.shape[1] - math.prod(old)
        resized = resample_abs_pos_embed(embedding, list(new), list(old), prefix)
    resized.resized_to = new
    return resized


def resize_loaded_embedding(
    module: nn.Module, state_dict: dict, prefix: str, local_metadata: dict, *_
) -> None:
    """Fit the position embedding of weights that were trained at another size."""
    key = f'{prefix}timm_model.pos_embed'
    loaded, own = state_dict.get(key), getattr(module.timm_model, 'pos_embed', None)
    if module.grid is None or loaded is None or loaded.dim() != own.dim():
        return
    if loaded.dim() == 4:
        source = SourceGrid(tuple(loaded.shape[-2:]), 'its shape')
    else:
        tokens = own.shape[1] - math.prod(module.grid)
        noted = noted_grid(local_metadata) or module._grid_of_file
        source = _source_grid(module, loaded.shape[1], tokens, noted)
    if source.grid == module.grid:
        return
    MMLogger.get_current_instance().info(source.resized(module.grid, 'bicubic'))
    with torch.no_grad():
        state_dict[key] = resize_embedding(loaded, source.grid, module.grid).detach()


def _source_grid(
    module: nn.Module, loaded: int, tokens: int, noted: tuple[int, int] | None
) -> SourceGrid:
    """Grid of a loaded embedding that begins with as many class and other tokens as the model's.

    Raises:
        PositionGridError: it begins with others, or the grid cannot be known.
    """
    patches = loaded - tokens
    known = noted or module.pretrained_grid
    others = loaded - math.prod(known) if known else None
    if others is None and not is_square(patches):
        # 0 to 5: none, a class token, with distillation token, with four registers
        others = next((n for n in range(6) if is_square(loaded - n)), None)
    if others is not None and others != tokens and 0 <= others <= 5:
        raise PositionGridError(
            f'The position embedding of the checkpoint has entries for {others} token(s) beside '
            f'the patches, the model for {tokens} (class, distillation and register tokens): '
            f'build the model as the weights were (no_embed_class, reg_tokens, class_token).'
        )
    return find_grid(patches, module.grid, noted, module.pretrained_grid)
