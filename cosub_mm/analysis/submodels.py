"""Accuracy of submodels against the layers that they keep (paper, Figure 4)."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cosub_mm.stochastic_depth import apply_stochastic_depth, describe

__all__ = ['Parts', 'accuracy', 'kept_parts', 'only', 'residual_parts']

Parts = dict[str, list[str]]
UNITS = ('branch', 'block')


def residual_parts(model: nn.Module, unit: str = 'branch') -> Parts:
    """What of a model a submodel may leave out.

    Args:
        model: a classifier or a backbone; stochastic depth is put in, at a rate of 0, where it is
            not there yet.
        unit: ``'branch'``, each residual branch by itself (attention, MLP), or ``'block'``, all
            branches of a block together.

    Returns:
        Name of each part -> the modules where its branches end. Class attention, which training
        never drops, is left out.

    Raises:
        ValueError: an unknown unit, or no residual branch.
    """
    if unit not in UNITS:
        raise ValueError(f'unit={unit!r} is unknown; choose from {UNITS}.')
    report = describe(model) or apply_stochastic_depth(model, 0.0)
    parts: Parts = {}
    for branch in report.blocks:
        if 'class attention' in branch.reason:
            continue
        end = f'{branch.block}.{branch.end}'.strip('.')
        name = branch.block if unit == 'block' else end
        ends = parts.setdefault(name, [])
        if end not in ends:
            ends.append(end)
    return parts


def kept_parts(parts: Parts, keep: int, draw: int) -> list[str]:
    """The parts that one random submodel keeps, the same for each model of these parts.

    Args:
        parts: from :func:`residual_parts`.
        keep: how many.
        draw: number of the draw.

    Raises:
        ValueError: more parts than there are.
    """
    if not 0 <= keep <= len(parts):
        raise ValueError(f'keep={keep}: the model has {len(parts)} parts to keep, so 0 to that.')
    return random.Random(f'{keep} {draw}').sample(list(parts), keep)


@contextmanager
def only(model: nn.Module, parts: Parts, kept: Sequence[str], scale: bool = True) -> Iterator[None]:
    """Let a model be the submodel that keeps some parts.

    Args:
        model: in evaluation mode.
        parts: from :func:`residual_parts`.
        kept: names of the parts that stay.
        scale: multiply what stays by (all parts / kept parts), as training does; without it the
            stream is that of fewer layers, as LayerDrop prunes.
    """
    factor = len(parts) / len(kept) if scale and kept else 1.0
    handles = []

    def hook(value: float):
        def end(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            return output * value

        return end

    for name, ends in parts.items():
        value = factor if name in set(kept) else 0.0
        for end in ends:
            handles.append(model.get_submodule(end).register_forward_hook(hook(value)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def accuracy(model: nn.Module, batches: Iterable[dict], images: int | None = None) -> float:
    """Top-1 accuracy in per cent.

    Args:
        model: a classifier with ``test_step``, in evaluation mode.
        batches: of its data loader.
        images: stop behind so many; None for all.
    """
    right = seen = 0
    for batch in batches:
        for sample in model.test_step(batch):
            right += int(sample.pred_score.argmax()) == int(sample.gt_label)
            seen += 1
        if images is not None and seen >= images:
            break
    return 100 * right / max(seen, 1)
