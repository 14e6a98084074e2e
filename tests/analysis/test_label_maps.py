import numpy as np
import pytest
from PIL import Image

from cosub_mm.analysis.label_maps import metrics_of_label_maps
from tools.analysis_tools import check_miou


def write(folder, *maps):
    folder.mkdir()
    for i, labels in enumerate(maps):
        Image.fromarray(np.array(labels, np.uint8)).save(folder / f'{i}.png')
    return folder


def test_by_hand(tmp_path):
    """Two classes, one pixel ignored: IoU 1/3 and 2/4, recall 1/2 and 2/3."""
    truth = write(tmp_path / 'truth', [[0, 0, 1], [1, 1, 255]])
    guess = write(tmp_path / 'guess', [[0, 1, 0], [1, 1, 1]])
    metrics = metrics_of_label_maps(guess, truth, 3)
    assert metrics['mIoU'] == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)
    assert metrics['mAcc'] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert metrics['aAcc'] == pytest.approx(60)


def test_reduced_labels_shift_by_one_and_skip_zero(tmp_path):
    truth = write(tmp_path / 'truth', [[1, 1, 2], [2, 2, 0]], [[0, 0]])
    guess = write(tmp_path / 'guess', [[1, 2, 1], [2, 2, 1]], [[1, 2]])
    metrics = metrics_of_label_maps(guess, truth, 3, reduce_zero_label=True)
    assert metrics['mIoU'] == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)
    assert metrics['aAcc'] == pytest.approx(60)


def test_missing_prediction_and_other_size(tmp_path):
    truth = write(tmp_path / 'truth', [[0, 1]])
    with pytest.raises(FileNotFoundError, match=r'no masks \(PNG\)'):
        metrics_of_label_maps(truth, tmp_path, 2)
    with pytest.raises(FileNotFoundError, match='tools/test.py'):
        metrics_of_label_maps(tmp_path, truth, 2)
    with pytest.raises(ValueError, match=r'shape \(2, 1\), its mask \(1, 2\)'):
        metrics_of_label_maps(write(tmp_path / 'guess', [[0], [1]]), truth, 2)


def test_command(tmp_path, capsys):
    truth = write(tmp_path / 'truth', [[0, 0, 1], [1, 1, 255]])
    guess = write(tmp_path / 'guess', [[0, 1, 0], [1, 1, 1]])
    config = tmp_path / 'config.py'
    config.write_text(
        "default_scope = 'mmseg'\n"
        "test_dataloader = dict(dataset=dict(type='BaseSegDataset', data_root='nowhere',\n"
        "    data_prefix=dict(img_path='truth', seg_map_path='truth'),\n"
        "    metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [1, 1, 1]])))\n"
    )
    check_miou.run([str(config), str(guess), '--data-root', str(truth.parent)])
    assert 'mIoU: 41.6667  mAcc: 58.3333  aAcc: 60.0000' in capsys.readouterr().out
