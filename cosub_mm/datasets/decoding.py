"""Decoding of pictures: one rule for training, testing and the tools.

Pillow decodes, because OpenCV, mmcv's default, returns half a picture from a truncated file without
a word. The values are OpenCV's, so that Inferencers, which read a config as it is, see the same:
equal to the last bit for 8 bits (CMYK within 1), the upper byte of 16 bits, transparency dropped.
Pictures are turned upright as their EXIF tag says, unless the loader is asked to ignore it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

from cosub_mm.safe_files import read_bytes

from .pictures import to_bgr

__all__ = [
    'IGNORE_EXIF',
    'LoadPicture',
    'TooManyPixels',
    'allow_pixels',
    'check_picture',
    'check_pixels',
    'decode',
    'decode_picture',
    'is_turned',
    'read_array',
    'read_file',
    'read_size',
    'stored_and_shown_size',
]

IGNORE_EXIF = 'color_ignore_orientation'
EXIF_ORIENTATION = 0x0112
# Pillow's modes of one channel with 16 bits; an 'I' of 32 bits may hold 16.
DEEP = ('I', 'I;16', 'I;16L', 'I;16B', 'I;16N')
DECODERS = ('pillow', 'torchvision', 'simplejpeg')
WITH_ALPHA = {'LA': 'L', 'La': 'L', 'PA': 'P'}


_CURE = '--max-image-pixels N lets pictures of up to N pixels through'


class TooManyPixels(ValueError):
    """A picture that unpacks to more pixels than allowed."""


@TRANSFORMS.register_module()
class LoadPicture(LoadImageFromFile):
    """mmcv's LoadImageFromFile, decoding by :func:`decode`.

    The tools put it in the place of every LoadImageFromFile that names no decoder but Pillow.

    Args:
        *args: of LoadImageFromFile.
        draft: let libjpeg decode a JPEG at a half, a quarter or an eighth of its size, as long as
            both sides keep so many pixels: for originals that are far larger than the crop, which
            is then drawn from *other pixels* than the recipe's. None decodes all. Not for
            segmentation, whose masks stay as large as they are.
        decoder: ``'pillow'``, or ``'torchvision'`` or ``'simplejpeg'`` (where it is installed) for
            sound JPEGs of usual colours; all else, and what they refuse, is left to Pillow. Their
            pixels are Pillow's where both have the same libjpeg, which nothing promises.
        **kwargs: of LoadImageFromFile; ``imdecode_backend`` is Pillow in any case, and of
            ``color_type`` only ``'color'`` and ``'color_ignore_orientation'`` are decoded here.

    Raises:
        ValueError: a ``draft`` below 1, with another decoder, or for a sample with a mask; an
            unknown decoder.
        ImportError: a decoder that is not installed.
    """

    def __init__(self, *args, draft: int | None = None, decoder: str = 'pillow', **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if decoder not in DECODERS:
            raise ValueError(
                f'LoadPicture: decoder={decoder!r} is unknown; choose from {", ".join(DECODERS)}.'
            )
        if decoder != 'pillow':
            if draft is not None:
                raise ValueError('LoadPicture: draft is an option of the decoder pillow alone.')
            import_module(decoder)
        if draft is not None and (not isinstance(draft, int) or draft < 1):
            raise ValueError(
                f'LoadPicture: draft={draft!r} must be a number of pixels, at least 1, or None.'
            )
        self.draft, self.decoder = draft, decoder

    def transform(self, results: dict) -> dict | None:
        """Load ``img_path``; adds ``img``, (H, W, 3) BGR, ``img_shape`` and ``ori_shape``."""
        if self.color_type not in ('color', IGNORE_EXIF):
            return super().transform(results)
        image = to_bgr(self.load(results))
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        return results

    def load(self, results: dict) -> Image.Image:
        """The RGB picture at ``img_path``; adds ``img_shape`` and ``ori_shape``."""
        if self.draft and 'seg_map_path' in results:
            raise ValueError(
                f'LoadPicture: draft={self.draft} decodes pictures smaller than their masks; leave '
                f'it out for segmentation.'
            )
        content = read_file(results['img_path'], self.backend_args)
        picture = decode_picture(content, self.color_type == 'color', self.draft, self.decoder)
        results['img_shape'] = results['ori_shape'] = (picture.height, picture.width)
        return picture


def decode(content: bytes, upright: bool = True) -> np.ndarray:
    """As :func:`decode_picture`, (H, W, 3) uint8, BGR."""
    return to_bgr(decode_picture(content, upright))


def decode_picture(
    content: bytes, upright: bool = True, draft: int | None = None, decoder: str = 'pillow'
) -> Image.Image:
    """Decode a picture of 8 or 16 bits.

    Args:
        content: the file.
        upright: turn it as its EXIF tag says.
        draft: decode a JPEG smaller, with at least so many pixels on both sides.
        decoder: see :class:`LoadPicture`.

    Returns:
        A picture of mode RGB.

    Raises:
        ValueError: float or 32-bit integer values, whose range nothing tells, a side of one pixel,
            or more pixels than :func:`allow_pixels` lets through.
        OSError: not a picture, or a truncated one.
    """
    with _opened(content) as picture:
        check_shape(picture)
        if draft is not None:
            picture.draft(picture.mode, (draft, draft))
        turned = upright and is_turned(picture)
        if decoder != 'pillow' and not turned:
            decoded = _by_another(picture, content, decoder)
            if decoded is not None:
                return decoded
        picture.load()
        # exif_transpose and convert copy also where there is nothing to do.
        if turned:
            picture = ImageOps.exif_transpose(picture)
        if picture.mode in DEEP:
            picture = Image.fromarray(_upper_byte(np.asarray(picture)))
        if picture.mode == 'F':
            raise ValueError(
                'float values, and nothing tells which of them are black and white: save it with 8 '
                'or 16 bits, or load it by a transform of your own that scales it'
            )
        if picture.mode in WITH_ALPHA:
            picture = picture.convert(WITH_ALPHA[picture.mode])
        return picture if picture.mode == 'RGB' else picture.convert('RGB')


def _by_another(picture: Image.Image, content: bytes, decoder: str) -> Image.Image | None:
    """An opened JPEG in RGB, or None: it is another picture, or not sound."""
    if picture.format != 'JPEG' or picture.mode not in ('RGB', 'L'):
        return None
    try:
        if decoder == 'simplejpeg':
            return Image.fromarray(import_module(decoder).decode_jpeg(content))
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        # A copy, for torch wants memory that it could write.
        data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return Image.fromarray(decode_jpeg(data, ImageReadMode.RGB).permute(1, 2, 0).numpy())
    except (RuntimeError, ValueError):
        return None


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    try:
        picture = Image.open(BytesIO(content))
    except Image.DecompressionBombError as error:  # from twice the limit on Pillow refuses itself
        raise TooManyPixels(f'{error}; {_CURE}') from error
    with picture:
        yield picture


def check_shape(picture: Image.Image) -> None:
    """Look at the size of an opened picture, before its pixels take memory.

    Raises:
        TooManyPixels: see :func:`allow_pixels`.
        ValueError: a side of one pixel.
    """
    if min(picture.size) < 2:
        raise ValueError(f'{picture.width}x{picture.height} pixels: a line, not a picture')
    check_pixels(picture)


def check_pixels(picture: Image.Image) -> None:
    """Refuse an opened picture that unpacks to more pixels than allowed.

    Raises:
        TooManyPixels: so it is.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit and picture.width * picture.height > limit:
        raise TooManyPixels(
            f'{picture.width}x{picture.height} pixels are more than {limit:,}, and would take '
            f'{6 * picture.width * picture.height / 2**30:.1f} GiB of each process that reads it; '
            f'{_CURE}'
        )


def _upper_byte(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(
            f'32-bit values from {values.min()} to {values.max()}, and nothing tells which of them '
            f'are black and white: save it with 8 or 16 bits'
        )
    return (values.astype(np.uint16) >> 8).astype(np.uint8)


def stored_and_shown_size(picture: Image.Image) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of an opened picture as it is stored, and as its EXIF tag turns it."""
    stored = (picture.height, picture.width)
    turned = picture.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return stored, stored[::-1] if turned else stored


def is_turned(picture: Image.Image) -> bool:
    """Whether an opened picture has an EXIF tag that turns or mirrors it."""
    return picture.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)


def check_picture(path: str) -> None:
    """Look at the head of a picture's file, for loaders that do not.

    Raises:
        ValueError: as :func:`decode_picture`.
        OSError: not a picture.
    """
    with _opened(read_file(path)) as picture:
        check_shape(picture)


def read_size(path: str, upright: bool) -> tuple[int, int]:
    """(height, width) of a picture as :func:`decode` returns it, from the head of its file."""
    with _opened(read_file(path)) as picture:
        stored, shown = stored_and_shown_size(picture)
        return shown if upright else stored


def allow_pixels(number: int | None) -> None:
    """Let this process decode pictures of up to so many pixels.

    None keeps Pillow's ``MAX_IMAGE_PIXELS``, 89 million, from which on Pillow warns: a small file
    may unpack to any size.
    """
    if number is not None:
        Image.MAX_IMAGE_PIXELS = number


def read_array(path: str) -> np.ndarray:
    """A mask as its file has it.

    Raises:
        TooManyPixels: see :func:`allow_pixels`.
        OSError: not a picture, or a truncated one.
    """
    with _opened(read_file(path)) as image:
        check_pixels(image)
        return np.asarray(image)


def read_file(path: str, backend_args: dict | None = None) -> bytes:
    """Content of a picture's or mask's file, here or where its address says.

    Raises:
        UnsafeFileError: a file of this machine that is no regular one (a pipe would be waited for
            for ever, and /dev/zero has no end), or has more than 256 MiB.
    """
    if backend_args is None and '://' not in str(path):
        return read_bytes(path)
    return fileio.get(path, backend_args=backend_args)
