"""Targets of a batch as the recipes have them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosub_mm.losses import multi_hot, smooth_labels

from .preprocessor import BatchSamples

__all__ = ['SeveralLabelsError', 'class_scores', 'recipe_target']


class HeadOutputError(TypeError):
    """A head that does not return scores."""


class SeveralLabelsError(ValueError):
    """An image that has not exactly one label."""


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
        SeveralLabelsError: an image with several labels, or none.
        ValueError: smoothing and threshold would make every class a positive.
    """
    together = isinstance(data_samples, BatchSamples) and data_samples.label is not None
    if not together:
        _check_single_labels(data_samples)
    _check_threshold(num_classes, smoothing, threshold)
    if together:
        score = data_samples.score
        target = (F.one_hot(data_samples.label, num_classes) if score is None else score).float()
    elif 'gt_score' in data_samples[0]:
        target = torch.stack([sample.gt_score for sample in data_samples]).float()
    else:
        labels = torch.cat([sample.gt_label for sample in data_samples])
        target = F.one_hot(labels, num_classes).float()
    if smoothing:
        target = smooth_labels(target, smoothing)
    return target if threshold is None else multi_hot(target, threshold)


def class_scores(scores: object, head: nn.Module) -> Tensor:
    """What a head returned, if it is one score a class, (batch, classes).

    Raises:
        HeadOutputError: it is anything else.
    """
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        raise HeadOutputError(
            f'{type(head).__name__} does not return one score a class, (batch, classes), while it '
            f'trains; use a head that does, e.g. LinearClsHead.'
        )
    return scores


def _check_threshold(num_classes: int, smoothing: float, threshold: float | None) -> None:
    """Known to the host, which need not ask the device for the targets."""
    if threshold is not None and num_classes > 2 and smoothing / num_classes > threshold:
        raise ValueError(
            f'Every target exceeds the threshold {threshold}, so every class of every image would '
            f'be a positive: label smoothing of {smoothing} gives each of {num_classes} classes '
            f'{smoothing / num_classes:.3g}. Turn it off for the BCE loss, or raise the threshold '
            f'above that.'
        )


def _check_single_labels(data_samples: list) -> None:
    for sample in data_samples:
        labels = sample.get('gt_label')
        if labels is not None and labels.numel() != 1:
            raise SeveralLabelsError(
                f'{sample.get("img_path", "An image")} has {labels.numel()} labels '
                f'({labels.tolist()}); these classifiers learn from one label an image. Train '
                f"several labels with type='ImageClassifier' and a MultiLabelLinearClsHead."
            )
