"""What the losses of all strategies are made of: targets, predictions that teach, and means."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['dense_target', 'mean_loss', 'precise', 'prediction_of']


def precise(logits: Tensor) -> Tensor:
    """Half precision is too coarse for a target: the sigmoid of fp16 logits saturates."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def dense_target(target: Tensor, logits: Tensor) -> Tensor:
    """A target for every class.

    Args:
        target: class indices, (batch,), or (batch, classes).
        logits: (..., batch, classes); its dtype is the result's.

    Raises:
        ValueError: a target of another shape.
    """
    batch, classes = logits.shape[-2:]
    if target.shape == (batch,):
        target = F.one_hot(target, classes)
    if target.shape != (batch, classes):
        raise ValueError(
            f'target must be ({batch},) or ({batch}, {classes}) for logits of shape '
            f'{tuple(logits.shape)}, got {tuple(target.shape)}.'
        )
    return target.to(logits.dtype)


def prediction_of(logits: Tensor, loss: str, teacher: str = 'soft') -> Tensor:
    """What a teacher with these scores teaches, (..., classes), without gradient.

    Args:
        logits: (..., classes).
        loss: ``'bce'``, whose soft prediction is the sigmoid, or ``'ce'``, the softmax.
        teacher: ``'soft'``, or ``'hard'`` for the most probable class alone.
    """
    logits = precise(logits.detach())
    if teacher == 'hard':
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    return logits.sigmoid() if loss == 'bce' else logits.softmax(dim=-1)


def mean_loss(
    logits: Tensor, target: Tensor, loss: str, class_weight: Tensor | None = None
) -> Tensor:
    """Mean over submodels and batch; for BCE over the classes too.

    Args:
        logits: (..., batch, classes).
        target: of the same shape.
        loss: ``'bce'`` or ``'ce'``.
        class_weight: (classes,), or None.
    """
    if loss == 'bce':
        return F.binary_cross_entropy_with_logits(logits, target, weight=class_weight)
    return F.cross_entropy(logits.flatten(0, -2), target.flatten(0, -2), weight=class_weight)
