"""What all training strategies share: the recipe's loss, targets and stochastic depth."""

from typing import Any

from mmpretrain.models import ImageClassifier
from torch import Tensor

from cosub_mm.losses import check_loss_args
from cosub_mm.models.drop_path import drop_branches, require_drop_rate

from .head_loss import read_head_loss
from .preprocessor import preprocessor_of
from .targets import class_scores, recipe_target

__all__ = ['RecipeClassifier']


class RecipeClassifier(ImageClassifier):
    """An ``ImageClassifier`` with the targets, loss and uniform stochastic depth of the recipes.

    A strategy is a subclass with a ``loss`` of its own. Prediction and state_dict are
    ImageClassifier's.

    Args:
        backbone: as in ImageClassifier.
        *args: further positional arguments of ImageClassifier.
        loss: ``'bce'``, the mean over batch and classes as in the code of DeiT III (a head's own
            sigmoid loss is the sum over classes), or ``'ce'``. It replaces the loss of the head,
            of which ``loss_weight``, ``class_weight`` (in the label loss) and ``cal_acc`` are kept;
            what would be dropped is refused.
        drop_path_rate: stochastic depth rate of every block, in [0, 1); None keeps the backbone's.
        implementation: how blocks are dropped, ``'auto'``, ``'subset'`` or ``'mask'``; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        example_input: what the backbone is called with to search or prove its blocks; in a config
            its shape, e.g. ``(3, 3, 224, 224)``.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        bce_target_threshold: with BCE, a class whose (mixed) target exceeds it is a positive: 0 in
            DeiT III, .2 in timm's runs of ResNet strikes back. None keeps the mixed targets.
        label_smoothing: smoothing of the targets, in [0, 1).
        needs_drop_rate: whether the strategy is nothing without stochastic depth.
        **kwargs: neck, head, train_cfg, data_preprocessor, ... of ImageClassifier.

    Raises:
        ValueError: an argument outside its range, a head whose own loss or options would be
            dropped, a smoothing that makes every class a positive, or no stochastic depth where
            the strategy needs it.
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
        find: str = 'drop_path',
        bce_target_threshold: float | None = 0.0,
        label_smoothing: float = 0.0,
        needs_drop_rate: bool = False,
        **kwargs,
    ) -> None:
        check_loss_args(1.0, loss, 'soft')
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing={label_smoothing} must lie in [0, 1).')
        kwargs['data_preprocessor'] = preprocessor_of(kwargs.get('data_preprocessor'))
        super().__init__(backbone, *args, **kwargs)
        self.loss_name = loss
        self.bce_target_threshold = bce_target_threshold if loss == 'bce' else None
        self.label_smoothing = label_smoothing
        self.head_loss = read_head_loss(self, loss, label_smoothing)
        if needs_drop_rate:
            require_drop_rate(self.backbone, drop_path_rate, type(self).__name__)
        drop_branches(self.backbone, drop_path_rate, implementation, schedule, example_input, find)

    def scores(self, inputs: Tensor) -> Tensor:
        """One score a class, (batch, classes), of images (batch, channels, height, width)."""
        return class_scores(self.head(self.extract_feat(inputs)), self.head)

    def target(self, data_samples: list, logits: Tensor) -> Tensor:
        """The recipe's targets, (batch, classes), for scores (..., batch, classes)."""
        return recipe_target(
            data_samples, logits.shape[-1], self.label_smoothing, self.bce_target_threshold
        )

    def weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms times the ``loss_weight`` of the head."""
        return {name: self.head_loss.weight * value for name, value in losses.items()}
