"""Submodel co-training of a segmentation network."""

from typing import Any

from mmengine.logging import MMLogger
from mmseg.models import EncoderDecoder
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor

from cosub_mm.losses import check_lam, cosub_pixel_loss, pixel_accuracy, pixel_agreement
from cosub_mm.models.drop_path import drop_branches, require_drop_rate
from cosub_mm.stochastic_depth import copy_batch_late

from .head_loss import (
    WaitFreeHeads,
    keeps_base_loss,
    loss_of_head,
    plain_cross_entropy,
    target_of,
)

__all__ = ['CosubSegmentor']


@MODELS.register_module()
class CosubSegmentor(WaitFreeHeads, EncoderDecoder):
    """An ``EncoderDecoder`` trained by cosub on the segmentation loss itself.

    The paper pre-trains with cosub and fine-tunes UperNet without it; this goes beyond. Each batch
    goes through the network ``num_submodels`` times at once, stochastic depth draws another
    submodel for every copy of an image, and each submodel learns every pixel from the label and
    from the others' predictions. Auxiliary heads learn from the label alone. Prediction and
    state_dict are EncoderDecoder's own, so that checkpoints load either way and changing
    ``model.type`` and giving ``drop_path_rate`` is all that a config needs.

    Args:
        backbone: as in EncoderDecoder.
        decode_head: any head of mmseg whose output is one score a class and pixel. Its loss must
            be a plain softmax CrossEntropyLoss, whose formula and ``loss_weight`` are kept; the
            means are over the labelled pixels (``avg_non_ignore=True``).
        num_submodels: copies of each image, at least 2 (the paper's number).
        lam: weight of the label loss in eq. 1 (.5 in the paper, Table 5, for classification).
        drop_path_rate: stochastic depth rate of every block of the backbone, in [0, 1); None keeps
            the rates that the backbone was built with.
        implementation: how blocks are dropped, ``'auto'``, ``'subset'`` or ``'mask'``; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        schedule: ``'uniform'`` (the paper) or ``'linear'``, from 0 to the rate over depth.
        example_input: what the backbone is called with to search or prove its blocks; in a config
            its shape, e.g. ``(3, 3, 224, 224)``.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.
        **kwargs: neck, auxiliary_head, train_cfg, test_cfg, ... of EncoderDecoder.

    Raises:
        ValueError: an argument outside its range, a head whose loss is of another kind, or no
            stochastic depth anywhere, which would make all copies equal.

    Example:
        >>> model = dict(
        ...     type='CosubSegmentor',
        ...     backbone=dict(type='ResNetV1c', depth=50, out_indices=(0, 1, 2, 3)),
        ...     decode_head=dict(
        ...         type='FCNHead', in_channels=2048, channels=512, num_classes=150, in_index=3
        ...     ),
        ...     test_cfg=dict(mode='whole'),
        ...     drop_path_rate=0.1,
        ... )
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        *args,
        num_submodels: int = 2,
        lam: float = 0.5,
        drop_path_rate: float | None = None,
        implementation: str = 'auto',
        schedule: str = 'uniform',
        example_input: Any = None,
        find: str = 'drop_path',
        **kwargs,
    ) -> None:
        check_lam(lam)
        if not isinstance(num_submodels, int) or num_submodels < 2:
            raise ValueError(f'num_submodels={num_submodels} must be an integer of at least 2.')
        super().__init__(backbone, decode_head, *args, **kwargs)
        self.num_submodels = num_submodels
        self.lam = lam
        self._check_head_loss()
        require_drop_rate(self.backbone, drop_path_rate, 'CosubSegmentor')
        drop_branches(self.backbone, drop_path_rate, implementation, schedule, example_input, find)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of one training step.

        Args:
            inputs: augmented images, (batch, channels, height, width).
            data_samples: their masks, ``gt_sem_seg`` of (1, height, width).

        Returns:
            ``decode.loss_label`` and ``decode.loss_cosub``, whose sum is eq. 2 times the head's
            ``loss_weight``; ``decode.acc_seg``, the pixel accuracy in per cent;
            ``decode.agreement``, the share of labelled pixels for which two submodels agree; and
            the losses of the auxiliary heads.
        """
        with copy_batch_late(self.backbone, inputs, self.num_submodels) as batch:
            feats = self.extract_feat(batch.inputs)
        losses = self._decode_head_losses(feats, data_samples)
        if self.with_auxiliary_head:
            copies = list(data_samples) * self.num_submodels
            losses.update(self._auxiliary_head_forward_train(feats, copies))
        return losses

    def _decode_head_losses(self, feats: list[Tensor], data_samples: list) -> dict[str, Tensor]:
        head = self.decode_head
        target = target_of(data_samples)
        logits = self._upsampled_logits(feats, target.shape[-2:])
        submodels = logits.unflatten(0, (self.num_submodels, len(target)))
        losses = cosub_pixel_loss(submodels, target, self.lam, head.ignore_index)
        weight = loss_of_head(head).loss_weight
        copies = target.repeat(self.num_submodels, 1, 1)
        return {
            'decode.loss_label': weight * losses['loss_label'],
            'decode.loss_cosub': weight * losses['loss_cosub'],
            'decode.acc_seg': pixel_accuracy(logits, copies, head.ignore_index),
            'decode.agreement': pixel_agreement(submodels, target != head.ignore_index),
        }

    def _upsampled_logits(self, feats: list[Tensor], size: tuple[int, int]) -> Tensor:
        logits = self.decode_head(feats)
        if not isinstance(logits, Tensor) or logits.dim() != 4:
            raise TypeError(
                f'{type(self.decode_head).__name__} does not return one score a class and pixel, '
                f'(batch, classes, height, width); CosubSegmentor needs a head that does, e.g. '
                f'UPerHead, DepthwiseSeparableASPPHead or SegmenterMaskTransformerHead.'
            )
        return resize(logits, size=size, mode='bilinear', align_corners=self.align_corners)

    def _check_head_loss(self) -> None:
        """The formula replaces the head's loss, so the two must be the same for one submodel."""
        head, loss = self.decode_head, loss_of_head(self.decode_head)
        if not keeps_base_loss(head):
            raise ValueError(
                f'{type(head).__name__} computes its loss in its own way (several outputs, '
                f'points, further terms), which CosubSegmentor would drop. Use a head with one '
                f'score a class and pixel, such as UPerHead, or SupervisedSegmentor.'
            )
        if not plain_cross_entropy(head):
            raise ValueError(
                f'CosubSegmentor co-trains on softmax cross-entropy; the loss of '
                f'{type(head).__name__} is {type(loss).__name__} with sigmoid, masks, class '
                f'weights, a pixel sampler, or several terms. Use '
                f"loss_decode=dict(type='CrossEntropyLoss') without sampler."
            )
        if loss.reduction != 'mean' or 'loss' not in loss.loss_name:
            raise ValueError(
                f'CosubSegmentor trains on the mean over pixels and logs loss_label and '
                f'loss_cosub; reduction={loss.reduction!r} and loss_name={loss.loss_name!r} (a '
                f"term without 'loss' in its name is not trained by mmseg) of "
                f'{type(head).__name__} would be dropped. Leave them out of loss_decode.'
            )
        if not loss.avg_non_ignore:
            MMLogger.get_current_instance().info(
                f'CosubSegmentor takes means over the labelled pixels, as avg_non_ignore=True '
                f'does; the loss of {type(head).__name__} has it False, which would count ignored '
                f'pixels too.'
            )
