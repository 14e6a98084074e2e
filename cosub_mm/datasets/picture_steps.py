"""The first steps of a pipeline on one Pillow picture, instead of an array that each step copies.

A loader of mmcv hands BGR arrays from step to step; Pillow's steps turn each into an RGB picture
and back. :func:`keep_picture` lets the steps at the head of a built pipeline that are known here
share the picture. They keep their own settings and draws, and the pixels are the same to the last
bit; a step that is not known, and all after it, get the array as ever.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import mmcv.transforms
import numpy as np
from mmcv.image.geometric import pillow_interp_codes
from mmpretrain.datasets import transforms as mmpretrain_transforms
from PIL import Image
from torch.utils.data import Dataset

from .decoding import IGNORE_EXIF, LoadPicture
from .pictures import to_bgr, to_bgr_planes
from .transforms import SimpleRandomCrop, ThreeAugment

__all__ = ['PictureSteps', 'keep_picture', 'keep_pictures']

_TURNS = {
    'horizontal': Image.Transpose.FLIP_LEFT_RIGHT,
    'vertical': Image.Transpose.FLIP_TOP_BOTTOM,
    'diagonal': Image.Transpose.ROTATE_180,
}


class PictureSteps:
    """Steps of a pipeline, from the loader on, that share one RGB picture.

    Args:
        load: the loader.
        steps: those after it, all of a kind that is known here.
        planes: lay the array that comes out as a batch needs it: nothing but the packing follows.
    """

    def __init__(self, load: LoadPicture, steps: Sequence[Callable], planes: bool) -> None:
        self.load, self.steps = load, list(steps)
        self.to_array = to_bgr_planes if planes else to_bgr
        # By name, for whoever measures them; ``img`` is the picture between them.
        self.parts: list[tuple[str, Callable[[dict], dict]]] = [
            (type(load).__name__, self._load),
            *((type(step).__name__, partial(_apply, step)) for step in self.steps),
            ('to array', self._to_array),
        ]

    def __call__(self, results: dict) -> dict:
        """Run the steps; ``img`` becomes the array that they would have left."""
        for _, part in self.parts:
            results = part(results)
        return results

    def _load(self, results: dict) -> dict:
        results['img'] = self.load.load(results)
        return results

    def _to_array(self, results: dict) -> dict:
        results['img'] = self.to_array(results['img'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({[self.load, *self.steps]})'


def _apply(step: Callable, results: dict) -> dict:
    results['img'] = _STEPS[type(step)](step, results['img'], results)
    return results


def keep_pictures(dataset: Dataset) -> None:
    """Apply :func:`keep_picture` to the pipelines of a data set, wrapped ones too."""
    for one in _opened(dataset):
        transforms = getattr(getattr(one, 'pipeline', None), 'transforms', None)
        if isinstance(transforms, list):
            transforms[:] = keep_picture(transforms)


def keep_picture(steps: Sequence[Callable]) -> list[Callable]:
    """Let the steps at the head of a pipeline share one picture, as far as they are known.

    Args:
        steps: built transforms.

    Returns:
        The same pipeline, its head in one :class:`PictureSteps` if it starts with a loader of ours
        and a known step.
    """
    if not steps or type(steps[0]) is not LoadPicture or not _loads_pictures(steps[0]):
        return list(steps)
    known = 1
    while known < len(steps) and _is_known(steps[known]):
        known += 1
    if known == 1:
        return list(steps)
    packed = known < len(steps) and type(steps[known]) is mmpretrain_transforms.PackInputs
    return [PictureSteps(steps[0], steps[1:known], planes=packed), *steps[known:]]


def _opened(dataset: Dataset) -> Iterator[Dataset]:
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for one in inner:
        if one is not None and one is not dataset:
            yield from _opened(one)
    yield dataset


def _loads_pictures(loader: LoadPicture) -> bool:
    return loader.color_type in ('color', IGNORE_EXIF) and not loader.to_float32


def _is_known(step: Callable) -> bool:
    # By the very type: a subclass may do anything.
    if type(step) not in _STEPS:
        return False
    return getattr(step, 'backend', 'pillow') == 'pillow' and not getattr(step, 'auto_pad', False)


def _random_resized_crop(step: Callable, picture: Image.Image, results: dict) -> Image.Image:
    upper, left, height, width = step.rand_crop_params(_stand_in(picture))
    crop = picture.crop((left, upper, left + width, upper + height))
    picture = crop.resize(step.scale[::-1], pillow_interp_codes[step.interpolation])
    results['img_shape'] = (picture.height, picture.width, 3)
    return picture


def _random_flip(step: Callable, picture: Image.Image, results: dict) -> Image.Image:
    results['img'] = _stand_in(picture)
    results = step.transform(results)
    return picture.transpose(_TURNS[results['flip_direction']]) if results['flip'] else picture


def _resize_edge(step: Callable, picture: Image.Image, results: dict) -> Image.Image:
    width, height = picture.size
    shorter = width < height
    if {'short': shorter, 'long': width > height, 'width': True}.get(step.edge, False):
        size = (step.scale, int(step.scale * height / width))
    else:
        size = (int(step.scale * width / height), step.scale)
    results.update(
        img_shape=size[::-1], scale=size, scale_factor=(size[0] / width, size[1] / height)
    )
    return picture.resize(size, pillow_interp_codes[step.interpolation])


def _center_crop(step: Callable, picture: Image.Image, results: dict) -> Image.Image:
    width, height = (min(a, b) for a, b in zip(step.crop_size, picture.size))
    left = round((picture.width - width) / 2)
    upper = round((picture.height - height) / 2)
    results['img_shape'] = results['pad_shape'] = (height, width)
    return picture.crop((left, upper, left + width, upper + height))


def _simple_random_crop(step: SimpleRandomCrop, picture: Image.Image, results: dict) -> Image.Image:
    picture = step.crop(picture)
    results['img_shape'] = (picture.height, picture.width)
    return picture


def _three_augment(step: ThreeAugment, picture: Image.Image, results: dict) -> Image.Image:
    return step.augment(picture)


def _stand_in(picture: Image.Image) -> np.ndarray:
    """An array of the picture's shape that takes no memory, for a step to see and to turn."""
    return np.broadcast_to(np.uint8(0), (picture.height, picture.width, 3))


_STEPS = {
    mmpretrain_transforms.RandomResizedCrop: _random_resized_crop,
    mmcv.transforms.RandomFlip: _random_flip,
    mmpretrain_transforms.ResizeEdge: _resize_edge,
    mmcv.transforms.CenterCrop: _center_crop,
    SimpleRandomCrop: _simple_random_crop,
    ThreeAugment: _three_augment,
}
