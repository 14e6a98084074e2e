"""The supervised baseline of the paper: DeiT III's and RSB's loss on one network."""

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import check_loss_args
from cosub_mm.models.drop_path import drop_branches

from .head_loss import read_head_loss
from .targets import class_scores, recipe_target

__all__ = ['SupervisedClassifier']


@MODELS.register_module()
class SupervisedClassifier(ImageClassifier):
    """An ``ImageClassifier`` with the targets, loss and uniform stochastic depth of the baselines.

    It takes the arguments of :class:`CosubClassifier` that a single network has, so that changing
    ``model.type`` gives a cosub config its baseline (paper, Tables 1 to 8). Prediction and
    state_dict are ImageClassifier's own.

    Args:
        backbone: as in ImageClassifier.
        *args: further positional arguments of ImageClassifier.
        loss: ``'bce'``, the mean over batch and classes as in the code of DeiT III (a head's own
            sigmoid loss is the sum over classes), or ``'ce'``. It replaces the loss of the head,
            of which ``loss_weight``, ``class_weight`` and ``cal_acc`` are kept.
        drop_path_rate: stochastic depth rate of every block, in [0, 1); None keeps the backbone's.
        implementation: see :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        example_input: what the backbone is called with to search or prove its blocks; in a config
            its shape, e.g. ``(3, 3, 224, 224)``.
        bce_target_threshold: with BCE, a class whose mixed target exceeds it is a positive.
        label_smoothing: smoothing of the targets, in [0, 1).
        **kwargs: neck, head, train_cfg, data_preprocessor, ... of ImageClassifier.

    Raises:
        ValueError: an argument outside its range, a head whose own loss or options would be
            dropped, or several labels for an image.
    """

    def __init__(
        self,
        backbone: dict,
        *args,
        loss: str = 'bce',
        drop_path_rate: float | None = None,
        implementation: str = 'auto',
        schedule: str = 'uniform',
        example_input: Any = None,
        bce_target_threshold: float | None = 0.0,
        label_smoothing: float = 0.0,
        **kwargs,
    ) -> None:
        check_loss_args(1.0, loss, 'soft')
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing={label_smoothing} must lie in [0, 1).')
        super().__init__(backbone, *args, **kwargs)
        self.loss_name = loss
        self.bce_target_threshold = bce_target_threshold if loss == 'bce' else None
        self.label_smoothing = label_smoothing
        self.head_loss = read_head_loss(self, loss, label_smoothing)
        drop_branches(self.backbone, drop_path_rate, implementation, schedule, example_input)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Loss of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss``, a scalar, and accuracies where the head has ``cal_acc``.
        """
        logits = class_scores(self.head(self.extract_feat(inputs)), self.head)
        target = recipe_target(
            data_samples, logits.shape[-1], self.label_smoothing, self.bce_target_threshold
        )
        # Autocast computes both losses in fp32.
        target = target.to(logits.dtype) if logits.dtype == torch.float64 else target
        weight = self.head_loss.class_weight_like(logits)
        formula = {'bce': F.binary_cross_entropy_with_logits, 'ce': F.cross_entropy}
        loss = self.head_loss.weight * formula[self.loss_name](logits, target, weight=weight)
        return dict(loss=loss, **self.head_loss.accuracies(logits, data_samples))
