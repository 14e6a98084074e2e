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

import random

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import ColorJitter, InterpolationMode, RandomCrop, Resize

__all__ = ['SimpleRandomCrop', 'ThreeAugment']


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
        self.jitter = ColorJitter(color_jitter, color_jitter, color_jitter)

    def transform(self, results: dict) -> dict:
        """Augment ``results['img']``."""
        image = _to_pil(results['img'])
        image = random.choice(self.operations)(image)
        if self.color_jitter:
            image = self.jitter(image)
        results['img'] = _to_bgr(image)
        return results

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
        modes = {mode.value: mode for mode in InterpolationMode}
        if interpolation not in modes:
            raise ValueError(
                f'interpolation={interpolation!r} is unknown; choose from {sorted(modes)}.'
            )
        if size < 1 or not 0 <= padding < size:
            raise ValueError(
                f'size={size} must be positive, padding={padding} at least 0 and below the size: '
                f'a reflection cannot be longer than the image.'
            )
        self.size = size
        self.padding = padding
        self.interpolation = interpolation
        self.resize = Resize(size, interpolation=modes[interpolation])
        self.crop = RandomCrop(size, padding=padding or None, padding_mode='reflect')

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']``."""
        image = self.crop(self.resize(_to_pil(results['img'])))
        results['img'] = _to_bgr(image)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, padding={self.padding}, '
            f'interpolation={self.interpolation!r})'
        )


def _solarize(image: Image.Image) -> Image.Image:
    return ImageOps.solarize(image, threshold=128)


def _grey(image: Image.Image) -> Image.Image:
    return image.convert('L').convert('RGB')


def _blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def _to_pil(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'The image is {image.dtype} of shape {image.shape}; 3-Augment and the simple random '
            f"crop need uint8 of shape (height, width, 3): load it with color_type='color' and "
            f'to_float32=False, and normalise after them.'
        )
    return Image.fromarray(np.ascontiguousarray(image[..., ::-1]))


def _to_bgr(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image)[..., ::-1])
