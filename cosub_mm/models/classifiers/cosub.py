"""Submodel co-training of an image classifier."""

from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import agreement, check_loss_args, cosub_loss
from cosub_mm.models.copies import scores_of_copies

from .recipe import RecipeClassifier

__all__ = ['CosubClassifier']


@MODELS.register_module()
class CosubClassifier(RecipeClassifier):
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
        loss: ``'bce'`` or ``'ce'`` (Table 3).
        teacher: ``'soft'`` or ``'hard'`` (Table 3).
        consistency: ``'cosub'``, eq. 2, or ``'kl'``, R-Drop's symmetric divergence without
            stop-gradient in the place of what submodels learn from each other; see
            :func:`cosub_mm.losses.cosub_loss`.
        **kwargs: see :class:`.RecipeClassifier`, which has the recipe's loss, drop rate and
            targets, and ImageClassifier.

    While the drop rate is 0, as a schedule over time can make it, all copies of an image are equal:
    then one is computed, with the loss and gradients of ``num_submodels``.

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
        consistency: str = 'cosub',
        **kwargs,
    ) -> None:
        check_loss_args(lam, loss, teacher, consistency)
        if not isinstance(num_submodels, int) or num_submodels < 2:
            raise ValueError(f'num_submodels={num_submodels} must be an integer of at least 2.')
        super().__init__(backbone, *args, loss=loss, needs_drop_rate=True, **kwargs)
        self.num_submodels = num_submodels
        self.lam = lam
        self.teacher = teacher
        self.consistency = consistency

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss_label`` and ``loss_cosub``, whose sum is eq. 2, and ``agreement``, the share of
            images for which two submodels have the same most probable class.
        """
        logits = scores_of_copies(self, inputs, self.num_submodels)
        losses = cosub_loss(
            logits,
            self.target(data_samples, logits),
            self.lam,
            self.loss_name,
            self.teacher,
            self.head_loss.class_weight_like(logits),
            self.consistency,
        )
        losses = self.weighted(losses)
        losses['agreement'] = agreement(logits)
        losses.update(self.head_loss.accuracies(logits.flatten(0, 1), data_samples))
        return losses
