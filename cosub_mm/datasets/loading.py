"""Reading image and label files so that a broken one is named, and skipped only on request."""

import os

import numpy as np
from mmcv.transforms import LoadAnnotations as MMCVLoadAnnotations
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmpretrain.registry import TRANSFORMS

__all__ = ['BAD_IMAGE_POLICIES', 'BadFileError', 'CheckedLabels', 'CheckedLoadImage']

BAD_IMAGE_POLICIES = ('stop', 'skip')


class BadFileError(ValueError):
    """A file of a data set that cannot be used; the message names it."""


@TRANSFORMS.register_module()
class CheckedLoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` that names a file which cannot be decoded.

    Args:
        on_bad_image: ``'stop'`` raises, ``'skip'`` lets the data set take another sample and warns,
            with a running count for each data-loading process.
        **kwargs: as for mmcv's transform.

    Raises:
        BadFileError: with ``'stop'``, naming the file.
    """

    def __init__(self, on_bad_image: str = 'stop', **kwargs) -> None:
        if on_bad_image not in BAD_IMAGE_POLICIES:
            raise ValueError(
                f"on_bad_image={on_bad_image!r} is unknown; choose 'stop' or 'skip'."
            )
        super().__init__(**kwargs)
        self.on_bad_image = on_bad_image
        self._bad: set[str] = set()

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``; None for a bad image that is skipped."""
        path = results['img_path']
        try:
            return super().transform(results)
        # Decoders raise what they like: PIL SyntaxError and struct.error, mmcv AssertionError.
        except Exception as error:
            detail = 'there is no such file' if not os.path.exists(path) else _first_line(error)
            if self.on_bad_image == 'stop':
                raise BadFileError(
                    f"image file '{path}' cannot be read: {detail}. Mend or remove it, or go on "
                    f'without such files by --on-bad-image skip. All broken files are listed by '
                    f'tools/dataset_converters/verify_dataset.py CONFIG'
                ) from error
            if path not in self._bad:
                self._bad.add(path)
                MMLogger.get_current_instance().warning(
                    f"skipped image file '{path}', which cannot be read: {detail} (number "
                    f'{len(self._bad)} of loading process {os.getpid()})'
                )
            return None


@ROOT_TRANSFORMS.register_module()
@TRANSFORMS.register_module()
class CheckedLabels(MMCVLoadAnnotations):
    """Check a segmentation mask as it comes from its file; stands behind mmseg's loading.

    Required keys: ``gt_seg_map`` and ``seg_map_path`` of mmseg's ``LoadAnnotations``.

    Args:
        num_classes: labels 0 to ``num_classes`` - 1 are allowed.
        ignore_index: the label of pixels without a class.

    Raises:
        BadFileError: naming the file, the labels outside, and the allowed range.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__(with_bbox=False, with_label=False, with_seg=False)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._checked: set[str] = set()

    def transform(self, results: dict) -> dict:
        """Check the mask of a file when it is read for the first time."""
        path = results.get('seg_map_path', '')
        if path in self._checked:
            return results
        labels = np.unique(results['gt_seg_map'])
        wrong = [int(x) for x in labels if x >= self.num_classes and x != self.ignore_index]
        if wrong:
            reduced = results.get('reduce_zero_label')
            note = ' after reduce_zero_label has taken 1 from each' if reduced else ''
            raise BadFileError(
                f"mask '{path}' has the labels {wrong[:8]}{note}; allowed are 0 to "
                f'{self.num_classes - 1}, and {self.ignore_index} for pixels without a class. '
                f'Mend the mask, or set num_classes and reduce_zero_label to what the data has.'
            )
        self._checked.add(path)
        return results


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), '') or type(error).__name__
