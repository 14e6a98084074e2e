import logging
import pickle

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

import cosub_mm  # noqa: F401
from cosub_mm.datasets.guarded import BadImageError, BadLabelError, GuardedImages

LOAD = dict(type='LoadImageFromFile', imdecode_backend='pillow')


@pytest.fixture
def folder(tmp_path):
    """Five images of class a with the grey values 0 to 4, which tell who replaced whom."""
    (tmp_path / 'a').mkdir()
    for i in range(5):
        Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(tmp_path / 'a' / f'{i}.png')
    return tmp_path


@pytest.fixture
def log():
    """Warnings of the current logger, which does not pass them on to pytest's."""
    messages = []
    handler = logging.Handler()
    handler.addFilter(lambda record: record.levelno >= logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def _guard(folder, policy='stop', test_mode=False, pipeline=(LOAD,)):
    dataset = dict(
        type='CustomDataset', data_root=str(folder), pipeline=list(pipeline), test_mode=test_mode
    )
    return DATASETS.build(dict(type='GuardedImages', dataset=dataset, policy=policy))


def _damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {'truncated': content[: len(content) // 2], 'text': b'hello', 'empty': b''}[how]
    )


def _value(sample):
    return int(sample['img'][0, 0, 0])


def test_good_images_are_untouched(folder):
    guard = _guard(folder)
    assert [_value(guard[i]) for i in range(len(guard))] == [0, 1, 2, 3, 4]
    assert guard.metainfo['classes'] == ('a',) and guard.get_cat_ids(0) == [0]
    assert guard.bad_files == 0


@pytest.mark.parametrize('how', ['truncated', 'text', 'empty'])
def test_stop_names_the_files_and_counts_them(folder, how):
    for i in (1, 3):
        _damage(folder / 'a' / f'{i}.png', how)
    guard = _guard(folder)
    assert _value(guard[0]) == 0
    with pytest.raises(BadImageError, match='2 image files cannot be decoded .5 of 5') as error:
        guard[3]
    text = str(error.value)
    assert '1.png' in text and '3.png' in text and '--on-bad-image skip' in text


def test_stop_names_a_file_that_vanished(folder):
    guard = _guard(folder)
    (folder / 'a' / '2.png').unlink()
    with pytest.raises(BadImageError, match=r'1 image file cannot .*2\.png .there is no such file'):
        guard[2]


def test_truncated_jpeg_is_not_half_a_picture(tmp_path):
    """What OpenCV would return without a word."""
    (tmp_path / 'a').mkdir()
    path = tmp_path / 'a' / '0.jpg'
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64, 3), np.uint8)).save(path)
    _damage(path, 'truncated')
    with pytest.raises(BadImageError, match=r'0\.jpg .*truncated'):
        _guard(tmp_path)[0]


@pytest.mark.parametrize('test_mode', [False, True])
def test_skip_takes_the_next_good_image_and_tells(folder, log, test_mode):
    for i in (1, 2, 4):
        _damage(folder / 'a' / f'{i}.png', 'text')
    guard = _guard(folder, 'skip', test_mode)
    assert [_value(guard[i]) for i in range(5)] == [0, 3, 3, 3, 0]
    assert guard.bad_files == 3
    assert len(log) == 3, 'each file is named once'
    assert '1.png' in log[0] and '3.png takes its place' in log[0]
    assert log[-1].endswith('3 of 5 samples left out so far.')


def test_skip_without_any_good_image(folder):
    for i in range(5):
        _damage(folder / 'a' / f'{i}.png', 'text')
    with pytest.raises(BadImageError, match='None of the 5 images'):
        _guard(folder, 'skip')[0]


def test_workers_share_what_they_found(folder):
    _damage(folder / 'a' / '1.png', 'text')
    guard = _guard(folder, 'skip')
    loader = DataLoader(guard, batch_size=1, num_workers=2, collate_fn=lambda batch: batch[0])
    assert [_value(sample) for sample in loader] == [0, 2, 2, 3, 4]
    assert guard.bad_files == 1


def test_worker_raises_the_same_error(folder):
    _damage(folder / 'a' / '1.png', 'text')
    loader = DataLoader(_guard(folder), num_workers=1, collate_fn=lambda batch: batch[0])
    with pytest.raises(BadImageError, match=r'1\.png'):
        list(loader)


def test_a_transform_that_fails_names_the_picture(folder):
    steps = (LOAD, dict(type='CenterCrop', crop_size=4), _fail)
    with pytest.raises(
        BadImageError, match=r'0\.png .*transform fails.*ZeroDivisionError'
    ) as caught:
        _guard(folder, pipeline=steps)[0]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(BadImageError, match='None of the 5 images can be used'):
        _guard(folder, 'skip', pipeline=steps)[0]


def test_a_picture_on_which_a_transform_fails_is_left_out_by_skip(folder):
    steps = (LOAD, _fail_on_the_second)
    assert _value(_guard(folder, 'skip', pipeline=steps)[1]) == 2
    assert _value(_guard(folder, 'skip', pipeline=steps)[0]) == 0


def _fail_on_the_second(results):
    if results['img_path'].endswith('1.png'):
        raise ZeroDivisionError
    return results


def _fail(results):
    raise ZeroDivisionError


def test_survives_pickling(folder):
    guard = pickle.loads(pickle.dumps(_guard(folder)))
    assert _value(guard[2]) == 2


def test_unknown_policy(folder):
    with pytest.raises(ValueError, match="'warn' is unknown"):
        _guard(folder, 'warn')


@pytest.fixture
def masks(tmp_path):
    init_default_scope('mmseg')
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
    for i in range(2):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'images' / f'{i}.png')

    def build(mask, policy='stop', **kwargs):
        for i, labels in enumerate((np.zeros((8, 8), np.uint8), mask)):
            Image.fromarray(labels).save(tmp_path / 'masks' / f'{i}.png')
        dataset = dict(
            type='mmseg.BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            img_suffix='.png',
            metainfo=dict(classes=('a', 'b', 'c')),
            pipeline=[dict(type='mmseg.LoadAnnotations')],
            **kwargs,
        )
        return GuardedImages(dataset, policy)

    yield build
    init_default_scope('mmpretrain')


def _mask(value, dtype=np.uint8):
    mask = np.zeros((8, 8), dtype)
    mask[:2, :3] = value
    return mask


@pytest.mark.parametrize('value', [2, 255])
def test_labels_in_range(masks, value):
    guard = masks(_mask(value))
    assert guard[1]['gt_seg_map'].max() == value


@pytest.mark.parametrize('policy', ['stop', 'skip'])
def test_label_out_of_range(masks, policy):
    message = r'1\.png holds 6 pixels with labels out of range: 3\. Allowed are 0 to 2'
    with pytest.raises(BadLabelError, match=message):
        masks(_mask(3), policy)[1]


def test_label_out_of_range_with_an_ignored_zero(masks):
    assert masks(_mask(3), reduce_zero_label=True)[1]['gt_seg_map'].min() == 2
    with pytest.raises(BadLabelError, match='labels out of range: 4. Allowed are 1 to 3'):
        masks(_mask(4), reduce_zero_label=True)[1]


def test_labels_beyond_a_byte_do_not_wrap(masks):
    """mmseg reads a mask as uint8, where 257 becomes 1."""
    with pytest.raises(BadLabelError, match='257'):
        masks(_mask(257, np.uint16))[1]


def test_mask_of_colours(masks):
    with pytest.raises(BadLabelError, match=r'shape \(8, 8, 3\)'):
        masks(np.zeros((8, 8, 3), np.uint8))[1]


def test_mask_that_cannot_be_decoded(masks, tmp_path):
    guard = masks(_mask(0))
    (tmp_path / 'masks' / '1.png').write_bytes(b'no mask')
    with pytest.raises(BadImageError, match=r'1 image file .*masks.1\.png .not an image'):
        guard[1]
