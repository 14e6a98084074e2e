"""Draw what a model predicts in a test: ``tools/test.py --show-dir``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image

__all__ = ['PicturesHook']


@HOOKS.register_module()
class PicturesHook(Hook):
    """Draw the predictions of a test, one PNG an image.

    Segmentation: the image, its truth and its prediction beside each other, with a legend of class
    names. Classification: the image with its predicted and true class. The picture is read from the
    file, not from the batch, whose channels are in the model's order.

    Args:
        out_dir: folder to write to.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence
    ) -> None:
        """Draw a batch of predictions."""
        # Only who draws pays for the import.
        from cosub_mm.evaluation.pictures import draw_label, draw_overlay

        meta = getattr(runner.test_dataloader.dataset, 'metainfo', {})
        classes = meta.get('classes')
        for sample in outputs:
            with Image.open(sample.img_path) as file:
                image = np.asarray(file.convert('RGB'))
            if 'pred_sem_seg' in sample:
                truth = sample.gt_sem_seg if 'gt_sem_seg' in sample else None
                picture = draw_overlay(
                    image,
                    sample.pred_sem_seg.data.squeeze(0).cpu().numpy(),
                    truth and truth.data.squeeze(0).cpu().numpy(),
                    classes,
                    meta['palette'],
                )
            else:
                picture = draw_label(image, *_names(sample, classes))
            target = self.out_dir / f'{Path(sample.img_path).stem}.png'
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target)


def _names(sample, classes: Sequence[str] | None) -> tuple[str, float, str | None]:
    predicted = int(sample.pred_label)
    truth = int(sample.gt_label) if 'gt_label' in sample else None

    def name(label: int) -> str:
        return classes[label] if classes else str(label)

    score = float(sample.pred_score[predicted]) if 'pred_score' in sample else float('nan')
    return name(predicted), score, None if truth is None else name(truth)
