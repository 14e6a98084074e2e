"""Losses of the strategies beside cosub, as plain functions of tensors (paper, Figure 2)."""

import torch
from torch import Tensor

from .images import check_loss_args, submodel_loss
from .terms import dense_target, mean_loss, precise, prediction_of

__all__ = ['distillation_loss', 'label_loss', 'teacher_loss']


def label_loss(
    logits: Tensor, target: Tensor, loss: str = 'bce', class_weight: Tensor | None = None
) -> Tensor:
    """What one network, or several submodels, learn from the label: L(y1, y) of eq. 1.

    Args:
        logits: (batch, classes), or (num_submodels, batch, classes).
        target: class indices, (batch,), or a target for every class, (batch, classes).
        loss: ``'bce'``, the mean over batch and classes, or ``'ce'``, the mean over the batch.
        class_weight: (classes,), factors of the classes, or None.

    Returns:
        A scalar, the mean over the submodels too.
    """
    logits = precise(logits)
    target = dense_target(target, logits).expand_as(logits)
    with torch.autocast(logits.device.type, enabled=False):
        return mean_loss(logits, target, loss, class_weight)


def teacher_loss(
    logits: Tensor, taught_by: Tensor, loss: str = 'bce', teacher: str = 'soft'
) -> Tensor:
    """What one network, or several submodels, learn from a teacher: L(y1, sg(y2)) of eq. 2.

    Args:
        logits: (batch, classes), or (num_submodels, batch, classes).
        taught_by: the teacher's scores for the same images, (batch, classes). No gradient reaches
            them.
        loss: as in :func:`label_loss`.
        teacher: ``'soft'``, its probabilities (sigmoid for BCE, softmax for CE), or ``'hard'``,
            its most probable class.

    Returns:
        A scalar, the mean over the submodels too.

    Raises:
        ValueError: scores of another shape.
    """
    if taught_by.shape != logits.shape[-2:]:
        raise ValueError(
            f'The teacher scores {tuple(taught_by.shape)} and the student {tuple(logits.shape)}: '
            f'both must be of the same images and classes.'
        )
    logits = precise(logits)
    with torch.autocast(logits.device.type, enabled=False):
        taught = prediction_of(taught_by, loss, teacher).to(logits.dtype)
        return mean_loss(logits, taught.expand_as(logits), loss)


def distillation_loss(
    logits: Tensor,
    target: Tensor,
    taught_by: Tensor,
    lam: float = 0.5,
    loss: str = 'bce',
    teacher: str = 'soft',
    class_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Label loss and distillation loss, and with several submodels what these teach each other.

    With one network ``lam L(y1, y) + (1 - lam) L(y1, sg(t))``: eq. 1 with the teacher's scores t
    in the place of the other submodel's. With several submodels (Table 4, last row) the label
    keeps ``lam``, and the teacher and the other submodels have half of ``1 - lam`` each, which is
    ours: the paper does not say how it weighs the three.

    Args:
        logits: scores of the student, (batch, classes), or of its submodels, (num_submodels >= 2,
            batch, classes).
        target: class indices, (batch,), or a target for every class, (batch, classes).
        taught_by: the teacher's scores, (batch, classes).
        lam: weight of the label loss, in [0, 1].
        loss: ``'bce'`` or ``'ce'``, see :func:`label_loss`.
        teacher: ``'soft'`` or ``'hard'``, of all who teach.
        class_weight: (classes,), factors of the classes in the label loss, or None.

    Returns:
        ``loss_label``, ``loss_teacher`` and, with several submodels, ``loss_cosub``: scalars, the
        weights in them, whose sum is the loss.

    Raises:
        ValueError: an unknown ``loss`` or ``teacher``, ``lam`` outside [0, 1], or shapes that do
            not fit.
    """
    check_loss_args(lam, loss, teacher)
    several = logits.dim() == 3
    share = (1 - lam) / 2 if several else 1 - lam
    losses = dict(
        loss_label=lam * label_loss(logits, target, loss, class_weight),
        loss_teacher=share * teacher_loss(logits, taught_by, loss, teacher),
    )
    if several:
        losses['loss_cosub'] = share * submodel_loss(logits, loss, teacher)
    return losses
