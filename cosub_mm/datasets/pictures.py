"""Pictures of Pillow, RGB, and the arrays of mmcv, BGR, one as the other."""

import cv2
import numpy as np
from PIL import Image

__all__ = ['check_bgr', 'from_bgr', 'to_bgr', 'to_bgr_planes']


def to_bgr(picture: Image.Image) -> np.ndarray:
    """An RGB picture as mmcv's loaders give it: (height, width, 3) uint8, BGR, contiguous."""
    # numpy takes six times as long to turn the colours around.
    return cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)


def to_bgr_planes(picture: Image.Image) -> np.ndarray:
    """As :func:`to_bgr`, laid out as (3, height, width), the order in which a batch needs it."""
    planes = np.asarray(picture).transpose(2, 0, 1)[::-1]
    return np.ascontiguousarray(planes).transpose(1, 2, 0)


def check_bgr(image: np.ndarray) -> None:
    """See that an array of mmcv is a picture.

    Raises:
        ValueError: it is not uint8 with three channels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'The image is {image.dtype} of shape {image.shape}; 3-Augment and the simple random '
            f"crop need uint8 of shape (height, width, 3): load it with color_type='color' and "
            f'to_float32=False, and normalise after them.'
        )


def from_bgr(image: np.ndarray) -> Image.Image:
    """An array of mmcv as an RGB picture.

    Raises:
        ValueError: it is not uint8 with three channels.
    """
    check_bgr(image)
    return Image.fromarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2RGB))
