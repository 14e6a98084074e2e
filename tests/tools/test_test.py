import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from cosub_mm.checks.walk import datasets_of
from tools import test


def newest_log(work_dir):
    return max(work_dir.glob('*/*.log')).read_text()


def test_classification_metrics_and_pictures(
    trained_classifier, classification, classes_root, tmp_path
):
    checkpoint = trained_classifier / 'epoch_2.pth'
    out, show = tmp_path / 'metrics.json', tmp_path / 'show'
    args = [str(classification), str(checkpoint), '--work-dir', str(tmp_path)]
    assert test.main([*args, '--out', str(out), '--show-dir', str(show)]) == 0
    metrics = json.loads(out.read_text())
    assert 0 <= metrics['accuracy/top1'] <= 100
    pictures = sorted(show.glob('*.png'))
    # Files of different classes share their names; none replaces another.
    assert len(pictures) == 6
    assert Image.open(pictures[0]).width == 224
    # The log of the training stays as it was: same config file, but for a test.
    assert 'train_dataloader' in (trained_classifier / 'tiny_cls.py').read_text()


def test_classification_tta_averages_both_mirror_images(
    trained_classifier, classification, tmp_path
):
    checkpoint = str(trained_classifier / 'epoch_2.pth')
    scores = {}
    flip = 'test_dataloader.dataset.pipeline.1.type=RandomFlip'
    runs = {
        'plain': [],
        'tta': ['--tta'],
        'mirrored': ['--cfg-options', flip, 'test_dataloader.dataset.pipeline.1.prob=1.0'],
    }
    config = tmp_path / 'tiny.py'
    # A place in the pipeline that an override can turn into a certain flip.
    config.write_text(
        classification.read_text().replace(
            "test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]",
            "test_pipeline = [dict(type='LoadImageFromFile'),\n"
            "                 dict(type='RandomFlip', prob=0.0), dict(type='PackInputs')]",
        )
    )
    for name, options in runs.items():
        out = tmp_path / f'{name}.pkl'
        args = [str(config), checkpoint, '--work-dir', str(tmp_path / name), '--out', str(out)]
        assert test.main([*args, *options]) == 0
        samples = pickle.loads(out.read_bytes())
        scores[name] = torch.stack([sample['pred_score'] for sample in samples])
    assert not torch.equal(scores['plain'], scores['mirrored'])
    torch.testing.assert_close(scores['tta'], (scores['plain'] + scores['mirrored']) / 2)


def test_segmentation_label_maps_agree_with_the_metric(
    trained_segmentor, segmentation, scenes_root, tmp_path
):
    checkpoint = str(trained_segmentor / 'iter_30.pth')
    args = [str(segmentation), checkpoint, '--work-dir', str(tmp_path / 'run')]
    maps, show = tmp_path / 'maps', tmp_path / 'show'
    options = ['--out', str(maps), '--show-dir', str(show), '--show-interval', '2']
    assert test.main([*args, *options]) == 0
    right = total = 0
    for file in maps.glob('*.png'):
        predicted = np.array(Image.open(file))
        right += (predicted == np.array(Image.open(scenes_root / 'labels' / file.name))).sum()
        total += predicted.size
    assert total == 6 * 32 * 32
    assert f'aAcc: {100 * right / total:.2f}' in newest_log(tmp_path / 'run')
    assert [file.name for file in sorted(show.glob('*.png'))] == [
        '000000_0.png',
        '000002_2.png',
        '000004_4.png',
    ]
    # Image, truth and prediction side by side, enlarged to at least 160 pixels each.
    assert Image.open(show / '000000_0.png').width == 3 * 160


def test_segmentation_tta_uses_six_scales_and_flips(trained_segmentor, segmentation, tmp_path):
    args = [str(segmentation), str(trained_segmentor / 'iter_30.pth')]
    out = tmp_path / 'metrics.json'
    args += ['--work-dir', str(tmp_path), '--tta', '--out', str(out), '--show-dir', str(tmp_path)]
    assert test.main(args) == 0
    assert 0 < json.loads(out.read_text())['mIoU'] <= 100
    config = Config.fromfile(max(tmp_path.glob('*/*.log')).parent / 'tiny_seg.py')
    assert config.model.type == 'mmseg.CosubSegTTAModel'
    scales, flips, *_ = next(datasets_of(config, ('test',)))[1].pipeline[-1].transforms
    assert [step.scale for step in scales] == [(s, s) for s in (16, 24, 32, 40, 48, 56)]
    assert [step.prob for step in flips] == [0.0, 1.0]


@pytest.mark.parametrize(
    'checkpoint, options, expected',
    [
        ('none.pth', [], ['none.pth', 'other.pth']),
        ('cut.pth', [], ['truncated']),
        ('other.pth', [], ['another architecture', '0/']),
        ('other.pth', ['--out', 'x.txt'], ['FILE.json', 'FILE.pkl']),
        ('other.pth', ['--show-dir', 'x', '--show-interval', '0'], ['interval=0']),
        ('other.pth', ['--show-dir', __file__], ['--show-dir', 'names a folder, but is a file']),
    ],
)
def test_bad_input_is_one_line(classification, tmp_path, capsys, checkpoint, options, expected):
    torch.save({'encoder.weight': torch.zeros(3)}, tmp_path / 'other.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'other.pth').read_bytes()[:200])
    args = [str(classification), str(tmp_path / checkpoint), '--work-dir', str(tmp_path / 'run')]
    assert test.main([*args, *options]) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert 'Traceback' not in error
    for words in expected:
        assert words in error


def test_weights_of_a_classifier_do_not_pass_for_a_segmentor(
    trained_classifier, segmentation, tmp_path, capsys
):
    args = [str(segmentation), str(trained_classifier / 'epoch_2.pth')]
    assert test.main([*args, '--work-dir', str(tmp_path)]) == 2
    assert 'missing in the checkpoint (decode_head' in capsys.readouterr().err
