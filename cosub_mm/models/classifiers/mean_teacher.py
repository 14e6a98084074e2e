"""Mean teacher: (c) of the paper's Figure 2."""

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from cosub_mm.losses import agreement, check_lam, check_loss_args, distillation_loss

from .recipe import RecipeClassifier
from .teacher import Aside

__all__ = ['MeanTeacherClassifier']


class _Network(nn.Module):
    """Backbone, neck and head of a classifier, without what belongs to its training."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = deepcopy(classifier.backbone)
        self.neck = deepcopy(classifier.neck)
        self.head = deepcopy(classifier.head)
        for module in self.modules():
            # Activation checkpointing wraps the original's forward, which a copy would call.
            if hasattr(vars(module).get('forward'), '__wrapped__'):
                del module.forward

    def forward(self, inputs: Tensor) -> Tensor:
        feats = self.backbone(inputs)
        return self.head(feats if self.neck is None else self.neck(feats))


@MODELS.register_module()
class MeanTeacherClassifier(RecipeClassifier):
    """An ``ImageClassifier`` that learns from the label and from the average of its own weights.

    ``lam L(y1, y) + (1 - lam) L(y1, sg(t))``, where t are the scores of a teacher whose weights are
    an exponential moving average of the model's (Tarvainen and Valpola, NeurIPS 2017). The teacher
    runs in evaluation mode: without stochastic depth and dropout, with running statistics.
    After each step ``teacher = m * teacher + (1 - m) * model``; buffers are taken as they are.

    The teacher is saved and resumed with the run, beside the weights (``mean_teacher`` of a
    checkpoint; ``--weights-key mean_teacher`` of test.py and publish_model.py), by a hook that
    ``tools/train.py`` adds. With another Runner put ``dict(type='MeanTeacherHook')`` into
    ``custom_hooks``; in a loop of your own call :meth:`start_teacher` before the first step and
    :meth:`update_teacher` after each. Prediction and state_dict are ImageClassifier's own, of the
    model that is trained.

    Args:
        backbone: as in ImageClassifier.
        *args: further positional arguments of ImageClassifier.
        momentum: m, in [0, 1). The paper searched for it and does not give it; .999 is
            Tarvainen and Valpola's.
        momentum_start: m at the first step, from which it goes to ``momentum`` along half a cosine;
            None for ``momentum`` from the start.
        momentum_steps: steps that it takes.
        lam: weight of the label loss, in [0, 1] (.5 in the paper).
        loss: ``'bce'`` or ``'ce'``.
        teacher_target: ``'soft'`` or ``'hard'``.
        **kwargs: see :class:`.RecipeClassifier`.

    Raises:
        ValueError: an argument outside its range.
    """

    own_hooks = (dict(type='mmengine.MeanTeacherHook'),)

    def __init__(
        self,
        backbone: dict,
        *args,
        momentum: float = 0.999,
        momentum_start: float | None = None,
        momentum_steps: int = 0,
        lam: float = 0.5,
        loss: str = 'bce',
        teacher_target: str = 'soft',
        **kwargs,
    ) -> None:
        check_lam(lam)
        check_loss_args(lam, loss, teacher_target)
        start = momentum if momentum_start is None else momentum_start
        for name, value in (('momentum', momentum), ('momentum_start', start)):
            if not 0 <= value < 1 and not (name == 'momentum' and value == 1 and start < 1):
                raise ValueError(
                    f'{name}={value} must lie in [0, 1): at 1 the teacher would never learn.'
                )
        if (momentum_start is None) != (momentum_steps == 0) or momentum_steps < 0:
            raise ValueError(
                f'momentum_start={momentum_start} and momentum_steps={momentum_steps} belong '
                f'together: the steps in which the momentum goes from one to the other, at least 1.'
            )
        super().__init__(backbone, *args, loss=loss, **kwargs)
        self.momentum, self.momentum_start, self.momentum_steps = momentum, start, momentum_steps
        self.lam = lam
        self.teacher_target = teacher_target
        self.teacher: Aside | None = None
        self.updates = 0

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their labels, or mixed scores where mixup or cutmix made them.

        Returns:
            ``loss_label`` and ``loss_teacher``, whose sum is the loss, and ``agreement``, the share
            of images for which model and teacher have the same most probable class.

        Raises:
            RuntimeError: there is no teacher, since nobody keeps it.
        """
        if self.teacher is None:
            raise RuntimeError(
                'MeanTeacherClassifier has no teacher yet. tools/train.py adds the hook that makes '
                "and updates it; with another Runner put dict(type='MeanTeacherHook') into "
                'custom_hooks, in a loop of your own call start_teacher() before the first step '
                'and update_teacher() after each.'
            )
        taught_by = self.teacher(inputs)
        logits = self.scores(inputs)
        losses = distillation_loss(
            logits,
            self.target(data_samples, logits),
            taught_by,
            self.lam,
            self.loss_name,
            self.teacher_target,
            self.head_loss.class_weight_like(logits),
        )
        losses = self.weighted(losses)
        losses['agreement'] = agreement(torch.stack((logits.detach(), taught_by)))
        losses.update(self.head_loss.accuracies(logits, data_samples))
        return losses

    def start_teacher(self) -> None:
        """Make the teacher, equal to the model as it is now."""
        self.teacher, self.updates = Aside(_Network(self)), 0

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Take one step of the average, behind a step of the optimizer."""
        momentum = self.present_momentum()
        own = {name: getattr(self, name) for name in ('backbone', 'neck', 'head')}
        for name, part in own.items():
            if part is None:
                continue
            its = getattr(self.teacher.module, name)
            pairs = list(zip(its.parameters(), part.parameters(), strict=True))
            if pairs:
                torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - momentum)
            for buffer, new in zip(its.buffers(), part.buffers(), strict=True):
                buffer.copy_(new)
        self.updates += 1

    def present_momentum(self) -> float:
        """The momentum of the next update."""
        if self.updates >= self.momentum_steps:
            return self.momentum
        left = (1 + math.cos(math.pi * self.updates / self.momentum_steps)) / 2
        return self.momentum + (self.momentum_start - self.momentum) * left

    def teacher_state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of the teacher, in the way of mmengine's averaged models.

        Returns:
            Its weights, named as the model's with ``module.`` before them, and ``steps``.
        """
        weights = self.teacher.module.state_dict(prefix='module.')
        return dict(weights, steps=torch.tensor(self.updates))

    def load_teacher_state(self, state: dict[str, Tensor]) -> None:
        """Go on with a teacher of :meth:`teacher_state`."""
        self.start_teacher()
        weights = {k.removeprefix('module.'): v for k, v in state.items() if k != 'steps'}
        self.teacher.module.load_state_dict(weights)
        self.updates = int(state['steps'])

    def _apply(self, fn: Callable, recurse: bool = True) -> 'MeanTeacherClassifier':
        """Take the teacher along to another device or precision."""
        super()._apply(fn, recurse)
        if getattr(self, 'teacher', None) is not None:
            self.teacher.move(fn)
        return self
