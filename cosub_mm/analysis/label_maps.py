"""Segmentation metrics from label maps on disk, by scikit-learn instead of mmseg."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['metrics_of_label_maps']


def metrics_of_label_maps(
    predictions: str | Path,
    annotations: str | Path,
    num_classes: int,
    reduce_zero_label: bool = False,
    ignore_index: int = 255,
) -> dict[str, float]:
    """Mean IoU, mean accuracy and pixel accuracy of PNG label maps, in per cent.

    It shares no code with ``IoUMetric``, to be compared with it.

    Args:
        predictions: folder that ``tools/test.py --out`` wrote.
        annotations: folder of the masks, with the same file names.
        num_classes: number of classes.
        reduce_zero_label: 0 is no class and class i has label i + 1, in both folders (ADE20k).
        ignore_index: label of the pixels that do not count.

    Returns:
        ``mIoU`` and ``mAcc``, means over the classes that occur, and ``aAcc``.

    Raises:
        FileNotFoundError: no masks, or a mask without a prediction.
        ValueError: a prediction of another size than its mask.
    """
    try:
        from sklearn.metrics import confusion_matrix
    except ImportError as error:
        raise ImportError('The independent metrics need scikit-learn: install it.') from error

    first = int(reduce_zero_label)
    labels = range(first, first + num_classes)
    counts = np.zeros((num_classes, num_classes), np.int64)
    paths = sorted(Path(annotations).glob('*.png'))
    if not paths:
        raise FileNotFoundError(f'There are no masks (PNG) in {annotations}.')
    for path in paths:
        truth = np.asarray(Image.open(path)).astype(int)
        guess = _prediction_of(path, Path(predictions), truth.shape)
        counted = truth != ignore_index
        if reduce_zero_label:
            counted &= truth != 0
        if counted.any():
            counts += confusion_matrix(truth[counted], guess[counted], labels=labels)
    hits, there, said = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(invalid='ignore'):  # 0 / 0: a class that does not occur
        iou, accuracy = hits / (there + said - hits), hits / there
    return dict(
        mIoU=100 * float(np.nanmean(iou)),
        mAcc=100 * float(np.nanmean(accuracy)),
        aAcc=100 * float(hits.sum() / counts.sum()),
    )


def _prediction_of(mask: Path, folder: Path, shape: tuple[int, int]) -> np.ndarray:
    path = folder / mask.name
    if not path.is_file():
        raise FileNotFoundError(
            f'{mask} has no prediction {path}. Write them by tools/test.py CONFIG CHECKPOINT --out '
            f'{folder}'
        )
    prediction = np.asarray(Image.open(path)).astype(int)
    if prediction.shape != shape:
        raise ValueError(f'{path} has shape {prediction.shape}, its mask {shape}.')
    return prediction
