"""State dicts from one library to another."""

import math
import re

import torch
from torch import Tensor

from .names import FAMILIES
from .position_grid import is_square, keep_notes, noted_grid, with_note

__all__ = ['ConversionError', 'family_of', 'to_deit', 'to_mmpretrain', 'to_timm']

StateDict = dict[str, Tensor]

# Computed from the configuration when the model is built.
_COMPUTED = ('relative_position_index', 'attn_mask')


class ConversionError(ValueError):
    """Weights that cannot be converted."""


def family_of(state_dict: StateDict) -> tuple[str, str]:
    """Architecture of a state dict, and the library whose names it has.

    Returns:
        ``'vit'``, ``'swin'``, ``'convnext'``, ``'resnet'`` or ``'xcit'``; ``'mm'`` or ``'timm'``.

    Raises:
        ConversionError: none of these.
    """
    for name, family in FAMILIES.items():
        if family.mm_key in state_dict:
            return name, 'mm'
        if family.timm_key in state_dict:
            return name, 'timm'
    keys = ', '.join(list(state_dict)[:4])
    raise ConversionError(
        f'The weights (first keys: {keys}) are of no known architecture. Known are ViT, Swin, '
        f'ConvNeXt, ResNet and XCiT with the names of timm, of the DeiT repository (ViT), or of a '
        f'classifier of mmpretrain. Other timm models run in CosubTIMMBackbone as they are.'
    )


def to_mmpretrain(state_dict: StateDict, grid: tuple[int, int] | None = None) -> StateDict:
    """Weights of a timm or DeiT III model for an ImageClassifier of mmpretrain.

    A ViT becomes a ``CosubViT``: where its class token has a position embedding, it is added to the
    token, and missing LayerScale weights are ones; both leave the outputs as they are.

    Args:
        state_dict: tensors by name, headless or with a classifier.
        grid: rows and columns of patches that a ViT's position embedding is for, where the weights
            do not say (ours do) and it is not square. The result says it.

    Raises:
        ConversionError: an unknown architecture or an unknown parameter in it, or a position
            embedding whose grid is unknown.
    """
    noted = grid or noted_grid(getattr(state_dict, '_metadata', {}).get(''))
    state_dict = keep_notes(_timm_names(state_dict), state_dict)
    name, library = family_of(state_dict)
    if grid is not None and name != 'vit':
        raise ConversionError(f'A grid is for the position embedding of a ViT, not of a {name}.')
    if library == 'mm':
        if grid is not None and _class_tokens(state_dict['backbone.pos_embed'].shape[1], grid):
            raise ConversionError('A CosubViT has position embeddings on its patches only.')
        return with_note(state_dict, 'backbone', grid) if grid else state_dict
    result = _rename(state_dict, name, to_timm=False)
    if name == 'vit':
        result = with_note(_as_deit3(result, noted), 'backbone', noted)
    return _merge_patches(result) if name == 'swin' else result


def to_timm(state_dict: StateDict) -> StateDict:
    """Weights of an ImageClassifier of mmpretrain for the timm model of the same architecture.

    A ``CosubViT`` becomes a ``deit3_*`` model.

    Raises:
        ConversionError: an unknown architecture or an unknown parameter in it.
    """
    name, library = family_of(state_dict)
    if library == 'timm':
        return keep_notes(state_dict, state_dict)
    result = _rename(state_dict, name, to_timm=True)
    result = keep_notes(result, state_dict, strip='backbone.')
    return _merge_patches(result) if name == 'swin' else result


def to_deit(state_dict: StateDict) -> StateDict:
    """Weights of a ``CosubViT`` classifier with the names of facebookresearch/deit's models_v2.

    Raises:
        ConversionError: not a ViT.
    """
    name, _ = family_of(state_dict)
    if name != 'vit':
        raise ConversionError(f'DeiT III is a ViT; these weights are of a {name}.')
    return {
        re.sub(r'\.ls([12])\.gamma$', r'.gamma_\1', key): value
        for key, value in to_timm(state_dict).items()
    }


def _timm_names(state_dict: StateDict) -> StateDict:
    """Names of timm for a ViT of the DeiT repository; its CaiT and XCiT keep their gammas."""
    if 'blocks.0.attn.qkv.weight' not in state_dict or 'blocks.0.attn.temperature' in state_dict:
        return state_dict
    return {
        re.sub(r'^(blocks\.\d+)\.gamma_([12])$', r'\1.ls\2.gamma', key): value
        for key, value in state_dict.items()
    }


def _as_deit3(state_dict: StateDict, grid: tuple[int, int] | None) -> StateDict:
    """A plain ViT, with mmpretrain's names, as the DeiT III model that computes the same."""
    result = dict(state_dict)
    position = result['backbone.pos_embed']
    if _class_tokens(position.shape[1], grid):
        result['backbone.cls_token'] = result['backbone.cls_token'] + position[:, :1]
        result['backbone.pos_embed'] = position[:, 1:]
    for key in state_dict:
        block = re.match(r'backbone\.layers\.\d+(?=\.ln1\.weight$)', key)
        for scale in ('attn.gamma1.weight', 'ffn.gamma2.weight'):
            if block and f'{block[0]}.{scale}' not in state_dict:
                result[f'{block[0]}.{scale}'] = torch.ones_like(state_dict[key])
    return result


def _class_tokens(tokens: int, grid: tuple[int, int] | None) -> int:
    """How many entries of a position embedding belong to a class token: 0 or 1."""
    if grid is not None:
        rest = tokens - math.prod(grid)
    else:
        rest = 0 if is_square(tokens) else 1 if is_square(tokens - 1) else None
    if rest not in (0, 1):
        known = f'{grid[0]}x{grid[1]} patches' if grid else 'a square of patches'
        raise ConversionError(
            f'The {tokens} position embeddings are not those of {known}, with or without one for '
            f'the class token. Give the grid that they were trained for: --grid ROWS COLUMNS.'
        )
    return rest


def _rename(state_dict: StateDict, family: str, to_timm: bool) -> StateDict:
    result, unknown = {}, []
    for key, value in state_dict.items():
        if key.endswith(_COMPUTED):
            continue
        names = (rule.rename(key, to_timm) for rule in FAMILIES[family].rules)
        name = next((n for n in names if n is not None), None)
        if name is None:
            unknown.append(key)
        else:
            result[name] = value
    if unknown:
        more = f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''
        raise ConversionError(
            f'These {family} weights have parameters that the target architecture has not: '
            f'{", ".join(unknown[:5])}{more}. Distillation or register tokens and changed blocks '
            f'cannot be converted.'
        )
    return result


def _merge_patches(state_dict: StateDict) -> StateDict:
    """Reorder the inputs of Swin's patch merging; the same permutation in both directions.

    timm stacks the four neighbours column by column with their channels inside, mmpretrain's unfold
    has (channel, row, column).
    """
    result = dict(state_dict)
    for key, value in state_dict.items():
        if '.downsample.norm.' in key:
            value = value[None]
        elif '.downsample.reduction.' not in key:
            continue
        rows, inputs = value.shape
        target_is_mm = key.startswith('backbone.')
        shape = (rows, 2, 2, inputs // 4) if target_is_mm else (rows, inputs // 4, 2, 2)
        result[key] = value.view(shape).permute(0, 3, 2, 1).reshape(rows, inputs)
        if '.norm.' in key:
            result[key] = result[key][0]
    return result
