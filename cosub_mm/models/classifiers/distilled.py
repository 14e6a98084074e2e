"""Knowledge distillation: (b) of the paper's Figure 2, and with cosub the last row of Table 4."""

from collections.abc import Callable

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from cosub_mm.losses import agreement, check_loss_args, distillation_loss
from cosub_mm.models.copies import scores_of_copies

from .recipe import RecipeClassifier
from .teacher import Aside, load_teacher

__all__ = ['DistilledClassifier']


@MODELS.register_module()
class DistilledClassifier(RecipeClassifier):
    """An ``ImageClassifier`` that learns from the label and from a trained teacher.

    ``lam L(y1, y) + (1 - lam) L(y1, sg(t))``: eq. 1 of the paper with the scores t of a teacher
    that stays as it is. The teacher sees the student's own batch, augmented and mixed, in
    evaluation mode and without gradient; it is in no checkpoint of the student's. Prediction and
    state_dict are ImageClassifier's own.

    With ``num_submodels`` of 2 or more it is KD + cosub (Table 4, last row): the label keeps the
    weight ``lam``; the teacher and the other submodels teach with ``(1 - lam) / 2`` each. How the
    paper weighs the three it does not say: this is ours.

    Args:
        backbone: as in ImageClassifier.
        *args: further positional arguments of ImageClassifier.
        teacher: the config of a classifier of mmpretrain, a dict with ``type``, or the path of a
            config that has one as ``model``. ``dict(type='TimmClassifier', model_name=...)`` is one
            of timm's. Where both are known, its own normalisation is put in place of the
            student's. None for a model that only predicts, which needs no teacher.
        teacher_checkpoint: its weights, all of them; None where its config has ``pretrained=True``
            or an ``init_cfg`` with a checkpoint.
        teacher_size: side of the teacher's images in pixels, which are resized (bicubic); None for
            the student's.
        num_submodels: copies of each image; 1 is distillation alone.
        lam: weight of the label loss in eq. 1, in [0, 1] (.5 in the paper).
        loss: ``'bce'`` or ``'ce'``. The soft target is the teacher's sigmoid with BCE and its
            softmax with CE: a teacher that was trained with the other one is better taken hard.
        teacher_target: ``'soft'``, its probabilities, or ``'hard'``, its most probable class
            (DeiT's hard distillation).
        **kwargs: see :class:`.RecipeClassifier`.

    Raises:
        ValueError: an argument outside its range; a teacher without weights, whose checkpoint does
            not load whole, or with other classes; several submodels without stochastic depth.
    """

    def __init__(
        self,
        backbone: dict,
        *args,
        teacher: dict | str | None,
        teacher_checkpoint: str | None = None,
        teacher_size: int | None = None,
        num_submodels: int = 1,
        lam: float = 0.5,
        loss: str = 'bce',
        teacher_target: str = 'soft',
        **kwargs,
    ) -> None:
        check_loss_args(lam, loss, teacher_target)
        if not isinstance(num_submodels, int) or num_submodels < 1:
            raise ValueError(f'num_submodels={num_submodels} must be an integer of at least 1.')
        several = num_submodels > 1
        super().__init__(backbone, *args, loss=loss, needs_drop_rate=several, **kwargs)
        self.num_submodels = num_submodels
        self.lam = lam
        self.teacher_target = teacher_target
        self.teacher: Aside | None = None
        if teacher is not None:
            teaching = load_teacher(teacher, teacher_checkpoint, self, teacher_size)
            self.teacher, self.pixels = teaching

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss_label``, ``loss_teacher`` and, with several submodels, ``loss_cosub``, whose sum
            is the loss, and ``agreement``, the share of images for which two of the predictions
            (the teacher's among them) have the same most probable class.
        """
        if self.teacher is None:
            raise RuntimeError('DistilledClassifier(teacher=None) predicts; to train, name one.')
        taught_by = self.teacher(self.pixels(inputs))
        logits = scores_of_copies(self, inputs, self.num_submodels)
        losses = distillation_loss(
            logits if self.num_submodels > 1 else logits[0],
            self.target(data_samples, logits),
            taught_by,
            self.lam,
            self.loss_name,
            self.teacher_target,
            self.head_loss.class_weight_like(logits),
        )
        losses = self.weighted(losses)
        losses['agreement'] = agreement(torch.cat((logits.detach(), taught_by[None])))
        losses.update(self.head_loss.accuracies(logits.flatten(0, 1), data_samples))
        return losses

    def _apply(self, fn: Callable, recurse: bool = True) -> 'DistilledClassifier':
        """Take the teacher along to another device or precision."""
        super()._apply(fn, recurse)
        if getattr(self, 'teacher', None) is not None:
            self.teacher.move(fn)
        return self
