"""Resizing no more of a picture than a crop shows, with the pixels of resizing all of it."""

import math

import numpy as np
from PIL import Image

__all__ = ['reflected_crop', 'reflected_window', 'resize_short_side', 'resized_window']

# How many pixels of the picture each filter reads on either side, at a scale of 1 (Pillow).
_REACH = {
    Image.Resampling.BOX: 0.5,
    Image.Resampling.BILINEAR: 1.0,
    Image.Resampling.HAMMING: 1.0,
    Image.Resampling.BICUBIC: 2.0,
    Image.Resampling.LANCZOS: 3.0,
}
_UPSIDE_DOWN = Image.Transpose.FLIP_TOP_BOTTOM
_MIRRORED = Image.Transpose.FLIP_LEFT_RIGHT


def resize_short_side(width: int, height: int, size: int) -> tuple[int, int]:
    """(width, height) of a picture whose short side becomes ``size``, rounded as torchvision's."""
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def resized_window(
    picture: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> Image.Image:
    """What ``picture.resize(size, resample).crop(box)`` gives, to the last bit.

    Pillow resizes along the rows first and then along the columns, and rounds to bytes in between.
    So rows that the window does not need are left out of the first pass, and columns out of the
    second. (Pillow's own ``box`` is in single precision, which changes pixels.) From Pillow 13 on,
    the columns come first in pictures more than twice as high as wide, and in some that change
    their proportions: those are resized whole.

    Args:
        picture: RGB or grey.
        size: (width, height) of the whole picture when resized.
        box: left, upper, right, lower of the window in it, within its borders.
        resample: the filter.
    """
    left, upper, right, lower = box
    width, height = size
    if resample not in _REACH or not _rows_come_first(picture, size):
        return picture.resize(size, resample).crop(box)
    if (upper, lower) != (0, height):
        scale = picture.height / height
        reach = _REACH[resample] * max(scale, 1.0) + 1
        first = max(math.floor(upper * scale - reach), 0)
        last = min(math.ceil(lower * scale + reach), picture.height)
        rows = picture.crop((0, first, picture.width, last))
        rows = rows.resize((width, last - first), resample).crop((left, 0, right, last - first))
        columns = Image.new(picture.mode, (right - left, picture.height))
        columns.paste(rows, (0, first))
    else:
        columns = picture.resize((width, picture.height), resample)
        if (left, right) != (0, width):
            columns = columns.crop((left, 0, right, picture.height))
    resized = columns.resize((right - left, height), resample)
    return (
        resized if (upper, lower) == (0, height) else resized.crop((0, upper, right - left, lower))
    )


def _rows_come_first(picture: Image.Image, size: tuple[int, int]) -> bool:
    # 10%: short sides of a few pixels do not keep the proportions exactly
    stretched = size[0] * picture.height / (size[1] * picture.width)
    return picture.height <= 2 * picture.width and 0.9 < stretched < 1.1


def reflected_window(
    picture: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> Image.Image:
    """A window of the resized picture that may reach beyond its borders, where it is reflected.

    Args:
        picture: RGB or grey.
        size: (width, height) of the whole picture when resized.
        box: left, upper, right, lower of the window; no side may be further beyond a border than
            the picture is long.
        resample: the filter.

    The border itself is not repeated, as in numpy's mode ``'reflect'``.
    """
    left, right = _with_sources(box[0], box[2], size[0])
    upper, lower = _with_sources(box[1], box[3], size[1])
    inner = (max(left, 0), max(upper, 0), min(right, size[0]), min(lower, size[1]))
    window = resized_window(picture, size, inner, resample)
    if inner == box:
        return window
    x, y = inner[0] - left, inner[1] - upper
    out = Image.new(picture.mode, (right - left, lower - upper))
    out.paste(window, (x, y))
    _mirror(out, x, x + window.width, out.width, horizontal=True)
    _mirror(out, y, y + window.height, out.height, horizontal=False)
    if (left, upper, right, lower) == box:
        return out
    return out.crop((box[0] - left, box[1] - upper, box[2] - left, box[3] - upper))


def reflected_crop(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """As :func:`reflected_window`, of an array (height, width, ...) that keeps its size."""
    left, upper, right, lower = box
    rows = _reflected(upper, lower, image.shape[0])
    return np.take(np.take(image, rows, axis=0), _reflected(left, right, image.shape[1]), axis=1)


def _reflected(first: int, last: int, length: int) -> np.ndarray:
    """Which of ``length`` places stand at first to last, mirrored behind both ends."""
    places = np.abs(np.arange(first, last))
    return np.minimum(places, 2 * (length - 1) - places)


def _with_sources(first: int, last: int, length: int) -> tuple[int, int]:
    """A range that may reach beyond [0, length), wide enough to hold what is reflected there."""
    low = min(first, 2 * length - 1 - last) if last > length else first
    return low, max(last, 1 - first) if first < 0 else last


def _mirror(out: Image.Image, first: int, last: int, end: int, horizontal: bool) -> None:
    """Fill what lies before ``first`` and from ``last`` on with the reflection of the rest."""
    turn = _MIRRORED if horizontal else _UPSIDE_DOWN

    def strip(start: int, stop: int) -> Image.Image:
        if horizontal:
            return out.crop((start, 0, stop, out.height))
        return out.crop((0, start, out.width, stop))

    def paste(part: Image.Image, at: int) -> None:
        out.paste(part, (at, 0) if horizontal else (0, at))

    if first > 0:
        paste(strip(first + 1, 2 * first + 1).transpose(turn), 0)
    if last < end:
        beyond = end - last
        paste(strip(last - 1 - beyond, last - 1).transpose(turn), last)
