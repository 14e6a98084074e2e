"""Fashion-MNIST's idx files: read, split, and refused."""

import gzip
import struct

import numpy as np
import pytest

from cosub_mm.datasets import FashionPictures
from cosub_mm.datasets.fashion_mnist import SPLITS, read_idx


def idx(values: np.ndarray) -> bytes:
    head = struct.pack(f'>HBB{values.ndim}I', 0, 8, values.ndim, *values.shape)
    return head + values.astype(np.uint8).tobytes()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Pictures whose first two pixels count them."""
    folder = tmp_path_factory.mktemp('fashion')
    for name, count in (('train', 60_000), ('t10k', 10_000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
        (folder / f'{name}-labels-idx1-ubyte').write_bytes(idx(np.arange(count) % 10))
        with gzip.open(folder / f'{name}-images-idx3-ubyte.gz', 'wb', compresslevel=1) as file:
            file.write(idx(images))
    return folder


@pytest.mark.parametrize('split', SPLITS)
def test_splits(root, split):
    data = FashionPictures(str(root), split)
    start, end = SPLITS[split]
    assert len(data) == end - start
    first = data.get_data_info(0)
    assert first['img'].shape == (28, 28, 3) and first['gt_label'] == start % 10
    assert int(first['img'][0, 0, 0]) + 256 * int(first['img'][0, 1, 0]) == start


def test_splits_share_no_picture():
    (a, b), (c, d) = SPLITS['train'], SPLITS['tune']
    assert b <= c and (b - a, d - c) == (10_000, 2_000)


def test_missing_and_broken_files(tmp_path, root):
    with pytest.raises(FileNotFoundError, match='apt-get install dataset-fashion-mnist'):
        FashionPictures(str(tmp_path))
    with pytest.raises(ValueError, match="split='val'|split"):
        FashionPictures(str(root), 'val')
    whole = idx(np.zeros((5, 2), np.uint8))
    for content, told in ((whole[:-1], 'is cut off'), (b'\0\0\x0d\1', 'no idx file')):
        (tmp_path / 'x').write_bytes(content)
        with pytest.raises(ValueError, match=told):
            read_idx(tmp_path / 'x')
    for name in ('images-idx3', 'labels-idx1'):
        (tmp_path / f'train-{name}-ubyte').write_bytes(whole)
    with pytest.raises(ValueError, match='train should be 60000 pictures of 28 x 28'):
        FashionPictures(str(tmp_path))
