"""Batches of images and labels on their way to the device, without a step for each sample."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

__all__ = ['BatchSamples', 'CosubClsDataPreprocessor', 'preprocessor_of']


class BatchSamples(list):
    """The samples of a batch, and what they hold together.

    Attributes:
        score: targets, (batch, classes), mixed by mixup or cutmix where those are on; else None.
        label: class indices, (batch,), as they were before.
    """

    score: Tensor | None = None
    label: Tensor | None = None


@MODELS.register_module()
class CosubClsDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's, for training batches of one label an image: the same values in fewer steps.

    Images and labels go to the device without a wait, mixing draws there, and targets stay one
    tensor (:class:`BatchSamples`) instead of one a sample. All other batches, and evaluation, go
    mmpretrain's way. Arguments are those of ``ClsDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, pad and mix a batch; see ``ClsDataPreprocessor``."""
        samples, inputs = data.get('data_samples'), data['inputs']
        labels = _labels(samples) if training and isinstance(inputs, Tensor) else None
        if labels is None or not (self.num_classes or not self.to_onehot):
            return super().forward(data, training)
        device = self.device
        # Everything of mmpretrain's that concerns images alone.
        images = dict(inputs=inputs.to(device, non_blocking=True))
        inputs = super().forward(images, training)['inputs']
        batch = BatchSamples(samples)
        batch.label = labels.to(device, non_blocking=True)
        if self.to_onehot:
            batch.score = F.one_hot(batch.label, self.num_classes)
            if self.batch_augments is not None:
                # Its permutation is made where it is used; bringing an index there would wait.
                with nullcontext() if device.type == 'cpu' else device:
                    inputs, batch.score = self.batch_augments(inputs, batch.score)
        return dict(inputs=inputs, data_samples=batch)


def preprocessor_of(config: dict | None) -> dict | None:
    """The config of a data preprocessor, ours where it names none."""
    if config is not None and not isinstance(config, dict):
        return config
    return {'type': 'CosubClsDataPreprocessor', **(config or {})}


def _labels(samples: object) -> Tensor | None:
    """One label a sample, (batch,), or None where it is otherwise."""
    if not isinstance(samples, (list, tuple)) or not samples:
        return None
    labels = []
    for sample in samples:
        label = sample.get('gt_label') if type(sample) is DataSample else None
        if label is None or label.numel() != 1 or 'gt_score' in sample:
            return None
        labels.append(label)
    return torch.cat(labels)
