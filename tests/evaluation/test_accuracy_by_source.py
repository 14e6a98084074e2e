import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.registry import DATASETS, METRICS
from mmpretrain.structures import DataSample
from PIL import Image

import cosub_mm  # noqa: F401

PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='PackInputs', meta_keys=('img_path', 'source')),
]


def _image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


@pytest.fixture
def roots(tmp_path):
    for label in range(12):
        _image(tmp_path / 'imagenet' / 'val' / f'n{label:02}' / 'a.png')
    for name in ('0', '1', '2', '10'):
        _image(tmp_path / 'v2' / name / 'b.png')
    return tmp_path


def _dataset(roots, v2_root='v2'):
    return DATASETS.build(
        dict(
            type='ImageNetValV2',
            data_root=str(roots / 'imagenet'),
            v2_root=v2_root and str(roots / v2_root),
            metainfo=dict(classes=[str(i) for i in range(12)]),
            pipeline=PIPELINE,
            with_label=True,
        )
    )


def test_v2_classes_are_numbers_not_words(roots):
    data = _dataset(roots)
    samples = [data[i]['data_samples'] for i in range(len(data))]
    found = {(s.source, s.img_path.split('/')[-2]): int(s.gt_label) for s in samples}
    assert found == {('val', f'n{i:02}'): i for i in range(12)} | {
        ('v2', name): int(name) for name in ('0', '1', '2', '10')
    }


def test_v2_can_be_left_out(roots):
    assert len(_dataset(roots, v2_root=None)) == 12


def test_v2_missing_or_wrong(roots):
    with pytest.raises(FileNotFoundError, match='v2_root=None'):
        _dataset(roots, v2_root='nowhere')
    (roots / 'v2' / '3').mkdir()
    with pytest.raises(ValueError, match='holds no image'):
        _dataset(roots)
    _image(roots / 'v2' / '12' / 'b.png')
    with pytest.raises(ValueError, match='the numbers 0 to 11'):
        _dataset(roots)


def test_each_source_has_its_own_accuracy():
    evaluator = Evaluator(METRICS.build(dict(type='AccuracyBySource', topk=(1, 2))))
    scores = torch.eye(3)
    cases = [('val', 0, 0), ('val', 1, 1), ('val', 2, 1), (None, 0, 0), ('v2', 0, 1), ('v2', 2, 2)]
    samples = []
    for source, predicted, truth in cases:
        sample = DataSample().set_pred_score(scores[predicted]).set_gt_label(truth)
        if source:
            sample.set_metainfo(dict(source=source))
        samples.append(sample)
    evaluator.process(samples[:4])
    evaluator.process(samples[4:])
    metrics = evaluator.evaluate(len(samples))
    assert metrics['accuracy/top1'] == pytest.approx(75)
    assert metrics['accuracy/v2_top1'] == pytest.approx(50)
    assert set(metrics) == {
        'accuracy/top1',
        'accuracy/top2',
        'accuracy/v2_top1',
        'accuracy/v2_top2',
    }
