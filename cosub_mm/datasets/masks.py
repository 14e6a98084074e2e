"""What a segmentation mask must be: one channel of class numbers, of its picture's size."""

import numpy as np

from .decoding import IGNORE_EXIF, read_size

__all__ = ['BadLabelError', 'check_mask', 'labels_in', 'size_problem', 'wrong_labels']

NAMED = 10


class BadLabelError(ValueError):
    """A segmentation mask with labels outside the range of the classes."""


def wrong_labels(
    labels: np.ndarray, classes: int, reduce_zero_label: bool, ignore_index: int
) -> np.ndarray:
    """Which pixels of a mask's file have a label that is neither a class nor ignored.

    Args:
        labels: (H, W) as the file has them.
        classes: how many classes the files number.
        reduce_zero_label: whether 0 stands for no label and 1 for the first class.
        ignore_index: the label of pixels that have none.

    Returns:
        (H, W) bool.
    """
    largest = classes if reduce_zero_label else classes - 1
    wrong = (labels > largest) & (labels != ignore_index)
    return wrong | (labels < 0) if labels.dtype.kind == 'i' else wrong


def check_mask(
    path: str,
    labels: np.ndarray,
    classes: int | None,
    reduce_zero_label: bool = False,
    ignore_index: int = 255,
) -> None:
    """Check one mask; arguments as in :func:`wrong_labels`.

    Raises:
        BadLabelError: more than one channel, or labels out of range.
    """
    if labels.ndim != 2:
        raise BadLabelError(
            f'{path} has shape {labels.shape}; a mask has one channel that holds class numbers, '
            f'not colours.'
        )
    if not classes:
        return
    wrong = wrong_labels(labels, classes, reduce_zero_label, ignore_index)
    if not wrong.any():
        return
    found = np.unique(labels[wrong])
    allowed = (
        f'1 to {classes} for the {classes} classes, 0 and {ignore_index} for pixels to ignore '
        f'(reduce_zero_label)'
        if reduce_zero_label
        else f'0 to {classes - 1} for the {classes} classes, {ignore_index} for pixels to ignore'
    )
    raise BadLabelError(
        f'{path} holds {int(wrong.sum())} pixels with labels out of range: '
        f'{", ".join(map(str, found[:NAMED]))}{", ..." if len(found) > NAMED else ""}. '
        f'Allowed are {allowed}. Mend the mask, or the classes of the data set.'
    )


def size_problem(
    path: str, labels: np.ndarray, picture: str | None, upright: bool = True
) -> str | None:
    """Why a mask does not fit its picture, in words; None where it does.

    Args:
        path: the mask's file.
        labels: the mask, (H, W).
        picture: its picture's file.
        upright: whether pictures are turned as their EXIF tags say.
    """
    if not picture:
        return None
    mask = labels.shape[:2]
    shown, stored = read_size(picture, upright), read_size(picture, False)
    if mask == shown:
        if min(mask) == 1:
            return f'{picture} and its mask {path} are {_size(mask)} pixels: a line, not a picture'
        return None
    text = f'{picture} has {_size(shown)} pixels and its mask {path} has {_size(mask)}'
    if mask == stored:
        return (
            f'{text}: the EXIF tag turns the picture, and the mask was drawn on the picture as it '
            f'is stored. Turn the masks too, or load the pictures as stored, by color_type='
            f"'{IGNORE_EXIF}' in LoadImageFromFile"
        )
    if mask == read_size(picture, True):
        return (
            f'{text}: the mask was drawn on the picture as its EXIF tag turns it, which '
            f"color_type='{IGNORE_EXIF}' in LoadImageFromFile ignores"
        )
    return text


def labels_in(
    labels: np.ndarray, reduce_zero_label: bool, ignore_index: int
) -> dict[int | str, int]:
    """Pixels of each class in a mask's file, and of ``'ignored'``.

    Args:
        labels: (H, W) as the file has them.
        reduce_zero_label: whether 0 stands for no label and 1 for the first class.
        ignore_index: the label of pixels that have none.
    """
    values, counts = np.unique(labels, return_counts=True)
    found: dict[int | str, int] = {}
    for value, count in zip(values.tolist(), counts.tolist()):
        ignored = value == ignore_index or (reduce_zero_label and value == 0)
        name = 'ignored' if ignored else value - int(reduce_zero_label)
        found[name] = found.get(name, 0) + count
    return found


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[1]}x{shape[0]}'
