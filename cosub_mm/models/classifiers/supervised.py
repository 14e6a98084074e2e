"""The supervised baseline of the paper: DeiT III's and RSB's loss on one network."""

from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import label_loss

from .recipe import RecipeClassifier

__all__ = ['SupervisedClassifier']


@MODELS.register_module()
class SupervisedClassifier(RecipeClassifier):
    """An ``ImageClassifier`` with the targets, loss and uniform stochastic depth of the baselines.

    It takes the arguments of :class:`CosubClassifier` that a single network has, so that changing
    ``model.type`` gives a cosub config its baseline (paper, Tables 1 to 8). Prediction and
    state_dict are ImageClassifier's own.

    Args:
        **kwargs: see :class:`.RecipeClassifier`.
    """

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Loss of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss``, a scalar, and accuracies where the head has ``cal_acc``.
        """
        logits = self.scores(inputs)
        target = self.target(data_samples, logits)
        weight = self.head_loss.class_weight_like(logits)
        losses = self.weighted(dict(loss=label_loss(logits, target, self.loss_name, weight)))
        return losses | self.head_loss.accuracies(logits, data_samples)
