"""Submodel co-training per pixel, as a plain function of tensors (paper, eq. 1 and 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .images import check_lam

__all__ = ['cosub_pixel_loss', 'pixel_accuracy', 'pixel_agreement']


def cosub_pixel_loss(
    logits: Tensor, target: Tensor, lam: float = 0.5, ignore_index: int = 255
) -> dict[str, Tensor]:
    """Label loss and co-training loss of submodels that classify every pixel.

    Eq. 1 and 2 of the paper with softmax cross-entropy and soft teachers, a pixel standing for an
    image: the mean over the pixels that have a label. Pixels of ``ignore_index`` are left out of
    both terms, and of the mean.

    Args:
        logits: scores of the submodels for the same images,
            (num_submodels, batch, classes, height, width).
        target: class indices, (batch, height, width).
        lam: weight of the label loss, in [0, 1]; the co-training loss has 1 - lam.
        ignore_index: label of the pixels that have none.

    Returns:
        ``loss_label`` and ``loss_cosub``, scalars whose sum is eq. 2; both are 0 where no pixel
        has a label.

    Raises:
        ValueError: ``lam`` outside [0, 1], fewer than two submodels, a target of another shape, or
            a label that is neither a class nor ``ignore_index``.
    """
    check_lam(lam)
    if logits.dim() != 5 or len(logits) < 2:
        raise ValueError(
            f'logits must be (num_submodels >= 2, batch, classes, height, width), got '
            f'{tuple(logits.shape)}.'
        )
    submodels, batch, classes, *size = logits.shape
    if target.shape != (batch, *size):
        raise ValueError(
            f'target must be {(batch, *size)} for logits of shape {tuple(logits.shape)}, got '
            f'{tuple(target.shape)}.'
        )
    valid = target != ignore_index
    _check_labels(target, valid, classes, ignore_index)
    # A softmax over 150 classes loses its tail in half precision.
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    with torch.autocast(logits.device.type, enabled=False):
        log_prob = logits.log_softmax(dim=2)
        label = F.nll_loss(
            log_prob.flatten(0, 1),
            target.repeat(submodels, 1, 1),
            ignore_index=ignore_index,
            reduction='sum',
        )
        prob = log_prob.detach().exp()
        # Cross-entropy is linear in the target: the mean over the other submodels is one target.
        others = (prob.sum(0, keepdim=True) - prob) / (submodels - 1)
        cross = -(others * log_prob).sum(dim=2)
        cross = cross.masked_fill(~valid, 0).sum()
        # At least 1, so that a batch without a single label has a loss of 0 and not of NaN.
        pixels = submodels * valid.sum().clamp(min=1)
        return dict(loss_label=lam * label / pixels, loss_cosub=(1 - lam) * cross / pixels)


def pixel_agreement(logits: Tensor, valid: Tensor) -> Tensor:
    """Share of labelled pixels for which two submodels have the same most probable class.

    Args:
        logits: (num_submodels, batch, classes, height, width).
        valid: the pixels that have a label, (batch, height, width).

    Returns:
        A scalar in [0, 1], the mean over all pairs of submodels; 0 without a labelled pixel.
    """
    decisions = logits.detach().argmax(dim=2)
    submodels = len(decisions)
    same = sum(
        ((decisions[i] == decisions[j]) & valid).sum()  # an index would wait for the device
        for i in range(submodels)
        for j in range(i + 1, submodels)
    )
    pairs = submodels * (submodels - 1) // 2
    return same / (pairs * valid.sum().clamp(min=1))


def pixel_accuracy(logits: Tensor, target: Tensor, ignore_index: int = 255) -> Tensor:
    """Share of the labelled pixels whose most probable class is the right one, in per cent.

    Args:
        logits: (batch, classes, height, width).
        target: class indices, (batch, height, width).
        ignore_index: label of the pixels that have none.

    Returns:
        A scalar in [0, 100]; 0 without a labelled pixel. The device is not waited for.
    """
    valid = target != ignore_index
    right = (logits.detach().argmax(dim=1) == target) & valid
    return 100.0 * right.sum() / valid.sum().clamp(min=1)


def _check_labels(target: Tensor, valid: Tensor, classes: int, ignore_index: int) -> None:
    # On a GPU the check would wait for the device; there the kernel itself asserts the range.
    if target.is_cuda or not bool(valid.any()):
        return
    labels = target[valid]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f'The masks hold labels from {low} to {high}, but the head has {classes} classes (0 to '
            f'{classes - 1}, and {ignore_index} to ignore). Check num_classes and '
            f'reduce_zero_label.'
        )
