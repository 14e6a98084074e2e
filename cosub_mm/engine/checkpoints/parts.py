"""Which tensors of a model may differ from a checkpoint that it starts from."""

import re

from torch import nn

from .match import UNSURE, Match

__all__ = ['COMPUTED', 'Fit', 'fit_of', 'is_head']

# Learned for one resolution, or computed from the configuration.
_POSITIONS = ('pos_embed', 'absolute_pos_embed', 'relative_position_bias_table')
COMPUTED = ('relative_position_index', 'relative_coords_table', 'attn_mask')
_COUNTERS = ('num_batches_tracked', 'steps', 'n_averaged')


class Fit:
    """A match of weights to start from, seen as parts.

    Args:
        match: all names.
        anew: tensors that start anew and may: heads, position embeddings, what only this use has.
        lacking: tensors that should come from the checkpoint and do not.
        surplus: tensors of the checkpoint that belong to a part of the model and have no place in
            it: other depth, other blocks.
        unused: whole parts of the checkpoint that the model has not.
    """

    def __init__(
        self,
        match: Match,
        anew: list[str],
        lacking: list[str],
        surplus: list[str],
        unused: list[str],
    ) -> None:
        self.match, self.anew, self.lacking = match, anew, lacking
        self.surplus, self.unused = surplus, unused

    def __str__(self) -> str:
        text = f'{len(self.match.matched)}/{self.match.total} tensors of the model match'
        for names, label in (
            (self.lacking, 'of the backbone are not in the checkpoint'),
            (self.surplus, 'of the checkpoint are left over'),
            (self.anew, 'start anew'),
            (self.unused, 'of the checkpoint have no use here'),
            (self.match.unsure, UNSURE),
        ):
            if names:
                text += f'; {len(names)} {label} ({_short(names)})'
        return text


def fit_of(module: nn.Module, match: Match) -> Fit:
    """Sort the names of a match into parts.

    Heads, and whatever stands outside the backbone of a model, may be new. Of the backbone all must
    be there but position embeddings, buffers that are computed, and the norms behind single stages
    that only dense prediction has.

    Args:
        module: a model with a ``backbone``, or a part of a model.
        match: from :func:`~cosub_mm.engine.checkpoints.match.match_weights`.
    """
    backbone = getattr(module, 'backbone', None)
    scope = 'backbone.' if isinstance(backbone, nn.Module) else ''
    dense = _dense_norms(backbone if scope else module)
    anew, lacking = [], []
    for name in [*match.missing, *match.other_shape]:
        if _ends(name, COMPUTED):
            continue
        inner = name.removeprefix(scope)
        outside = not name.startswith(scope) and name in match.missing
        free = outside or is_head(name) or _ends(name, _POSITIONS) or inner.startswith(dense)
        (anew if free else lacking).append(name)
    own = {_top(name.removeprefix(scope)) for name in module.state_dict() if name.startswith(scope)}
    surplus, unused = [], []
    for name in match.unexpected:
        if _ends(name, (*COMPUTED, *_COUNTERS)):
            continue
        inside = name.startswith(scope) and _top(name.removeprefix(scope)) in own
        known = is_head(name) or _ends(name, _POSITIONS)
        (surplus if inside and not known else unused).append(name)
    return Fit(match, anew, lacking, surplus, unused)


def is_head(name: str) -> bool:
    """Whether a tensor belongs to a head: a part of the model with 'head' in its name."""
    return 'head' in name.partition('.')[0]


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.rpartition('.')[2] in endings


def _top(name: str) -> str:
    """The part of a backbone that a tensor belongs to; a wrapped timm model is looked into."""
    return name.removeprefix('timm_model.').partition('.')[0]


def _dense_norms(backbone: nn.Module) -> tuple[str, ...]:
    """Norms behind single stages; a classifier has the last one only."""
    indices = getattr(backbone, 'out_indices', None)
    if not isinstance(indices, list | tuple) or len(indices) < 2:
        return ()
    return tuple(
        f'{name}.' for name, _ in backbone.named_children() if re.fullmatch(r'norm\d+', name)
    )


def _short(names: list[str]) -> str:
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
