"""Averaging the views of a picture, also for heads of one channel."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from cosub_mm.models.segmentors import CosubSegTTAModel


def model(channels: int, kind=CosubSegTTAModel):
    head = dict(
        type='FCNHead', in_channels=3, channels=4, num_convs=0, kernel_size=1, concat_input=False,
        in_index=0, num_classes=max(channels, 2), out_channels=channels, threshold=0.3,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=channels == 1),
    )  # fmt: skip
    backbone = dict(type='mmseg.ResNet', depth=18, base_channels=4, num_stages=1, strides=(1,),
                    dilations=(1,), out_indices=(0,))  # fmt: skip
    head['in_channels'] = 4
    segmentor = MODELS.build(
        ConfigDict(type='EncoderDecoder', backbone=backbone, decode_head=head,
             test_cfg=dict(mode='whole'))
    )  # fmt: skip
    return kind(segmentor.eval())


def views(channels: int, number: int) -> list[torch.Tensor]:
    """What EncoderDecoder hands on: probabilities of one channel, scores of several."""
    logits = [3 * torch.randn(channels, 6, 5) for _ in range(number)]
    return [one.sigmoid() for one in logits] if channels == 1 else logits


def merged(tta, logits: list[torch.Tensor]):
    samples = []
    for one in logits:
        sample = SegDataSample(metainfo=dict(img_path='a.png'))
        sample.set_data(dict(seg_logits=PixelData(data=one)))
        samples.append(sample)
    (result,) = tta.merge_preds([samples])
    assert result.img_path == 'a.png'
    return result.pred_sem_seg.data


@pytest.mark.parametrize('channels', [1, 2, 5])
def test_one_view_is_the_plain_prediction(channels):
    tta = model(channels)
    (scores,) = views(channels, 1)
    plain = (scores > 0.3).float() if channels == 1 else scores.argmax(0, keepdim=True)
    torch.testing.assert_close(merged(tta, [scores]), plain.to(merged(tta, [scores])))


@pytest.mark.parametrize('channels', [1, 2, 5])
def test_several_views_are_averaged_as_probabilities(channels):
    tta = model(channels)
    scores = views(channels, 4)
    if channels == 1:
        expected = torch.stack(scores).mean(0) > 0.3
    else:
        expected = torch.stack([one.softmax(0) for one in scores]).mean(0).argmax(0, keepdim=True)
    torch.testing.assert_close(merged(tta, scores).long(), expected.long())
    assert 0 < expected.float().mean() < expected.max() + 1


def test_mmsegs_own_model_takes_the_sigmoid_twice():
    """The fault: .1 becomes .52, above the threshold."""
    unlikely = torch.full((1, 6, 5), 0.1)
    assert merged(model(1, SegTTAModel), [unlikely]).all()
    assert not merged(model(1), [unlikely]).any()


@pytest.mark.parametrize('channels', [1, 3])
def test_a_whole_test_with_flips_equals_the_mean_of_its_parts(channels):
    """From pictures on, EncoderDecoder's own postprocessing included."""
    torch.manual_seed(0)
    tta = model(channels)
    image = torch.randn(3, 16, 12)
    samples = []
    for flip in (False, True):
        meta = dict(
            img_path='a.png', ori_shape=(16, 12), img_shape=(16, 12), pad_shape=(16, 12),
            flip=flip, flip_direction='horizontal', padding_size=[0, 0, 0, 0],
        )  # fmt: skip
        samples.append([SegDataSample(metainfo=meta)])
    inputs = [image[None], image.flip(-1)[None]]
    with torch.no_grad():
        (result,) = tta.merge_preds(
            [[tta.module.predict(x, s)[0] for x, s in zip(inputs, samples)]]
        )
        logits = [tta.module.encode_decode(x, [dict(img_shape=(16, 12))])[0] for x in inputs]
    logits[1] = logits[1].flip(-1)
    if channels == 1:
        expected = torch.stack(logits).sigmoid().mean(0) > 0.3
    else:
        expected = torch.stack(logits).softmax(1).mean(0).argmax(0, keepdim=True)
    torch.testing.assert_close(result.pred_sem_seg.data.long(), expected.long())
