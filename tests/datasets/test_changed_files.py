"""Files that were looked at once and are others now: said, or an error that names them."""

import io
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

import cosub_mm  # noqa: F401
from cosub_mm.datasets.guarded import BadImageError, BadLabelError, GuardedImages
from cosub_mm.datasets.imagenet21k.dataset import CosubImageNet21k
from cosub_mm.datasets.imagenet21k.image_index import INDEX, find_classes, read_index
from cosub_mm.datasets.imagenet21k.preparation import pack, prepare_class


@pytest.fixture
def log():
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def mask(label: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size), label, np.uint8)).save(file, 'PNG', compress_level=0)
    return file.getvalue()


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, 'PNG')
    return file.getvalue()


def replace(path: Path, content: bytes) -> None:
    """By another file of the same time, as a copy that keeps times does."""
    state = path.stat()
    other = path.with_name('other')
    other.write_bytes(content)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(other, path)


@pytest.fixture
def masks(tmp_path):
    init_default_scope('mmseg')
    for folder, content in (('images', picture(1)), ('masks', mask(0))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / '0.png').write_bytes(content)
    dataset = dict(
        type='mmseg.BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b')),
        pipeline=[dict(type='mmseg.LoadAnnotations')],
    )
    yield tmp_path / 'masks/0.png', GuardedImages(dataset)
    init_default_scope('mmpretrain')


def test_a_mask_that_changes_is_checked_again(masks, log):
    path, guard = masks
    guard[0]
    guard[0]
    assert not log
    assert len(mask(7)) == len(mask(0))
    replace(path, mask(7))
    with pytest.raises(BadLabelError, match='labels out of range: 7'):
        guard[0]
    assert 'was written or replaced since it was first read' in log[0] and str(path) in log[0]
    replace(path, mask(1, 9))
    with pytest.raises(BadImageError, match='8x8 pixels and its mask .* has 9x9'):
        guard[0]


def test_a_picture_that_changes_is_held_against_its_mask_again(masks):
    path, guard = masks
    guard[0]
    replace(path.parents[1] / 'images/0.png', mask(0, 9))
    with pytest.raises(BadImageError, match='9x9 pixels and its mask .* has 8x8'):
        guard[0]


def test_a_mask_that_changed_and_is_right_is_named_once(masks, log):
    path, guard = masks
    guard[0]
    replace(path, mask(1))
    assert guard[0]['gt_seg_map'].max() == 1
    guard[0]
    assert len(log) == 1


def shard(path: Path, contents: list[bytes]) -> None:
    with tarfile.open(path, 'w') as tar:
        for i, content in enumerate(contents):
            info = tarfile.TarInfo(f'{i}.png')
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    """A prepared class of three pictures in a shard."""
    path = tmp_path / 'n01.tar'
    shard(path, [picture(i) for i in range(3)])
    (tmp_path / INDEX).mkdir()
    (source,) = find_classes(tmp_path)
    assert prepare_class(source, tmp_path / INDEX).kept == 3
    pack(tmp_path)
    return path


def test_a_shard_of_the_same_size_and_time_makes_its_index_outdated(shards):
    index = shards.parent / INDEX
    (source,) = find_classes(shards.parent)
    assert len(read_index(source, index)) == 3
    content = shards.read_bytes()
    other = shards.with_suffix('.x')
    shard(other, [picture(i + 100) for i in range(3)])
    assert other.stat().st_size == len(content)
    replace(shards, other.read_bytes())
    assert read_index(source, index) is None
    replace(shards, content)
    assert len(read_index(source, index)) == 3


def test_an_index_of_an_older_version_is_taken(shards):
    index = shards.parent / INDEX
    (source,) = find_classes(shards.parent)
    text = (index / 'n01.tsv').read_text()
    stamp = source.stamp
    (index / 'n01.tsv').write_text(text.replace(stamp, ' '.join(stamp.split()[:2])))
    assert len(read_index(source, index)) == 3
    (index / 'n01.tsv').write_text(text.replace(stamp, f'{stamp[:-1]}x'))
    assert read_index(source, index) is None


@pytest.mark.parametrize('layout', ['other members', 'junk'])
def test_a_shard_that_is_replaced_while_it_is_used_is_named(layout, shards):
    loader = [dict(type='mmpretrain.LoadPicture')]
    guard = GuardedImages(CosubImageNet21k(data_root=str(shards.parent), pipeline=loader))
    guard[0]
    if layout == 'junk':
        content = bytearray(shards.read_bytes())
        content[512:] = os.urandom(len(content) - 512)
        shards.write_bytes(content)
        said = 'n01.tar.*not an image'
    else:
        shard(shards, [b'x', *(picture(i) for i in range(3))])
        said = 'n01.tar.*has no image of [0-9]+ bytes at byte .* Prepare it anew'
    with pytest.raises(BadImageError, match=said):
        guard[1 if layout != 'junk' else 0]


def test_a_picture_overwritten_by_junk_is_named(tmp_path):
    (tmp_path / 'n01').mkdir()
    path = tmp_path / 'n01/0.png'
    path.write_bytes(picture(1))
    (tmp_path / INDEX).mkdir()
    (source,) = find_classes(tmp_path)
    prepare_class(source, tmp_path / INDEX)
    pack(tmp_path)
    loader = [dict(type='mmpretrain.LoadPicture')]
    guard = GuardedImages(CosubImageNet21k(data_root=str(tmp_path), pipeline=loader))
    guard[0]
    content = bytearray(path.read_bytes())
    content[45] ^= 1  # of the pixels: PNG has a checksum
    replace(path, bytes(content))
    with pytest.raises(BadImageError, match='n01/0.png'):
        guard[0]
