"""Cosub as a task of timm, for timm's own train.py: one import there changes.

    from cosub_mm.timm import CosubTask as ClassificationTask

and ``train.py DATA --model deit3_base_patch16_224 --bce-loss --bce-target-thresh 0 --smoothing 0
--drop-path 0.2 ...`` co-trains. It needs torch and a timm that has ``timm.task`` (1.0.31
does), nothing else.
"""

from typing import Any

import torch
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.task import ClassificationTask
from timm.utils import unwrap_model
from torch import Tensor, nn

from .losses import agreement, check_loss_args, submodel_loss
from .stochastic_depth import apply_stochastic_depth, copy_batch_late, max_drop_rate

__all__ = ['CosubTask']


class CosubTask(ClassificationTask):
    """One training step of cosub (paper, eq. 1 and 2) behind timm's task interface.

    The label term is ``criterion`` itself, mean over the submodels, so that smoothing, mixup and
    thresholds stay what timm's options say; the submodels teach each other with the loss of the
    same kind, BCE or CE. Evaluation, checkpoints, EMA and DDP are ClassificationTask's.

    Args:
        model: any model whose residual blocks :func:`apply_stochastic_depth` knows or finds; it is
            changed in place.
        criterion: timm's BinaryCrossEntropy, SoftTargetCrossEntropy or LabelSmoothingCrossEntropy,
            or torch's CrossEntropyLoss. None is DeiT III's: BCE, mean over batch and classes, every
            class of a mixed target a positive.
        criterion_kwargs: as in ClassificationTask.
        drop_rate: stochastic depth rate of every block, in [0, 1); None keeps the rates that
            ``--drop-path`` gave the model, which timm lets grow over depth (the paper: uniform).
        lam: weight of the label loss (.5 in the paper, Table 5).
        num_submodels: copies of each image, at least 2.
        teacher: ``'soft'`` or ``'hard'`` (Table 3).
        implementation: see :func:`apply_stochastic_depth`; likewise the next three.
        schedule: ``'uniform'`` or ``'linear'``.
        example_input: what the model is called with to search or prove its blocks.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath.
        **kwargs: device, dtype, verbose of ClassificationTask.

    Raises:
        ValueError: an argument outside its range, a model without stochastic depth, or a criterion
            whose mean is not the one that eq. 1 weighs (sums, class weights).
        TypeError: a criterion of another class.

    Example:
        >>> task = CosubTask(timm.create_model('deit3_small_patch16_224'), drop_rate=0.05)
        >>> result = task(images, labels)
        >>> result['loss'].backward()
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module | None = None,
        criterion_kwargs: dict | None = None,
        *,
        drop_rate: float | None = None,
        lam: float = 0.5,
        num_submodels: int = 2,
        teacher: str = 'soft',
        implementation: str = 'auto',
        schedule: str = 'uniform',
        example_input: Any = None,
        find: str = 'drop_path',
        **kwargs,
    ) -> None:
        if criterion is None and not criterion_kwargs:
            criterion = BinaryCrossEntropy(smoothing=0.0, target_threshold=0.0)
        super().__init__(model, criterion, criterion_kwargs, **kwargs)
        self.kind = _kind(self.criterion)
        check_loss_args(lam, self.kind, teacher)
        if not isinstance(num_submodels, int) or num_submodels < 2:
            raise ValueError(f'num_submodels={num_submodels} must be an integer of at least 2.')
        self.lam, self.num_submodels, self.teacher = lam, num_submodels, teacher
        if not (max_drop_rate(model) if drop_rate is None else drop_rate):
            raise ValueError(
                'CosubTask needs stochastic depth, and the drop rate of every block is 0: the '
                'copies of an image would pass the same network and teach each other nothing. '
                'Give --drop-path to train.py, or drop_rate to CosubTask.'
            )
        apply_stochastic_depth(
            unwrap_model(model), drop_rate, schedule, implementation, example_input, find
        )

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of one step.

        Args:
            input: images, (batch, channels, height, width).
            target: class indices (batch,), or mixed targets (batch, classes).

        Returns:
            ``loss``, the sum of ``loss_label`` and ``loss_cosub`` (eq. 2); ``output``, the scores
            of the first submodel, (batch, classes); ``agreement`` of the submodels, in [0, 1].
        """
        scores = self._submodel_scores(input)
        target = torch.cat([target] * self.num_submodels)
        label = self.lam * self.criterion(scores, target)
        submodels = scores.unflatten(0, (self.num_submodels, len(input)))
        cosub = (1 - self.lam) * submodel_loss(submodels, self.kind, self.teacher)
        return dict(
            loss=label + cosub,
            output=submodels[0],
            loss_label=label.detach(),
            loss_cosub=cosub.detach(),
            agreement=agreement(submodels),
        )

    def _submodel_scores(self, images: Tensor) -> Tensor:
        """Scores of copy 1, then of copy 2, ..., (num_submodels * batch, classes)."""
        model = unwrap_model(self.trainable_module)
        if hasattr(self, 'eval_model'):  # compiled: a copy inside the graph would be another graph
            return self.trainable_module(torch.cat([images] * self.num_submodels))
        with copy_batch_late(model, images, self.num_submodels) as batch:
            return self.trainable_module(batch.inputs)


def _kind(criterion: nn.Module) -> str:
    """'bce' or 'ce', the loss by which submodels teach each other."""
    if isinstance(criterion, BinaryCrossEntropy):
        plain = criterion.reduction == 'mean' and not criterion.sum_classes
        plain = plain and criterion.weight is None and criterion.pos_weight is None
        kind = 'bce'
    elif isinstance(criterion, nn.CrossEntropyLoss):
        plain, kind = criterion.reduction == 'mean' and criterion.weight is None, 'ce'
    elif isinstance(criterion, SoftTargetCrossEntropy | LabelSmoothingCrossEntropy):
        plain, kind = True, 'ce'
    else:
        raise TypeError(
            f'CosubTask does not know how submodels teach each other by '
            f'{type(criterion).__name__}; use --bce-loss, or softmax cross-entropy.'
        )
    if not plain:
        raise ValueError(
            f'CosubTask weighs the label loss, a plain mean, against the loss between submodels; '
            f'{type(criterion).__name__} sums over classes or weighs them. Drop --bce-sum, '
            f'--bce-pos-weight and class weights.'
        )
    return kind
