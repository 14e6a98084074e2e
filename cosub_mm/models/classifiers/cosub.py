"""Submodel co-training of an image classifier."""

from mmengine.logging import MMLogger
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import agreement, check_loss_args, cosub_loss
from cosub_mm.models.drop_path import drop_branches, require_drop_rate
from cosub_mm.stochastic_depth import copy_batch_late

from .targets import recipe_target

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
        loss: ``'bce'`` or ``'ce'`` (Table 3). It replaces the loss of the head.
        teacher: ``'soft'`` or ``'hard'`` (Table 3).
        drop_path_rate: stochastic depth rate of every block of the backbone, in [0, 1); None keeps
            the rates that the backbone was built with.
        implementation: how blocks are dropped, ``'auto'``, ``'subset'`` or ``'mask'``; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        bce_target_threshold: with BCE, a class whose (mixed) target exceeds it is a positive: 0 in
            DeiT III, .2 in timm's runs of ResNet strikes back. None keeps the mixed targets.
        label_smoothing: smoothing of the targets, in [0, 1).
        **kwargs: neck, head, train_cfg, data_preprocessor, ... of ImageClassifier.

    Raises:
        ValueError: an argument outside its range, a smoothing that makes every class a positive,
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
        require_drop_rate(self.backbone, drop_path_rate, 'CosubClassifier')
        drop_branches(self.backbone, drop_path_rate, implementation)
        self._tell_of_head_loss()

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
        losses = cosub_loss(logits, target, self.lam, self.loss_name, self.teacher)
        losses['agreement'] = agreement(logits)
        return losses

    def _submodel_logits(self, inputs: Tensor) -> Tensor:
        """Scores of the submodels, (num_submodels, batch, classes)."""
        # What lies before the first random branch is the same for all copies: it runs once.
        with copy_batch_late(self.backbone, inputs, self.num_submodels) as batch:
            logits = self.head(self.extract_feat(batch.inputs))
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            raise TypeError(
                f'{type(self.head).__name__} does not return one score a class, (batch, classes); '
                f'CosubClassifier needs a head that does, e.g. LinearClsHead.'
            )
        return logits.unflatten(0, (self.num_submodels, len(inputs)))

    def _tell_of_head_loss(self) -> None:
        """The head's loss is not used; say so where that changes the targets."""
        smoothing = getattr(getattr(self.head, 'loss_module', None), 'label_smooth_val', 0)
        if smoothing and smoothing != self.label_smoothing:
            MMLogger.get_current_instance().warning(
                f'The head smooths labels by {smoothing}, but CosubClassifier replaces its loss '
                f'and smooths by {self.label_smoothing} (model.label_smoothing). DeiT III trains '
                f'ImageNet-1k with BCE and without smoothing.'
            )
