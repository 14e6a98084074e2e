"""3-Augment and the simple random crop of DeiT III, on PIL as the recipe defines them.

The training pipeline of the recipe (DeiT III, augment.py) is, in this order::

    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='SimpleRandomCrop', size=224),   # or RandomResizedCrop, backend='pillow', 'bicubic'
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ThreeAugment', color_jitter=0.3),
    dict(type='PackInputs'),

From mmseg's scope the names need their prefix, ``mmpretrain.ThreeAugment``. Colour order: the
loaders of mmcv give BGR, and so do these transforms; they convert to RGB inside, so that the grey
values and the jitter are those of PIL. Use ``to_rgb=True`` in the data preprocessor.

mmpretrain's own parts do not add up to the recipe: its ``GaussianBlur`` and ``ColorJitter`` round
otherwise than PIL's, and ``torchvision/GaussianBlur`` has a kernel of fixed size.
"""

import operator
import random

import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageFilter
from torchvision.transforms import ColorJitter

from .pictures import check_bgr, from_bgr, to_bgr
from .resizing import reflected_crop, reflected_window, resize_short_side

__all__ = ['SimpleRandomCrop', 'ThreeAugment']

_FILTERS = {mode.name.lower(): mode for mode in Image.Resampling}


@TRANSFORMS.register_module()
class ThreeAugment(BaseTransform):
    """One of solarisation, grey and Gaussian blur, then colour jitter (DeiT III, 3-Augment).

    The three operations are equally likely and one is always applied: solarisation of the values
    from 128 up, conversion to grey, or a blur whose radius is uniform in [.1, 2] pixels. The
    horizontal flip which the recipe does before is mmcv's ``RandomFlip``.

    Required and modified key: ``img``, uint8, (height, width, 3), BGR.

    Args:
        color_jitter: strength of the brightness, contrast and saturation jitter; 0 turns it off.

    Raises:
        ValueError: ``color_jitter`` below 0, or an image that is not uint8 with three channels.
    """

    def __init__(self, color_jitter: float = 0.3) -> None:
        if color_jitter < 0:
            raise ValueError(f'color_jitter={color_jitter} must be at least 0.')
        self.color_jitter = color_jitter
        self.operations = (_solarize, _grey, _blur)
        jitter = ColorJitter(color_jitter, color_jitter, color_jitter)
        self.ranges = (jitter.brightness, jitter.contrast, jitter.saturation)

    def transform(self, results: dict) -> dict:
        """Augment ``results['img']``."""
        results['img'] = to_bgr(self.augment(from_bgr(results['img'])))
        return results

    def augment(self, picture: Image.Image) -> Image.Image:
        """Augment an RGB picture."""
        picture = random.choice(self.operations)(picture)
        if self.color_jitter:
            picture = self._jitter(picture)
        return picture if picture.mode == 'RGB' else picture.convert('RGB')

    def _jitter(self, picture: Image.Image) -> Image.Image:
        """The draws and the pixels of torchvision's ColorJitter, with less work."""
        order, *factors, _ = ColorJitter.get_params(*self.ranges, None)
        for step in order.tolist():
            if step < len(factors):
                picture = _JITTERS[step](picture, factors[step])
        return picture

    def __repr__(self) -> str:
        return f'{type(self).__name__}(color_jitter={self.color_jitter})'


@TRANSFORMS.register_module()
class SimpleRandomCrop(BaseTransform):
    """Resize the short side, pad by reflection, crop a square at random (DeiT III, SRC).

    Required and modified keys: ``img``, uint8, (height, width, 3), BGR; ``img_shape``.

    Args:
        size: side of the crop, and length of the short side before padding, in pixels.
        padding: pixels added on each side; 4 in the recipe at every resolution.
        interpolation: ``'bicubic'`` (the recipe), ``'bilinear'``, ``'nearest'`` or ``'lanczos'``.

    Raises:
        ValueError: an argument outside its range, or an image that is not uint8 with three
            channels.
    """

    def __init__(self, size: int, padding: int = 4, interpolation: str = 'bicubic') -> None:
        if interpolation not in _FILTERS:
            raise ValueError(
                f'interpolation={interpolation!r} is unknown; choose from {sorted(_FILTERS)}.'
            )
        if size < 1 or not 0 <= padding < size:
            raise ValueError(
                f'size={size} must be positive, padding={padding} at least 0 and below the size: '
                f'a reflection cannot be longer than the image.'
            )
        self.size = size
        self.padding = padding
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']``."""
        image = results['img']
        check_bgr(image)
        size = image.shape[1], image.shape[0]
        if min(size) == self.size:  # nothing to resize, so nothing to turn into a picture
            results['img'] = reflected_crop(image, self._box(size))
        else:
            results['img'] = to_bgr(self.crop(from_bgr(image)))
        results['img_shape'] = results['img'].shape[:2]
        return results

    def crop(self, picture: Image.Image) -> Image.Image:
        """Crop an RGB picture: (size, size) pixels."""
        size = resize_short_side(picture.width, picture.height, self.size)
        return reflected_window(picture, size, self._box(size), _FILTERS[self.interpolation])

    def _box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, upper, right and lower of a random crop of a picture of this (width, height)."""
        # torchvision's draws: none where the crop can be in one place only
        spare = [length + 2 * self.padding - self.size for length in size]
        left, upper = 0, 0
        if any(spare):
            upper = int(torch.randint(0, spare[1] + 1, (1,)))
            left = int(torch.randint(0, spare[0] + 1, (1,)))
        left, upper = left - self.padding, upper - self.padding
        return left, upper, left + self.size, upper + self.size

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, padding={self.padding}, '
            f'interpolation={self.interpolation!r})'
        )


_SOLARIZED = [value if value < 128 else 255 - value for value in range(256)] * 3


def _solarize(picture: Image.Image) -> Image.Image:
    return picture.point(_SOLARIZED)


def _grey(picture: Image.Image) -> Image.Image:
    # One channel: the jitter of three equal ones costs thrice as much.
    return picture.convert('L')


def _blur(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def _brightness(picture: Image.Image, factor: float) -> Image.Image:
    return Image.blend(_uniform(picture, 0), picture, factor)


def _contrast(picture: Image.Image, factor: float) -> Image.Image:
    grey = picture if picture.mode == 'L' else picture.convert('L')
    total = sum(map(operator.mul, range(256), grey.histogram()))
    mean = int(total / (picture.width * picture.height) + 0.5)
    return Image.blend(_uniform(picture, mean), picture, factor)


def _saturation(picture: Image.Image, factor: float) -> Image.Image:
    if picture.mode == 'L':  # between a grey picture and itself there is nothing
        return picture
    return Image.blend(picture.convert('L').convert('RGB'), picture, factor)


def _uniform(picture: Image.Image, value: int) -> Image.Image:
    color = value if picture.mode == 'L' else (value, value, value)
    return Image.new(picture.mode, picture.size, color)


_JITTERS = (_brightness, _contrast, _saturation)
