"""Submodel co-training of an image classifier."""

from typing import Any

from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import agreement, check_loss_args, cosub_loss
from cosub_mm.models.drop_path import drop_branches, require_drop_rate
from cosub_mm.stochastic_depth import copy_batch_late

from .head_loss import read_head_loss
from .targets import class_scores, recipe_target

__all__ = ['CosubClassifier']


@MODELS.register_module()
class CosubClassifier(ImageClassifier):
    """An ``ImageClassifier`` trained by cosub (paper, section 3).

    Each augmented batch goes through the network ``num_submodels`` times at once; stochastic depth
    draws another submodel for every copy of an image, and each submodel learns from the label and
    from the others' predictions. Prediction and state_dict are ImageClassifier's own, so that
    checkpoints load either way and changing ``model.type`` is all that a config needs.

    Args:
        backbone: as in ImageClassifier.
        *args: further positional arguments of ImageClassifier.
        num_submodels: copies of each image, at least 2 (the paper's number).
        lam: weight of the label loss in eq. 1 (.5 in the paper, Table 5).
        loss: ``'bce'`` or ``'ce'`` (Table 3). It replaces the loss of the head, of which
            ``loss_weight``, ``class_weight`` (in the label loss) and ``cal_acc`` are kept; what
            would be dropped is refused.
        teacher: ``'soft'`` or ``'hard'`` (Table 3).
        drop_path_rate: stochastic depth rate of every block of the backbone, in [0, 1); None keeps
            the rates that the backbone was built with.
        implementation: how blocks are dropped, ``'auto'``, ``'subset'`` or ``'mask'``; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        example_input: what the backbone is called with to search or prove its blocks; in a config
            its shape, e.g. ``(3, 3, 224, 224)``.
        bce_target_threshold: with BCE, a class whose (mixed) target exceeds it is a positive: 0 in
            DeiT III, .2 in timm's runs of ResNet strikes back. None keeps the mixed targets.
        label_smoothing: smoothing of the targets, in [0, 1).
        **kwargs: neck, head, train_cfg, data_preprocessor, ... of ImageClassifier.

    Raises:
        ValueError: an argument outside its range, a head whose own loss or options would be
            dropped, several labels for an image, a smoothing that makes every class a positive,
            or no stochastic depth anywhere, which would make all copies equal.

    Example:
        >>> model = dict(
        ...     type='CosubClassifier',
        ...     backbone=dict(type='ResNet', depth=50),
        ...     neck=dict(type='GlobalAveragePooling'),
        ...     head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048),
        ...     drop_path_rate=0.1,
        ... )
    """

    def __init__(
        self,
        backbone: dict,
        *args,
        num_submodels: int = 2,
        lam: float = 0.5,
        loss: str = 'bce',
        teacher: str = 'soft',
        drop_path_rate: float | None = None,
        implementation: str = 'auto',
        schedule: str = 'uniform',
        example_input: Any = None,
        bce_target_threshold: float | None = 0.0,
        label_smoothing: float = 0.0,
        **kwargs,
    ) -> None:
        check_loss_args(lam, loss, teacher)
        if not isinstance(num_submodels, int) or num_submodels < 2:
            raise ValueError(f'num_submodels={num_submodels} must be an integer of at least 2.')
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing={label_smoothing} must lie in [0, 1).')
        super().__init__(backbone, *args, **kwargs)
        self.num_submodels = num_submodels
        self.lam = lam
        self.loss_name = loss
        self.teacher = teacher
        self.bce_target_threshold = bce_target_threshold if loss == 'bce' else None
        self.label_smoothing = label_smoothing
        self.head_loss = read_head_loss(self, loss, label_smoothing)
        require_drop_rate(self.backbone, drop_path_rate, 'CosubClassifier')
        drop_branches(self.backbone, drop_path_rate, implementation, schedule, example_input)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss_label`` and ``loss_cosub``, whose sum is eq. 2, and ``agreement``, the share of
            images for which two submodels have the same most probable class.
        """
        logits = self._submodel_logits(inputs)
        target = recipe_target(
            data_samples, logits.shape[-1], self.label_smoothing, self.bce_target_threshold
        )
        weight = self.head_loss.class_weight_like(logits)
        losses = cosub_loss(logits, target, self.lam, self.loss_name, self.teacher, weight)
        losses = {name: self.head_loss.weight * value for name, value in losses.items()}
        losses['agreement'] = agreement(logits)
        losses.update(self.head_loss.accuracies(logits.flatten(0, 1), data_samples))
        return losses

    def _submodel_logits(self, inputs: Tensor) -> Tensor:
        """Scores of the submodels, (num_submodels, batch, classes)."""
        # What lies before the first random branch is the same for all copies: it runs once.
        with copy_batch_late(self.backbone, inputs, self.num_submodels) as batch:
            logits = self.head(self.extract_feat(batch.inputs))
        logits = class_scores(logits, self.head)
        return logits.unflatten(0, (self.num_submodels, len(inputs)))
