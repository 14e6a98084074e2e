"""Draw the predictions of a test into a folder, for classification and segmentation."""

from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

__all__ = ['DrawPredictionsHook']


@HOOKS.register_module()
class DrawPredictionsHook(Hook):
    """Save one picture a tested image: ``<index>_<file name>.png``.

    Segmentation: image, truth and prediction side by side with a legend. Classification: the image
    over its predicted and true class. The files of the data set are read again, so the picture
    shows the whole image, also under test-time augmentation, where mmpretrain's hook fails.

    Args:
        out_dir: folder of the pictures, made if needed.
        interval: draw every so many images.

    Raises:
        ValueError: ``interval`` below 1.
    """

    def __init__(self, out_dir: str, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f'interval={interval} must be 1 (every image) or more.')
        self.out_dir = Path(out_dir)
        self.interval = interval
        self.drawn = 0
        self._seen = 0

    def before_test(self, runner) -> None:
        """Read the classes' names and colours from the data set."""
        self.out_dir.mkdir(parents=True, exist_ok=True)
        self.drawn = self._seen = 0
        self._meta = dict(getattr(runner.test_dataloader.dataset, 'metainfo', None) or {})

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draw the images of one batch."""
        for i, sample in enumerate(outputs):
            index = self._seen * get_world_size() + get_rank()
            self._seen += 1
            if index % self.interval:
                continue
            path = sample.get('img_path')
            image = _read(path) if path else _from_batch(data_batch['inputs'], i)
            segmented = 'pred_sem_seg' in sample
            picture = self._segmented(image, sample) if segmented else self._labelled(image, sample)
            picture.save(self.out_dir / f'{index:06d}_{Path(path).stem if path else "image"}.png')
            self.drawn += 1

    def after_test(self, runner) -> None:
        """Say what was written where."""
        runner.logger.info(f'{self.drawn} picture(s) of predictions written to {self.out_dir}')

    def _labelled(self, image: np.ndarray, sample):
        # Drawing is needed in tests only: keep it out of the import of the package.
        from .drawing import draw_classification

        score, label = sample.pred_score.max(dim=0)
        true = sample.get('gt_label')
        true = self._name(int(true[0])) if true is not None and len(true) else None
        return draw_classification(image, self._name(int(label)), float(score), true)

    def _segmented(self, image: np.ndarray, sample):
        from .drawing import class_palette, draw_segmentation

        prediction = _label_map(sample.pred_sem_seg.data)
        truth = _label_map(sample.gt_sem_seg.data) if 'gt_sem_seg' in sample else None
        classes = self._meta.get('classes') or range(int(prediction.max()) + 1)
        names = [str(name) for name in classes]
        palette = class_palette(len(names), self._meta.get('palette'))
        return draw_segmentation(image, prediction, truth, names, palette)

    def _name(self, label: int) -> str:
        classes = self._meta.get('classes')
        return str(classes[label]) if classes else str(label)


def _read(path: str) -> np.ndarray:
    from cosub_mm.datasets.decoding import decode, read_file

    return decode(read_file(path))[:, :, ::-1]


def _from_batch(inputs: Tensor | list, i: int) -> np.ndarray:
    """The (C, H, W) input itself, for data sets that keep no files; BGR, as mmcv loads."""
    while not torch.is_tensor(inputs) and not (torch.is_tensor(inputs[0]) and inputs[0].ndim == 3):
        inputs = inputs[0]
    image = inputs[i].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    return image[..., ::-1] if image.shape[2] == 3 else image.repeat(3, axis=2)


def _label_map(data: Tensor) -> np.ndarray:
    return data.squeeze(0).cpu().numpy().astype(np.int64)
