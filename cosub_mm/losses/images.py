"""The losses of submodel co-training as plain functions of tensors (paper, section 3)."""

import torch
from torch import Tensor

from .divergence import symmetric_kl
from .terms import dense_target, mean_loss, precise, prediction_of

__all__ = [
    'CONSISTENCIES',
    'LOSSES',
    'TEACHERS',
    'agreement',
    'check_lam',
    'check_loss_args',
    'cosub_loss',
    'multi_hot',
    'smooth_labels',
    'submodel_loss',
]

LOSSES = ('bce', 'ce')
TEACHERS = ('soft', 'hard')
CONSISTENCIES = ('cosub', 'kl')


def cosub_loss(
    logits: Tensor,
    target: Tensor,
    lam: float = 0.5,
    loss: str = 'bce',
    teacher: str = 'soft',
    class_weight: Tensor | None = None,
    consistency: str = 'cosub',
) -> dict[str, Tensor]:
    """Label loss and co-training loss of several submodels (paper, eq. 1 and 2).

    Args:
        logits: scores of the submodels for the same images, (num_submodels, batch, classes).
        target: class indices, (batch,), or a target for every class, (batch, classes).
        lam: weight of the label loss, in [0, 1]; the co-training loss has 1 - lam.
        loss: ``'bce'``, the mean over batch and classes, or ``'ce'``, the mean over the batch.
        teacher: what a submodel learns from another one: its probabilities (``'soft'``) or, as in
            the hard distillation of DeiT, its most probable class (``'hard'``).
        class_weight: (classes,), factors of the classes in the label loss: of each class's own
            term with BCE, of the labelled class's with CE. The means stay over batch (and
            classes), so that weights of mean 1 keep the scale; the co-training loss has none.
        consistency: ``'cosub'``, eq. 2, in which each submodel learns from the others, or ``'kl'``,
            R-Drop's divergence in its place (:func:`symmetric_kl`, which ``teacher`` does not
            concern). R-Drop's weight of it beside the mean label loss is (1 - lam) / lam.

    Returns:
        ``loss_label`` and ``loss_cosub``, scalars whose sum is eq. 2. With more than two submodels
        the second is the mean over all ordered pairs.

    Raises:
        ValueError: an unknown ``loss``, ``teacher`` or ``consistency``, ``lam`` outside [0, 1],
            fewer than two submodels, or a target of another shape.
    """
    check_loss_args(lam, loss, teacher, consistency)
    if logits.dim() != 3 or len(logits) < 2:
        raise ValueError(
            f'logits must be (num_submodels >= 2, batch, classes), got {tuple(logits.shape)}.'
        )
    logits = precise(logits)
    target = dense_target(target, logits)
    with torch.autocast(logits.device.type, enabled=False):
        if consistency == 'kl':
            between = symmetric_kl(logits, loss)
        else:
            between = submodel_loss(logits, loss, teacher)
        return dict(
            loss_label=lam * mean_loss(logits, target.expand_as(logits), loss, class_weight),
            loss_cosub=(1 - lam) * between,
        )


def submodel_loss(logits: Tensor, loss: str = 'bce', teacher: str = 'soft') -> Tensor:
    """What the submodels learn from each other, the second term of eq. 1 without its weight.

    Args:
        logits: scores of the submodels for the same images, (num_submodels, batch, classes).
        loss: as in :func:`cosub_loss`.
        teacher: as in :func:`cosub_loss`.

    Returns:
        A scalar, the mean over all ordered pairs of submodels; no gradient reaches the teachers.
    """
    logits = precise(logits)
    with torch.autocast(logits.device.type, enabled=False):
        # Both losses are linear in the target: the mean over the other submodels' losses is the
        # loss against their mean prediction, so S submodels cost S terms and not S * (S - 1).
        prediction = prediction_of(logits, loss, teacher)
        others = (prediction.sum(0, keepdim=True) - prediction) / (len(logits) - 1)
        return mean_loss(logits, others, loss)


def agreement(logits: Tensor) -> Tensor:
    """Share of images for which two submodels have the same most probable class.

    Args:
        logits: (num_submodels, batch, classes).

    Returns:
        A scalar in [0, 1], the mean over all pairs of submodels.
    """
    decisions = logits.detach().argmax(dim=-1)
    same = (decisions[:, None] == decisions[None]).float().mean(dim=-1)
    pairs = len(decisions) * (len(decisions) - 1)
    return (same.sum() - len(decisions)) / pairs


def multi_hot(target: Tensor, threshold: float = 0.0) -> Tensor:
    """Make every class whose target exceeds the threshold a positive (``1[y > 0]`` in DeiT III).

    Args:
        target: targets in [0, 1], e.g. mixed by mixup or cutmix, (batch, classes).
        threshold: targets above it become 1, the others 0.

    Returns:
        The multi-hot target, same shape and dtype.

    Raises:
        ValueError: every class of every image would be positive, which label smoothing does to a
            threshold below smoothing / classes. Targets on a GPU are not looked at.
    """
    positive = target > threshold
    # Two classes may both be positive by mixing alone. On a GPU the look would wait for the device.
    if target.shape[1] > 2 and not target.is_cuda and bool(positive.all()):
        raise ValueError(
            f'Every target exceeds the threshold {threshold}, so every class of every image would '
            f'be a positive. Label smoothing does that: turn it off for the BCE loss, or raise the '
            f'threshold above smoothing / classes (here the least target is '
            f'{target.min().item():.3g}).'
        )
    return positive.to(target.dtype)


def smooth_labels(target: Tensor, smoothing: float) -> Tensor:
    """Mix a target with the uniform distribution: y (1 - eps) + eps / classes.

    Args:
        target: (batch, classes), each row of sum 1.
        smoothing: eps, in [0, 1).
    """
    return target * (1 - smoothing) + smoothing / target.shape[1]


def check_loss_args(lam: float, loss: str, teacher: str, consistency: str = 'cosub') -> None:
    """Raise a ValueError that names the allowed values."""
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown; choose 'bce' or 'ce'.")
    if teacher not in TEACHERS:
        raise ValueError(f"teacher={teacher!r} is unknown; choose 'soft' or 'hard'.")
    if consistency not in CONSISTENCIES:
        raise ValueError(f"consistency={consistency!r} is unknown; choose 'cosub' or 'kl'.")
    check_lam(lam)


def check_lam(lam: float) -> None:
    """Raise a ValueError that names the allowed range."""
    if not 0 <= lam <= 1:
        raise ValueError(f'lam={lam} must lie in [0, 1]: it weighs the label loss against 1 - lam.')
