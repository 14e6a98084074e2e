"""The grid of patches that a position embedding was learned for.

An embedding is a list of rows, and a count does not tell a grid: every picture of 16:9 has a square
number of patches (9k x 16k = 12k x 12k), so that its embedding, taken for square, loads without a
word and scrambled. The grid therefore travels in the meta data of ``state_dict`` (which torch and
mmengine save with it), where no key changes; weights that say nothing are taken for square, as all
public ones are, unless that could be wrong.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

__all__ = [
    'PositionGridError',
    'SourceGrid',
    'check_grid',
    'find_grid',
    'grid_of_init_cfg',
    'is_square',
    'keep_notes',
    'note_grid',
    'noted_grid',
    'unsure_embeddings',
    'with_note',
]

Grid = tuple[int, int]
NOTE = 'position_grid'


class PositionGridError(ValueError):
    """It cannot be known which place each position embedding belongs to."""


class SourceGrid(NamedTuple):
    """Rows and columns of a loaded position embedding, and how they are known."""

    grid: Grid
    reason: str

    def resized(self, own: Grid, mode: str) -> str:
        """A line for the log."""
        old, new = ('x'.join(map(str, grid)) for grid in (self.grid, own))
        return (
            f'Resize the position embeddings from {old} to {new} patches ({mode}; {old}: '
            f'{self.reason}).'
        )


def note_grid(module: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """State dict hook of a module that loads an embedding for its ``position_grid``.

    Give it to ``module.register_state_dict_post_hook``.
    """
    del state_dict, prefix
    if module.position_grid is not None:
        local_metadata[NOTE] = tuple(module.position_grid)


def noted_grid(metadata: Mapping | None) -> Grid | None:
    """The grid in a module's own part of the meta data, as loading hooks are given it."""
    grid = (metadata or {}).get(NOTE)
    return tuple(grid) if grid is not None else None


def keep_notes(result: Mapping[str, Tensor], source: Mapping, strip: str = '') -> OrderedDict:
    """Put the notes of ``source`` on weights that were taken out of it.

    Args:
        result: the weights, by name.
        source: the ``state_dict`` they are from.
        strip: beginning that the names have lost, e.g. ``'backbone.'``.
    """
    kept = OrderedDict(result)
    kept._metadata = OrderedDict()
    for name, entry in getattr(source, '_metadata', {}).items():
        if isinstance(entry, Mapping) and NOTE in entry and f'{name}.'.startswith(strip):
            kept._metadata[f'{name}.'[len(strip) :].removesuffix('.')] = {NOTE: entry[NOTE]}
    return kept


def with_note(result: Mapping[str, Tensor], module: str, grid: Grid | None) -> OrderedDict:
    """Weights with the note that the embedding of ``module`` (its name, or '') has ``grid``."""
    noted = OrderedDict(result)
    noted._metadata = OrderedDict({module: {NOTE: tuple(grid)}} if grid else {})
    return noted


def grid_of_init_cfg(init_cfg: dict | Sequence[dict] | None) -> Grid | None:
    """What the checkpoint of ``init_cfg`` says of the grid; mmengine loses it with a prefix.

    Args:
        init_cfg: of the module that loads the embedding; others than 'Pretrained' say nothing.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []:
        if cfg.get('type') == 'Pretrained' and cfg.get('prefix'):
            loaded = CheckpointLoader.load_checkpoint(cfg['checkpoint'], map_location='cpu')
            metadata = getattr(loaded.get('state_dict', loaded), '_metadata', {})
            return noted_grid(metadata.get(cfg['prefix'].removesuffix('.')))
    return None


def check_grid(grid: object, name: str = 'pretrained_grid') -> Grid | None:
    """The option of a config as (rows, columns), or None.

    Raises:
        ValueError: not two positive integers.
    """
    if grid is None:
        return None
    good = isinstance(grid, Sequence) and len(grid) == 2
    if not good or not all(isinstance(n, int) and n > 0 for n in grid):
        raise ValueError(f'{name}={grid!r} must be (rows, columns), two positive integers.')
    return tuple(grid)


def find_grid(
    tokens: int, own: Grid, noted: Grid | None = None, given: Grid | None = None
) -> SourceGrid:
    """The grid of a loaded embedding.

    In this order: what the weights say; what the user says; the model's own grid if its count is
    equal and it is square, or the count is no square's; a square.

    Args:
        tokens: position embeddings of patches in the checkpoint, without class token.
        own: rows and columns of the model.
        noted: what the checkpoint says.
        given: what the config says, ``pretrained_grid``.

    Raises:
        PositionGridError: the weights do not say, and no guess is safe: the count is no square, or
            it is that of the model's own grid, which is not square.
    """
    if noted is not None and math.prod(noted) == tokens:
        return SourceGrid(noted, 'as the checkpoint says')
    if given is not None and math.prod(given) == tokens:
        return SourceGrid(given, 'as pretrained_grid says')
    side, equal = math.isqrt(tokens), math.prod(own) == tokens
    if equal and (own[0] == own[1] or not is_square(tokens) or given is not None):
        return SourceGrid(own, "the model's own")
    option = 'Say which it is: pretrained_grid=(rows, columns) in the backbone.'
    if equal:
        raise PositionGridError(
            f'The {tokens} position embeddings of the checkpoint may be those of {side}x{side} '
            f"patches, as of most public weights, or of {own[0]}x{own[1]}, the model's own; the "
            f'checkpoint does not say, and the wrong one loads scrambled. {option}'
        )
    if not is_square(tokens):
        hint = f', which {math.prod(given)} of {given[0]}x{given[1]} are not' if given else ''
        raise PositionGridError(
            f'The {tokens} position embeddings of the checkpoint fill no square{hint}, and it does '
            f'not say which grid they are for. {option} Where one of them belongs to a class '
            f'token, tools/model_converters/convert.py takes it out.'
        )
    return SourceGrid((side, side), 'taken for square: the checkpoint does not say')


def is_square(number: int) -> bool:
    """Whether a number of patches could be a square grid."""
    return math.isqrt(number) ** 2 == number


def unsure_embeddings(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Position embeddings that a backbone of another library takes as they are, by their count.

    Those of a grid that is not square and has a square number of patches: the weights may be for
    the square. Backbones of ours ask instead (:func:`find_grid`).

    Args:
        model: the model that would load the weights.
        weights: by name.

    Returns:
        Their names.
    """
    known = [
        name for name, m in model.named_modules() if getattr(m, 'position_grid', None) is not None
    ]
    unsure = []
    for name, module in model.named_modules():
        key = f'{name}.pos_embed'.removeprefix('.')
        own, grid = getattr(module, 'pos_embed', None), _grid_of(module)
        ours = any(
            name == other or name.startswith(f'{other}.' if other else '') for other in known
        )
        if ours or grid is None or not isinstance(own, nn.Parameter) or own.dim() != 3:
            continue
        equal = key in weights and weights[key].shape == own.shape
        if equal and grid[0] != grid[1] and is_square(math.prod(grid)):
            unsure.append(key)
    return unsure


def _grid_of(module: nn.Module) -> Grid | None:
    """Rows and columns of a backbone of mmpretrain, mmseg or timm."""
    embed = getattr(module, 'patch_embed', None)
    for holder, name in (
        (module, 'patch_resolution'),
        (embed, 'init_out_size'),
        (embed, 'grid_size'),
    ):
        grid = getattr(holder, name, None)
        if isinstance(grid, Sequence) and len(grid) == 2:
            return tuple(grid)
    return None
