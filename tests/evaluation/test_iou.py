"""mIoU equals mmseg's, and says over which classes it goes."""

import pytest
import torch
from mmseg.evaluation import IoUMetric

from cosub_mm.evaluation.iou import CosubIoUMetric

CLASSES = ('sky', 'tree', 'car')


def evaluate(kind, truth, prediction):
    metric = kind()
    metric.dataset_meta = dict(classes=CLASSES)
    sample = dict(
        pred_sem_seg=dict(data=prediction[None]), gt_sem_seg=dict(data=truth[None]), img_path='a'
    )
    metric.process({}, [sample])
    return metric.evaluate(1)


def test_values_are_mmsegs_where_no_class_is_absent():
    truth, prediction = torch.randint(3, (2, 20, 20))
    ours, theirs = (evaluate(kind, truth, prediction) for kind in (CosubIoUMetric, IoUMetric))
    assert ours == theirs


def test_absent_classes_are_named_and_counted(caplog):
    truth = torch.zeros(20, 20, dtype=torch.long)
    truth[:10] = 1
    ours = evaluate(CosubIoUMetric, truth, truth)
    assert ours.pop('absent_classes') == 1
    assert ours == evaluate(IoUMetric, truth, truth)
    assert ours['mIoU'] == 100


@pytest.mark.parametrize('predicted', [False, True])
def test_the_log_says_it(predicted, capsys):
    truth = torch.zeros(20, 20, dtype=torch.long)
    prediction = truth.clone()
    if predicted:
        prediction[0] = 2
    evaluate(CosubIoUMetric, truth, prediction)
    output = capsys.readouterr()
    assert 'absent: 2 of 3 classes have no pixel in any mask (tree, car)' in output.out + output.err
