"""Fashion-MNIST from its four idx files: 70,000 labelled pictures of 28 x 28 pixels."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from .listing import one_of

__all__ = ['FashionPictures', 'read_idx']

DEBIAN = '/usr/share/datasets/fashion-mnist'
CLASSES = (
    'T-shirt/top',
    'trouser',
    'pullover',
    'dress',
    'coat',
    'sandal',
    'shirt',
    'sneaker',
    'bag',
    'ankle boot',
)
SPLITS = {'train': (0, 10_000), 'tune': (10_000, 12_000), 'full': (0, 60_000), 'test': (0, 10_000)}
"""Positions in the files, which are in random order: ``test`` in the test file, else the training
file. ``tune`` is for choosing hyper-parameters, so that ``full`` must not be tested on it."""


@DATASETS.register_module()
class FashionPictures(BaseDataset):
    """Fashion-MNIST (Xiao et al., 2017), as the Debian package ``dataset-fashion-mnist`` brings it.

    Args:
        data_root: folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
            ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, as they are or with ``.gz``.
            Where it does not exist, the folder of the Debian package is looked at.
        split: ``'train'``, the first 10,000 training pictures; ``'tune'``, the next 2,000;
            ``'full'``, all 60,000; ``'test'``, the 10,000 test pictures.
        pipeline: steps that begin with an image in ``img``, (28, 28, 3) of 0 to 255, the grey
            value in each channel.
        **kwargs: of mmengine's BaseDataset.

    Raises:
        FileNotFoundError: a file is missing; the message says how to get them.
        ValueError: an unknown split, or a file that is not what it should be.
    """

    METAINFO = {'classes': CLASSES}

    def __init__(
        self, data_root: str, split: str = 'train', pipeline: Sequence = (), **kwargs
    ) -> None:
        one_of(split, SPLITS, 'split')
        self.split = split
        super().__init__(data_root=data_root, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Pictures and labels of the split, in the order of the file."""
        name = 't10k' if self.split == 'test' else 'train'
        root = Path(self.data_root)
        root = root if root.is_dir() or not Path(DEBIAN).is_dir() else Path(DEBIAN)
        images = read_idx(_find(root, f'{name}-images-idx3-ubyte'))
        labels = read_idx(_find(root, f'{name}-labels-idx1-ubyte'))
        count = 10_000 if name == 't10k' else 60_000
        if images.shape != (count, 28, 28) or labels.shape != (count,) or labels.max() > 9:
            raise ValueError(
                f'{root}: {name} should be {count} pictures of 28 x 28 with labels of 0 to 9, and '
                f'is {images.shape} with labels {labels.shape} up to {labels.max()}.'
            )
        start, end = SPLITS[self.split]
        return [
            dict(
                img=np.repeat(image[..., None], 3, 2),
                gt_label=int(label),
                img_shape=(28, 28),
                ori_shape=(28, 28),
            )
            for image, label in zip(images[start:end], labels[start:end])
        ]


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes from a file in the idx format.

    Args:
        path: of the file, ``.gz`` or not.

    Raises:
        ValueError: another format, or a length that its head does not say.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
    if len(data) < 4 or data[:3] != b'\0\0\x08':
        raise ValueError(f'{path} is no idx file of bytes; copy or unpack it again.')
    shape = np.frombuffer(data, '>i4', data[3], 4) if len(data) >= 4 + 4 * data[3] else ()
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if len(values) != int(np.prod(shape)):
        raise ValueError(
            f'{path} holds {len(values)} bytes, its head says {int(np.prod(shape))}: it is cut off.'
        )
    return values.reshape(shape)


def _find(root: Path, name: str) -> Path:
    found = [file for file in (root / name, root / f'{name}.gz') if file.is_file()]
    if not found:
        raise FileNotFoundError(
            f'{root / name} (or .gz) is missing. On Debian or Ubuntu: `apt-get install '
            f'dataset-fashion-mnist`, or without rights `apt-get download dataset-fashion-mnist && '
            f'dpkg -x dataset-fashion-mnist_*.deb data/deb` and '
            f'--data-root data/deb{DEBIAN}. Elsewhere copy the four files train-images-idx3-ubyte, '
            f'train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (.gz) of '
            f'https://github.com/zalandoresearch/fashion-mnist into a folder and name it by '
            f'--data-root.'
        )
    return found[0]
