"""The loss that a classification head was given, as far as a classifier of ours honours it."""

from dataclasses import dataclass

import torch
from mmengine.logging import MMLogger
from mmpretrain.evaluation import Accuracy
from mmpretrain.models.heads import ClsHead
from mmpretrain.models.losses import CrossEntropyLoss, LabelSmoothLoss
from torch import Tensor, nn

__all__ = ['HeadLoss', 'read_head_loss']


@dataclass(frozen=True)
class HeadLoss:
    """What remains of a head's loss when its formula is replaced.

    Attributes:
        weight: ``loss_weight``, a factor of every term.
        class_weight: a weight for each class, of the label loss; None for equal weights.
        topk: accuracies to log, empty unless the head has ``cal_acc``.
    """

    weight: float = 1.0
    class_weight: tuple[float, ...] | None = None
    topk: tuple[int, ...] = ()

    def class_weight_like(self, logits: Tensor) -> Tensor | None:
        """The class weights as a tensor (classes,)."""
        return None if self.class_weight is None else logits.new_tensor(self.class_weight)

    def accuracies(self, logits: Tensor, data_samples: list) -> dict[str, Tensor]:
        """``accuracy_top-k`` in per cent, for logits (n * batch, classes) of n copies."""
        if not self.topk:
            return {}
        labels = getattr(data_samples, 'label', None)
        if labels is None:
            labels = torch.cat([sample.gt_label for sample in data_samples])
        copies = labels.repeat(len(logits) // len(labels))
        # Of raw scores mmpretrain counts those below 0 as wrong.
        values = Accuracy.calculate(logits.detach().softmax(1), copies, topk=self.topk)
        return {f'accuracy_top-{k}': value[0] for k, value in zip(self.topk, values)}


def read_head_loss(classifier: nn.Module, loss: str, label_smoothing: float) -> HeadLoss:
    """Check that nothing of the head's own loss is dropped without a word.

    The formula is the classifier's: ``loss='bce'`` or ``'ce'``. Of the head's, ``loss_weight``,
    ``class_weight`` and ``cal_acc`` are honoured.

    Args:
        classifier: an ImageClassifier, built.
        loss: what it trains with, ``'bce'`` or ``'ce'``.
        label_smoothing: its own smoothing.

    Raises:
        ValueError: the head has another kind of loss, or options that are not honoured; the message
            says what to set.
    """
    owner, head = type(classifier).__name__, getattr(classifier, 'head', None)
    if head is None:
        raise ValueError(f'{owner} needs a head that gives one score a class: set model.head.')
    _check_kind(owner, head)
    module = getattr(head, 'loss_module', None)
    if module is None:
        return HeadLoss()
    entropy = module.ce if isinstance(module, LabelSmoothLoss) else module
    _check_options(owner, module, entropy, loss)
    _check_smoothing(owner, module, label_smoothing)
    if loss == 'bce' and not entropy.use_sigmoid:
        MMLogger.get_current_instance().info(
            f"{owner} trains with binary cross-entropy (model.loss='bce') in place of the softmax "
            f"cross-entropy of {type(head).__name__}; model.loss='ce' keeps that."
        )
    return HeadLoss(
        float(module.loss_weight), _class_weight(head, entropy), _topk(owner, classifier, head)
    )


def _check_kind(owner: str, head: nn.Module) -> None:
    own = [
        name
        for name in ('loss', '_get_loss')
        if getattr(type(head), name, None) not in (None, getattr(ClsHead, name))
    ]
    if own:
        raise ValueError(
            f'{owner} replaces the loss of the head, and {type(head).__name__} computes its loss '
            f'in its own way (a margin, several labels or outputs, distillation, ...), which would '
            f"be dropped. Use a plain head such as LinearClsHead, or train with type='"
            f"ImageClassifier'."
        )
    module = getattr(head, 'loss_module', None)
    if module is not None and type(module) not in (CrossEntropyLoss, LabelSmoothLoss):
        raise ValueError(
            f"{owner} trains with model.loss='bce' or 'ce'; the {type(module).__name__} of "
            f'{type(head).__name__} would be dropped. Set model.head.loss to '
            f"dict(type='CrossEntropyLoss'), or train with type='ImageClassifier'."
        )


def _check_options(owner: str, module: nn.Module, entropy: nn.Module, loss: str) -> None:
    dropped = {
        'reduction': module.reduction != 'mean' and module.reduction,
        'pos_weight': entropy.pos_weight,
        'mode': getattr(module, 'mode', '') == 'multi_label' and 'multi_label',
    }
    for option, value in dropped.items():
        if value:
            raise ValueError(
                f'{owner} does not honour {option}={value!r} of the head, so it would be dropped. '
                f'Leave it out of model.head.loss.'
            )
    if entropy.use_sigmoid and loss == 'ce':
        raise ValueError(
            f"model.loss='ce' and use_sigmoid=True of the head contradict each other: {owner} "
            f"follows model.loss. Set model.loss='bce', or leave use_sigmoid out."
        )


def _check_smoothing(owner: str, module: nn.Module, label_smoothing: float) -> None:
    smoothing = getattr(module, 'label_smooth_val', 0)
    if getattr(module, 'mode', '') == 'classy_vision':
        smoothing /= 1 + smoothing
    if smoothing and abs(smoothing - label_smoothing) > 1e-9:
        raise ValueError(
            f'The head smooths labels by {smoothing:g}, and {owner}, which makes the targets '
            f'itself, by label_smoothing={label_smoothing:g}. Decide for one: '
            f'model.head.loss.label_smooth_val=0.0 trains without (DeiT III on ImageNet-1k); '
            f"model.label_smoothing={smoothing:g} smooths, with model.loss='ce' or, as ResNet "
            f'strikes back does, with model.bce_target_threshold=0.2.'
        )


def _class_weight(head: nn.Module, entropy: nn.Module) -> tuple[float, ...] | None:
    if entropy.class_weight is None:
        return None
    weights = tuple(float(weight) for weight in entropy.class_weight)
    classes = getattr(head, 'num_classes', len(weights))
    if len(weights) != classes:
        raise ValueError(
            f'class_weight of the head has {len(weights)} values for {classes} classes; give one '
            f'for each.'
        )
    return weights


def _topk(owner: str, classifier: nn.Module, head: nn.Module) -> tuple[int, ...]:
    if not getattr(head, 'cal_acc', False):
        return ()
    preprocessor = getattr(classifier, 'data_preprocessor', None)
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ValueError(
            f'cal_acc=True of the head: mixed images (model.train_cfg.augments) have no label that '
            f'{owner} could count as right. Leave one of the two out.'
        )
    return (head.topk,) if isinstance(head.topk, int) else tuple(head.topk)
