"""Test-time augmentation for both tasks: the config's own, or the usual one made from its tests."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

from mmengine.config import Config, ConfigDict

from .config import task_of

__all__ = ['enable_tta']

# Multi-scale test of the XCiT and Swin segmentation recipes, with horizontal flips. The ratios are
# of the test's own scale, (2048, 512) for ADE20k at 512, not of the raw picture.
SEG_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
TTA_MODELS = {
    'classification': 'mmpretrain.AverageClsScoreTTA',
    'segmentation': 'mmseg.CosubSegTTAModel',
}


def enable_tta(cfg: Config) -> None:
    """Wrap the model of ``cfg`` and change its test pipeline for test-time augmentation.

    ``cfg.tta_model`` and ``cfg.tta_pipeline`` are used where they exist. Otherwise classification
    averages the scores of the picture and its mirror image, and segmentation the probabilities of
    six scales, each with its mirror image. The scales are ``cfg.tta_ratios``, or
    ``SEG_RATIOS``, times the size to which the test pipeline resizes; ``cfg.tta_flip = False`` is
    for pictures whose mirror image shows something else. No config of ours has a
    ``tta_pipeline``, so that this is the one place which decides.

    Raises:
        ValueError: the test pipeline has no packing step, so no default can be made from it;
            ``tta_ratios`` that are no positive numbers, or beside a ``tta_pipeline``; or
            classification without flips, which leaves one view.
    """
    task = task_of(cfg)
    dataset = cfg.test_dataloader.dataset
    ratios = _ratios(cfg, task)
    if not cfg.get('tta_pipeline'):
        flips = [_flip(0.0), _flip(1.0)] if cfg.get('tta_flip', True) else [_flip(0.0)]
        if task == 'classification' and len(flips) == 1:
            raise ValueError(
                'tta_flip=False leaves a single view of a picture: test without --tta, or give '
                'tta_pipeline in the config.'
            )
        make = _views if task == 'classification' else partial(_scales, ratios=ratios)
        cfg.tta_pipeline = make(deepcopy(list(dataset.pipeline)), flips=flips)
    dataset.pipeline = cfg.tta_pipeline
    tta_model = cfg.get('tta_model') or dict(type=TTA_MODELS[task])
    if str(tta_model['type']).rpartition('.')[2] == 'SegTTAModel':  # wrong for heads of one channel
        tta_model = dict(tta_model, type=TTA_MODELS[task])
    cfg.model = ConfigDict(**tta_model, module=cfg.model)


def _ratios(cfg: Config, task: str) -> Sequence[float]:
    """The scales of the multi-scale test; what could not take effect is refused."""
    ratios = cfg.get('tta_ratios')
    if ratios is None:
        return SEG_RATIOS
    if task == 'classification' or cfg.get('tta_pipeline'):
        raise ValueError(
            f'tta_ratios={ratios} would have no effect: '
            + ('classification is tested at one scale' if task == 'classification' else '')
            + ('the config gives its own tta_pipeline' if cfg.get('tta_pipeline') else '')
            + '. Remove tta_ratios.'
        )
    right = isinstance(ratios, list | tuple) and all(isinstance(r, int | float) for r in ratios)
    if not right or not ratios or min(ratios) <= 0:
        raise ValueError(f'tta_ratios={ratios} must be positive numbers, e.g. {SEG_RATIOS}.')
    return ratios


def _views(pipeline: list[dict], flips: list[dict]) -> list[dict]:
    """Everything once, then the picture and its mirror image."""
    if not pipeline or not _name(pipeline[-1]).startswith('Pack'):
        raise ValueError(
            '--tta: the test pipeline does not end with a Pack... step, so nothing can be put '
            'before it. Give tta_pipeline in the config.'
        )
    views = [flips, [pipeline[-1]]]
    return [*pipeline[:-1], dict(type='TestTimeAug', transforms=views)]


def _scales(pipeline: list[dict], flips: list[dict], ratios: Sequence[float]) -> list[dict]:
    """The test's own resizing at every ratio, then flips, then the rest (truth, packing)."""
    at = next((i for i, step in enumerate(pipeline) if _name(step) == 'Resize'), None)
    if at is None:
        at, rest = 1, pipeline[1:]
        resizes = [dict(type='Resize', scale_factor=r, keep_ratio=True) for r in ratios]
    else:
        rest = pipeline[at + 1 :]
        resizes = [_scaled(pipeline[at], ratio) for ratio in ratios]
    views = [resizes, flips, *([step] for step in rest)]
    return [*pipeline[:at], dict(type='TestTimeAug', transforms=views)]


def _scaled(resize: dict, ratio: float) -> dict:
    step = dict(deepcopy(resize))
    if step.get('scale') is not None:
        scale = step['scale']
        sides = scale if isinstance(scale, list | tuple) else (scale, scale)
        step['scale'] = tuple(int(side * ratio + 0.5) for side in sides)
    else:
        step['scale_factor'] = ratio * (step.get('scale_factor') or 1.0)
    return step


def _flip(prob: float) -> dict:
    return dict(type='RandomFlip', prob=prob, direction='horizontal')


def _name(step: dict) -> str:
    return str(step['type']).rpartition('.')[2]
