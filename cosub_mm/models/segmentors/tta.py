"""Test-time augmentation of segmentors, heads of one channel included."""

import torch
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS

__all__ = ['CosubSegTTAModel']


@MODELS.register_module()
class CosubSegTTAModel(SegTTAModel):
    """mmseg's SegTTAModel, which takes the sigmoid of a one-channel head a second time.

    ``EncoderDecoder`` hands on probabilities where the head has one channel, and scores where it
    has more; the mean goes over probabilities in both cases.
    """

    def merge_preds(self, data_samples_list: list[list]) -> list:
        """Mean over the views of each picture.

        Args:
            data_samples_list: for each picture its predictions, one a view, all of its size.

        Returns:
            One prediction a picture.
        """
        if self.module.out_channels > 1:
            return super().merge_preds(data_samples_list)
        return [self._merge_binary(views) for views in data_samples_list]

    def _merge_binary(self, views: list):
        probability = torch.stack([view.seg_logits.data for view in views]).mean(dim=0)
        mask = (probability > self.module.decode_head.threshold).to(probability)
        merged = views[0]
        merged.set_data(dict(pred_sem_seg=PixelData(data=mask)))
        return merged
