"""Co-training of two models: (d) of the paper's Figure 2."""

from copy import deepcopy

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import agreement, check_loss_args, cosub_loss

from .recipe import RecipeClassifier

__all__ = ['CoTrainingClassifier']


@MODELS.register_module()
class CoTrainingClassifier(RecipeClassifier):
    """Two ``ImageClassifier`` of one config and different weights, each the other's teacher.

    Each model learns by ``lam L(y1, y) + (1 - lam) L(y1, sg(y2))``, eq. 1 of the paper with the
    other model's scores; the loss is the sum of the two models', so that each has the gradient of
    its own.

    This model is the first; the second is its part ``peer``, of the same names. Prediction is the
    first model's, ImageClassifier's own; with it come ``peer_score`` and ``mean_score``, of which
    ``AccuracyBySource`` reports the accuracies beside its own. Weights of a plain ImageClassifier
    load into the first, and the second begins by itself; ``publish_model.py --member first`` or
    ``second`` writes either as a plain checkpoint.

    Args:
        backbone: config of the backbone of each.
        *args: further positional arguments of ImageClassifier.
        lam: weight of the label loss, in [0, 1] (.5 in the paper).
        loss: ``'bce'`` or ``'ce'``.
        teacher: ``'soft'`` or ``'hard'``.
        **kwargs: see :class:`.RecipeClassifier`.

    Raises:
        ValueError: an argument outside its range, or modules in the place of configs, of which two
            models with different weights cannot be built.
    """

    def __init__(
        self,
        backbone: dict,
        *args,
        lam: float = 0.5,
        loss: str = 'bce',
        teacher: str = 'soft',
        **kwargs,
    ) -> None:
        check_loss_args(lam, loss, teacher)
        parts = [backbone, *args, kwargs.get('neck'), kwargs.get('head')]
        if any(isinstance(part, torch.nn.Module) for part in parts):
            raise ValueError(
                'CoTrainingClassifier builds two models of one config: give backbone, neck and '
                'head as configs, not as modules.'
            )
        config = deepcopy((backbone, args, kwargs))
        super().__init__(backbone, *args, loss=loss, **kwargs)
        self.lam = lam
        self.teacher = teacher
        backbone, args, kwargs = config
        for mine in ('train_cfg', 'data_preprocessor', 'pretrained'):
            kwargs.pop(mine, None)
        self.peer = RecipeClassifier(backbone, *args, loss=loss, **kwargs)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step of both models.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss_label`` and ``loss_peer``, sums over the two models, whose sum is the loss, and
            ``agreement``, the share of images for which both have the same most probable class.
        """
        logits = torch.stack((self.scores(inputs), self.peer.scores(inputs)))
        losses = cosub_loss(
            logits,
            self.target(data_samples, logits),
            self.lam,
            self.loss_name,
            self.teacher,
            self.head_loss.class_weight_like(logits),
        )
        # Of two models, eq. 2's mean is half the sum.
        losses = dict(loss_label=2 * losses['loss_label'], loss_peer=2 * losses['loss_cosub'])
        losses = self.weighted(losses)
        losses['agreement'] = agreement(logits)
        losses.update(self.head_loss.accuracies(logits.flatten(0, 1), data_samples))
        return losses

    def predict(self, inputs: Tensor, data_samples: list | None = None, **kwargs) -> list:
        """Prediction of the first model, with the scores of the second and of their mean.

        Args:
            inputs: images, (batch, channels, height, width).
            data_samples: their annotation, which the predictions are added to.
            **kwargs: of the head's ``predict``.

        Returns:
            Samples with ``pred_score`` and ``pred_label`` of the first model, and probabilities
            ``peer_score`` and ``mean_score``, each (classes,).
        """
        samples = super().predict(inputs, data_samples, **kwargs)
        for sample, peer in zip(samples, self.peer.predict(inputs, **kwargs)):
            sample.set_field(peer.pred_score, 'peer_score')
            sample.set_field((sample.pred_score + peer.pred_score) / 2, 'mean_score')
        return samples

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth of a parameter for layer decay, in whichever model, and the number of depths."""
        return super().get_layer_depth(param_name.removeprefix('peer.'))
