"""Targets of a batch as the recipes have them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cosub_mm.losses import multi_hot, smooth_labels

__all__ = ['recipe_target']


def recipe_target(
    data_samples: list, num_classes: int, smoothing: float = 0.0, threshold: float | None = None
) -> Tensor:
    """Mixed, smoothed and, for BCE, thresholded targets.

    Args:
        data_samples: samples with a ``gt_label``, or a ``gt_score`` where mixup or cutmix made one.
        num_classes: number of classes.
        smoothing: label smoothing in [0, 1).
        threshold: classes whose target exceeds it become positives; None keeps the mixed targets.

    Returns:
        Targets, (batch, num_classes).

    Raises:
        ValueError: smoothing and threshold would make every class a positive.
    """
    if 'gt_score' in data_samples[0]:
        target = torch.stack([sample.gt_score for sample in data_samples]).float()
    else:
        labels = torch.cat([sample.gt_label for sample in data_samples])
        target = F.one_hot(labels, num_classes).float()
    if smoothing:
        target = smooth_labels(target, smoothing)
    return target if threshold is None else multi_hot(target, threshold)
