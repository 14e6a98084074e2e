import re
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cosub_mm.checks.every_file import named_datasets, prepare, verify
from tests import fresh

ROOT = Path(__file__).parents[2]
META = dict(classes=('wall', 'sky', 'tree'), palette=[[0, 0, 0], [9, 9, 9], [99, 99, 99]])


@pytest.fixture
def segmentation(tmp_path):
    """Four pairs of odd sizes; labels 1 to 3, 0 for none."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
    for i in range(4):
        size = (17 + i, 23)
        image = rng.integers(256, size=(*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f'images/{i}.jpg')
        mask = rng.integers(4, size=size, dtype=np.uint8)
        Image.fromarray(mask).save(tmp_path / f'masks/{i}.png')
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=META,
        reduce_zero_label=True,
        pipeline=[dict(type='LoadImageFromFile')],
    )
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(type='EncoderDecoder', decode_head=dict(type='FCNHead', num_classes=3)),
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', times=3, dataset=dataset),
            ),
            val_dataloader=dict(dataset=dict(dataset, test_mode=True)),
        )
    )


@pytest.fixture
def classification(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('ant', 'bee', 'cat'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for i in range(2):
            image = rng.integers(256, size=(9, 11, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / f'train/{name}/{i}.png')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='train')
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=3)),
            train_dataloader=dict(dataset=dict(dataset, pipeline=[])),
        )
    )


def check(cfg):
    classes = prepare(cfg)
    return [verify(name, dataset, classes) for name, dataset in named_datasets(cfg)]


def test_sound_data_sets(segmentation, classification):
    (report,) = check(segmentation)  # validation reads the same files: once is enough
    assert (report.name, report.total) == ('train/val: BaseSegDataset', 4)
    assert not report.broken
    (note,) = report.notes
    assert re.fullmatch(r'pixels: wall [\d.]+%, sky [\d.]+%, tree [\d.]+%, ignored [\d.]+%', note)
    (report,) = check(classification)
    assert (report.total, report.broken, report.notes) == (6, [], [])


def test_every_broken_mask_and_image_is_named(segmentation, tmp_path):
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    cut = images / '0.jpg'
    cut.write_bytes(cut.read_bytes()[:-40])
    (masks / '1.png').unlink()
    Image.fromarray(np.full((19, 23), 4, np.uint8)).save(masks / '2.png')
    Image.fromarray(np.zeros((20, 22), np.uint8)).save(masks / '3.png')
    (report,) = check(segmentation)
    assert [path for path, _ in report.broken] == [
        str(cut),
        *(str(masks / f'{i}.png') for i in (1, 2, 3)),
    ]
    problems = [problem for _, problem in report.broken]
    assert 'cannot be read' in problems[0] and 'truncated' in problems[0]
    assert problems[1] == 'the file is missing'
    assert problems[2].startswith(
        'holds 437 pixels with labels out of range: 4. Allowed are 1 to 3'
    )
    assert '23x20 pixels and its mask' in problems[3] and 'has 22x20' in problems[3]


def test_labels_without_reduction_have_no_extra_value(segmentation, tmp_path):
    segmentation.train_dataloader.dataset.dataset.reduce_zero_label = False
    segmentation.val_dataloader = None
    (report,) = check(segmentation)
    assert len(report.broken) == 4
    assert 'labels out of range: 3. Allowed are 0 to 2' in report.broken[0][1]


def test_ignored_pixels_are_sound(segmentation, tmp_path):
    Image.fromarray(np.full((17, 23), 255, np.uint8)).save(tmp_path / 'masks/0.png')
    assert not check(segmentation)[0].broken


def test_classes_are_compared(classification, tmp_path):
    classification.model.head.num_classes = 2
    (report,) = check(classification)
    assert report.broken[0][1] == 'the data set has 3 classes, the model num_classes=2'
    assert [problem for _, problem in report.broken[1:]] == ['class 2 is outside 0 to 1'] * 2


def test_class_without_image_is_noted(classification, tmp_path):
    dataset = classification.train_dataloader.dataset
    dataset.metainfo = dict(classes=('ant', 'bee', 'cat', 'dog'))
    dataset.ann_file = 'list.txt'
    (tmp_path / 'list.txt').write_text('ant/0.png 0\nbee/1.png 1\n')
    classification.model.head.num_classes = 4
    (report,) = check(classification)
    assert not report.broken
    assert report.notes == ['2 of 4 classes have no image: cat, dog']


def test_missing_root_is_reported(classification, tmp_path):
    classification.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    (report,) = check(classification)
    assert 'cannot be listed' in report.broken[0][1]


def test_images_in_tar_shards_are_read(tmp_path):
    """ImageNet-21k as it comes: one shard a class."""
    for name in ('n01', 'n02'):
        with tarfile.open(tmp_path / f'{name}.tar', 'w') as shard:
            for i in range(2):
                stream = BytesIO()
                Image.fromarray(np.full((8, 9, 3), 50 * i, np.uint8)).save(stream, 'JPEG')
                content = stream.getvalue()
                if (name, i) == ('n02', 1):
                    content = content[:100]
                info = tarfile.TarInfo(f'{name}_{i}.JPEG')
                info.size = len(content)
                shard.addfile(info, BytesIO(content))
    cfg = Config(
        dict(
            model=dict(head=dict(num_classes=2)),
            train_dataloader=dict(
                dataset=dict(type='CosubImageNet21k', data_root=str(tmp_path), pipeline=[])
            ),
        )
    )
    (report,) = check(cfg)
    assert report.total == 4
    ((path, problem),) = report.broken
    assert 'n02.tar' in path and 'cannot be read' in problem


def run(cfg, tmp_path):
    cfg.dump(tmp_path / 'config.py')
    report = tmp_path / 'out/report.txt'
    tool = ROOT / 'tools/dataset_converters/verify_dataset.py'
    env = {'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin', 'OMP_NUM_THREADS': '1'}
    result = fresh.run([tool, tmp_path / 'config.py', '--report', report], env=env)
    return result, report.read_text()


def test_command_writes_a_report(segmentation, tmp_path):
    result, report = run(segmentation, tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'Nothing is broken' in result.stdout
    assert '4/4' in result.stdout  # the progress bar
    (tmp_path / 'masks/3.png').write_bytes(b'no picture')
    result, report = run(segmentation, tmp_path)
    assert result.returncode == 1
    assert '4 samples, 1 broken' in result.stdout
    assert 'masks/3.png: the file cannot be read' in report
