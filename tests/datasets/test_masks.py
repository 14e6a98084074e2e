"""Masks and pictures that do not fit, masks that teach nothing, labels to ignore that differ."""

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset
from PIL import Image

from cosub_mm.checks.every_file import verify
from cosub_mm.checks.folders import unused_files
from cosub_mm.checks.labels import check_ignore_index, check_masks
from cosub_mm.datasets import GuardedImages
from cosub_mm.datasets.guarded import BadImageError

META = dict(classes=('background', 'thing'), palette=[[0, 0, 0], [255, 0, 0]])
STORED = (20, 32)
UPRIGHT = (32, 20)


def write(root, masks, orientation=1, size=STORED):
    """Pictures of ``size`` as stored, with an EXIF tag, and the masks given."""
    for name in ('images', 'labels'):
        (root / name).mkdir(exist_ok=True, parents=True)
    tags = Image.Exif()
    tags[0x0112] = orientation
    for i, mask in enumerate(masks):
        picture = Image.fromarray(np.full((*size, 3), 100, np.uint8))
        picture.save(root / f'images/{i}.jpg', exif=tags)
        Image.fromarray(np.asarray(mask, np.uint8)).save(root / f'labels/{i}.png')
    return root


def halves(shape=STORED, low=0, high=1):
    mask = np.full(shape, low, np.uint8)
    mask[: shape[0] // 2] = high
    return mask


def config(root, **changes) -> dict:
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=META,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
        **changes,
    )


def dataset(root, **changes) -> BaseSegDataset:
    arguments = config(root, **changes)
    del arguments['type']
    return BaseSegDataset(**arguments)


def verified(root, **changes):
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    return verify('train', config(root, **changes), 2, workers=1)


@pytest.mark.parametrize(
    ('orientation', 'shape', 'upright', 'words'),
    [
        (6, UPRIGHT, True, None),
        (6, STORED, True, 'drawn on the picture as it is stored'),
        (6, STORED, False, None),
        (6, UPRIGHT, False, 'as its EXIF tag turns it'),
        (3, STORED, True, None),
        (1, STORED, True, None),
        (1, (20, 31), True, '32x20 pixels and its mask .* has 31x20'),
        (1, UPRIGHT, True, '32x20 pixels and its mask .* has 20x32'),
    ],
)
def test_a_mask_must_have_the_size_of_its_picture(tmp_path, orientation, shape, upright, words):
    root = write(tmp_path, [halves(shape)], orientation)
    loading = [] if upright else [dict(color_type='color_ignore_orientation')]
    pipeline = [dict(type='LoadImageFromFile', **(loading[0] if loading else {}))]
    guard = GuardedImages(dataset(root), upright=upright)
    report = verified(root)
    if not upright:
        report = verify('train', dict(config(root), pipeline=pipeline), 2, workers=1)
    if words is None:
        assert guard[0]['gt_seg_map'].shape == shape
        assert not report.broken
        return
    with pytest.raises(BadImageError, match=words) as caught:
        guard[0]
    assert '0.jpg' in str(caught.value) and '0.png' in str(caught.value)
    assert len(report.broken) == 1


def test_a_mask_of_another_size_is_left_out_by_skip(tmp_path):
    root = write(tmp_path, [halves((20, 31)), halves()])
    guard = GuardedImages(dataset(root), policy='skip')
    assert guard[0]['img_path'].endswith('1.jpg')
    assert guard.bad_files == 1


def test_a_line_of_pixels_is_no_picture(tmp_path):
    root = write(tmp_path, [np.zeros((1, 32))], size=(1, 32))
    with pytest.raises(BadImageError, match='a line, not a picture'):
        GuardedImages(dataset(root))[0]


def test_a_tag_that_keeps_the_shape_is_noted(tmp_path):
    report = verified(write(tmp_path, [halves()], orientation=3))
    assert not report.broken
    assert any('1 pictures carry an EXIF tag' in note for note in report.notes)


def test_pixels_are_counted_by_class(tmp_path):
    mask = halves()
    mask[0] = 255
    report = verified(write(tmp_path, [mask]))
    assert report.notes == ['pixels: background 50.0%, thing 45.0%, ignored 5.0%']


@pytest.mark.parametrize(
    ('values', 'reduce_zero_label', 'words'),
    [
        ((0, 255), False, r'only class 0 \(background\); 50% .* values \[0, 255\]'),
        ((0, 1), True, r'only class 0 \(background\); 50% .* values \[0, 1\]'),
        ((1, 1), False, r'only class 1 \(thing\)'),
        ((255, 255), False, 'hold no class; 100%'),
    ],
)
def test_masks_that_teach_nothing_stop_a_training(tmp_path, values, reduce_zero_label, words):
    root = write(tmp_path, [halves(low=values[0], high=values[1])] * 3)
    changes = dict(reduce_zero_label=reduce_zero_label)
    with pytest.raises(ValueError, match=words):
        check_masks(dataset(root, **changes), 'train_dataloader')
    report = verified(root, **changes)
    assert any('fewer than two classes' in problem for _, problem in report.broken)


@pytest.mark.parametrize(
    ('values', 'reduce_zero_label'), [((0, 1), False), ((1, 2), True), ((0, 1), False)]
)
def test_masks_of_two_classes_are_let_through(tmp_path, values, reduce_zero_label):
    root = write(tmp_path, [halves(low=values[0], high=values[0])] * 3 + [halves(high=values[1])])
    if reduce_zero_label:
        root = write(tmp_path, [halves(low=1, high=2)])
    check_masks(dataset(root, reduce_zero_label=reduce_zero_label), 'train_dataloader')


def test_files_that_are_not_used_are_named(tmp_path):
    root = write(tmp_path, [halves(), halves()])
    (root / 'images/0.jpg').rename(root / 'images/0.JPG')
    (said, lonely) = unused_files(dataset(root))
    assert said.startswith('1 files (0.JPG)') and 'do not end in .jpg' in said
    assert lonely.startswith('1 files (0.png)') and 'have no picture' in lonely
    assert verified(root).notes[-2:] == [said, lonely]


HEAD = dict(type='FCNHead', num_classes=2)
SEG = dict(
    model=dict(
        decode_head=HEAD, auxiliary_head=[HEAD], data_preprocessor=dict(type='SegDataPreProcessor')
    ),
    train_dataloader=dict(dataset=dict(type='BaseSegDataset', pipeline=[dict(type='RandomCrop')])),
    val_evaluator=dict(type='IoUMetric'),
)


def test_one_label_to_ignore_is_let_through():
    check_ignore_index(Config(SEG))
    everywhere = Config(SEG)
    everywhere.model.decode_head.ignore_index = 254
    everywhere.model.auxiliary_head[0].ignore_index = 254
    everywhere.model.data_preprocessor.seg_pad_val = 254
    everywhere.train_dataloader.dataset.ignore_index = 254
    everywhere.train_dataloader.dataset.pipeline[0].ignore_index = 254
    everywhere.val_evaluator.ignore_index = 254
    check_ignore_index(everywhere)
    everywhere.train_dataloader.dataset.reduce_zero_label = True
    with pytest.raises(ValueError, match='turns 0 into 255'):
        check_ignore_index(everywhere)


@pytest.mark.parametrize(
    'path',
    [
        'model.decode_head.ignore_index',
        'model.auxiliary_head.0.ignore_index',
        'model.data_preprocessor.seg_pad_val',
        'train_dataloader.dataset.ignore_index',
        'train_dataloader.dataset.pipeline.0.ignore_index',
        'val_evaluator.ignore_index',
    ],
)
def test_labels_to_ignore_that_differ_are_named(path):
    cfg = Config(SEG)
    cfg.merge_from_dict({path: 254})
    with pytest.raises(ValueError, match=r'not the same everywhere: .*=254'):
        check_ignore_index(cfg)


def test_the_guard_asks_the_data_set_which_label_is_ignored(tmp_path):
    root = write(tmp_path, [halves(high=254)])
    assert GuardedImages(dataset(root, ignore_index=254))[0]['gt_seg_map'].max() == 254
    with pytest.raises(ValueError, match='labels out of range: 254'):
        GuardedImages(dataset(root))[0]
