"""The loss of mmseg's heads without a wait for the device.

mmseg asks the device for the number of labelled pixels in each step, once for the loss
(``avg_non_ignore``) and twice for the accuracy; a GPU then stands idle until the host goes on.
"""

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.utils import resize
from mmseg.utils import add_prefix
from torch import Tensor, nn
from torch.nn import functional as F

from cosub_mm.losses import pixel_accuracy

__all__ = [
    'WaitFreeHeads',
    'head_loss',
    'keeps_base_loss',
    'loss_of_head',
    'plain_cross_entropy',
    'target_of',
]


def keeps_base_loss(head: nn.Module) -> bool:
    """Whether a head's loss is BaseDecodeHead's: one score a class and pixel, its loss on them."""
    return all(
        getattr(type(head), name, None) is getattr(BaseDecodeHead, name)
        for name in ('loss', 'loss_by_feat')
    )


def loss_of_head(head: BaseDecodeHead) -> nn.Module:
    """Its ``loss_decode``, out of a list of one."""
    loss = head.loss_decode
    return loss[0] if isinstance(loss, nn.ModuleList) and len(loss) == 1 else loss


def plain_cross_entropy(head: BaseDecodeHead) -> bool:
    """Whether a head learns by softmax cross-entropy with nothing else to it."""
    loss = loss_of_head(head)
    return (
        type(loss) is CrossEntropyLoss
        and not (loss.use_sigmoid or loss.use_mask)
        and getattr(loss, 'class_weight', None) is None
        and head.sampler is None
    )


def target_of(data_samples: list) -> Tensor:
    """Class indices of a batch, (batch, height, width)."""
    return torch.stack([sample.gt_sem_seg.data for sample in data_samples]).squeeze(1).long()


def head_loss(
    head: nn.Module, feats: list[Tensor], data_samples: list, train_cfg: dict | None
) -> dict[str, Tensor]:
    """What ``head.loss(feats, data_samples, train_cfg)`` gives.

    Args:
        head: any head of mmseg; one of another loss than plain cross-entropy computes its own.
        feats: what the head takes.
        data_samples: with ``gt_sem_seg``.
        train_cfg: of the segmentor.

    Returns:
        The loss under its name, and ``acc_seg``, the pixel accuracy in per cent.
    """
    if not keeps_base_loss(head) or not plain_cross_entropy(head):
        return head.loss(feats, data_samples, train_cfg)
    loss = loss_of_head(head)
    if loss.reduction != 'mean':
        return head.loss(feats, data_samples, train_cfg)
    target = target_of(data_samples)
    logits = resize(
        head(feats), size=target.shape[-2:], mode='bilinear', align_corners=head.align_corners
    )
    total = F.cross_entropy(logits, target, ignore_index=head.ignore_index, reduction='sum')
    pixels = target.numel()
    if loss.avg_non_ignore:
        pixels = (target != head.ignore_index).sum().clamp(min=1)
    return {
        loss.loss_name: loss.loss_weight * total / pixels,
        'acc_seg': pixel_accuracy(logits, target, head.ignore_index),
    }


class WaitFreeHeads:
    """For an ``EncoderDecoder``: its heads' losses, without waiting for the device."""

    def _decode_head_forward_train(self, inputs: list[Tensor], data_samples: list) -> dict:
        losses = head_loss(self.decode_head, inputs, data_samples, self.train_cfg)
        return add_prefix(losses, 'decode')

    def _auxiliary_head_forward_train(self, inputs: list[Tensor], data_samples: list) -> dict:
        several = isinstance(self.auxiliary_head, nn.ModuleList)
        heads = self.auxiliary_head if several else [self.auxiliary_head]
        losses = {}
        for i, head in enumerate(heads):
            loss = head_loss(head, inputs, data_samples, self.train_cfg)
            losses.update(add_prefix(loss, f'aux_{i}' if several else 'aux'))
        return losses
