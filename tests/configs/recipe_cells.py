"""What a parsed config says in the words of ``configs/paper_recipes.csv``, setting by setting.

Values that a config leaves to a default are read from the class that the config names, so that a
default which changes is seen as well.
"""

from collections.abc import Iterable
from copy import deepcopy
from inspect import signature

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, OPTIMIZERS, TRANSFORMS

from cosub_mm.launch.tta import enable_tta

DATA = {
    'ImageNet': 'ImageNet-1k',
    'CosubImageNet21k': 'ImageNet-21k',
    'CheckedCIFAR10': 'CIFAR-10',
    'CheckedCIFAR100': 'CIFAR-100',
    'CheckedFlowers102': 'Flowers-102',
    'CheckedStanfordCars': 'Stanford Cars',
    'INaturalist2018': 'iNaturalist-2018',
    'INaturalist2019': 'iNaturalist-2019',
    'ADE20KDataset': 'ADE20k',
}
METHODS = {
    'CosubClassifier': 'cosub',
    'CosubSegmentor': 'cosub',
    'DistilledClassifier': 'kd',
    'MeanTeacherClassifier': 'mean-teacher',
    'CoTrainingClassifier': 'co-training',
    'MaskSubClassifier': 'masksub',
}
NONE = '-'


def cells(cfg: Config) -> dict[str, str]:
    """Setting -> value, numbers as text and several of them with spaces between."""
    init_default_scope(cfg.default_scope)
    task = _segmentation if cfg.default_scope == 'mmseg' else _classification
    parts = (_run(cfg), _optimizer(cfg), _schedule(cfg), task(cfg))
    return {name: _text(value) for part in parts for name, value in part.items()}


def _text(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return ' '.join(map(str, value))


def _name(step: dict) -> str:
    return str(step['type']).rpartition('.')[2]


def _only(steps: list[dict], name: str) -> dict | None:
    found = [step for step in steps if _name(step) == name]
    assert len(found) < 2, f'{name} stands {len(found)} times in one pipeline'
    return found[0] if found else None


def _default(cls: type, argument: str) -> object:
    """Of the class, or of the one that it hands further arguments on to."""
    for kind in cls.__mro__:
        parameter = signature(kind).parameters.get(argument)
        if parameter is not None:
            return parameter.default
    return NONE


def _takes(cls: type, argument: str) -> bool:
    return argument in signature(cls).parameters


def _run(cfg: Config) -> dict:
    backbone, model = cfg.model.backbone, cfg.model
    weights = (backbone.get('init_cfg') or {}).get('checkpoint') or cfg.get('load_from') or ''
    averaged = any('EMA' in _name(hook) for hook in cfg.get('custom_hooks') or ())
    found = {
        'method': METHODS.get(_name(model), 'supervised')
        + ('-cosub' if _name(model) == 'DistilledClassifier' and 'num_submodels' in model else ''),
        'drop rate': model.get('drop_path_rate', backbone.get('drop_path_rate')),
        'images per GPU': cfg.train_dataloader.batch_size,
        'starts from': weights,
        'trained on': DATA[_name(cfg.train_dataloader.dataset)],
        'batch': cfg.auto_scale_lr.base_batch_size,
        'layer decay': cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate', 'none'),
        'seed': cfg.randomness.seed,
    }
    cls = MODELS.get(f'mmseg.{model.type}' if cfg.default_scope == 'mmseg' else model.type)
    for setting, argument in (('lambda', 'lam'), ('submodels', 'num_submodels')):
        found[setting] = model.get(argument, _default(cls, argument))
    if cfg.default_scope != 'mmseg':
        found['average of weights'] = 'EMA' if averaged else 'none'
    return found


def _optimizer(cfg: Config) -> dict:
    """Settings of the optimizer that is really built."""
    weight = torch.nn.Parameter(torch.zeros(1))
    built = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=[weight]))
    settings, name = built.defaults, type(built).__name__
    name = next(
        (known for known in ('LAMB', 'AdamW', 'SGD') if known.lower() in name.lower()), name
    )
    clip = settings.get('max_grad_norm', cfg.optim_wrapper.get('clip_grad') or 'none')
    return {
        'optimizer': f'{name} with Nesterov momentum' if settings.get('nesterov') else name,
        'betas': settings.get('betas', NONE),
        'eps': settings.get('eps', NONE),
        'momentum': settings.get('momentum', NONE),
        'gradient clip': clip,
        'lr': settings['lr'],
        'weight decay': settings['weight_decay'],
    }


def _schedule(cfg: Config) -> dict:
    """Length and learning rate; a schedule of another length than the run's is no schedule."""
    iterations = cfg.train_cfg.get('type') == 'IterBasedTrainLoop'
    length = cfg.train_cfg.max_iters if iterations else cfg.train_cfg.max_epochs
    found = {'iterations' if iterations else 'epochs': length, 'power': NONE}
    steps = cfg.param_scheduler
    steps = [steps] if isinstance(steps, dict) else list(steps)
    main = steps[-1]
    end = main.get('epochs', main.get('end')) or length
    lr, kind = cfg.optim_wrapper.optimizer.lr, _name(main)
    if kind == 'DeiTCosineLR':
        found['schedule'] = 'DeiT cosine, by epoch'
        found['end lr'], found['warmup'] = main.min_lr, main.warmup_epochs
        found['warmup lr'] = main.warmup_lr
    else:
        by = 'epoch' if main.get('by_epoch', True) else 'iteration'
        names = {'CosineAnnealingLR': 'cosine', 'PolyLR': 'polynomial'}
        found['schedule'] = f'{names.get(kind, kind)}, by {by}'
        found['end lr'] = main.get('eta_min', 0.0)
        found['power'] = main.get('power', NONE)
        found['warmup'], found['warmup lr'] = _warmup(steps[:-1], lr)
        if kind == 'CosineAnnealingLR' and main.get('T_max', end - found['warmup']) != (
            end - found['warmup']
        ):
            found['schedule'] += f' of {main.T_max}'
        if main.get('begin', 0) != found['warmup']:
            found['schedule'] += f' from {main.get("begin", 0)}'
    if end != length:
        found['schedule'] += f' up to {end} only'
    return found


def _warmup(steps: list[dict], lr: float) -> tuple[object, object]:
    if not steps:
        return 0, NONE
    (step,) = steps
    assert _name(step) == 'LinearLR' and step.get('begin', 0) == 0, step
    return step.end, step.start_factor * lr


def _classification(cfg: Config) -> dict:
    found = {**_loss(cfg), **_augmentation(cfg), **_test(cfg)}
    found['mean'], found['std'] = cfg.data_preprocessor['mean'], cfg.data_preprocessor['std']
    return found


def _loss(cfg: Config) -> dict:
    model, cls = cfg.model, MODELS.get(cfg.model.type)
    read = lambda argument: model.get(argument, _default(cls, argument))  # noqa: E731
    mixing = model.train_cfg.augments
    mixing = [mixing] if isinstance(mixing, dict) else list(mixing)
    shares = model.train_cfg.get('probs') or [1 / len(mixing)] * len(mixing)
    assert sum(shares) == 1, f'one batch in {1 - sum(shares)} is not mixed'
    mix = {_name(step): (step.alpha, share) for step, share in zip(mixing, shares)}
    return {
        'loss': read('loss'),
        'teacher': read('teacher_target' if _takes(cls, 'teacher_target') else 'teacher'),
        'label smoothing': read('label_smoothing'),
        'positive above': read('bce_target_threshold') if read('loss') == 'bce' else NONE,
        'mixup': mix.get('Mixup', (NONE, 0.0))[0],
        'cutmix': mix.get('CutMix', (NONE, 0.0))[0],
        'mixup share': mix.get('Mixup', (NONE, 0.0))[1],
    }


def _augmentation(cfg: Config) -> dict:
    """The training pipeline, step by step as it is built; colours are turned from BGR to RGB."""
    pipeline = list(cfg.train_dataloader.dataset.pipeline)
    crops = [step for step in pipeline if 'Crop' in _name(step)]
    assert len(crops) == 1, f'{len(crops)} crops'
    crop = TRANSFORMS.build(crops[0])
    scale = getattr(crop, 'scale', None) or crop.size
    sampler = cfg.train_dataloader.sampler
    found = {
        'resolution': scale[0] if isinstance(scale, tuple | list) else scale,
        'crop': {'RandomResizedCrop': 'random resized', 'SimpleRandomCrop': 'simple random'}[
            _name(crops[0])
        ],
        'crop area': getattr(crop, 'crop_ratio_range', NONE),
        'crop aspect': getattr(crop, 'aspect_ratio_range', NONE),
        'crop padding': getattr(crop, 'padding', NONE),
        'interpolation': crop.interpolation,
        'flip': _only(pipeline, 'RandomFlip').prob,
        'repeats of an image': (sampler.num_repeats if sampler.type == 'RepeatAugSampler' else 1),
    }
    known = {'LoadImageFromFile', 'RandomFlip', 'PackInputs', _name(crops[0])}
    known |= {'ThreeAugment', 'RandAugment', 'RandomErasing'}
    unknown = [_name(step) for step in pipeline if _name(step) not in known]
    assert not unknown, f'{unknown} of the pipeline have no row in the table'
    return {**found, **_colours(pipeline), **_erasing(pipeline)}


def _colours(pipeline: list[dict]) -> dict:
    three, rand = _only(pipeline, 'ThreeAugment'), _only(pipeline, 'RandAugment')
    found = {'augmentation': [], 'colour jitter': NONE}
    found.update({'RandAugment fill': NONE, 'RandAugment interpolation': NONE})
    if three:
        found['augmentation'] += ['3-Augment']
        found['colour jitter'] = TRANSFORMS.build(three).color_jitter
    if rand:
        built = TRANSFORMS.build(rand)
        assert rand.policies == 'timm_increasing' and built.total_level == 10
        found['augmentation'] += [
            f'RandAugment n{built.num_policies} m{built.magnitude_level} '
            f'std {built.magnitude_std}, increasing'
        ]
        moving = [step for step in built if hasattr(step, 'interpolation')]
        fills = {_text(_rgb(step.pad_val)) for step in moving}
        found['RandAugment fill'] = ' or '.join(sorted(fills))
        found['RandAugment interpolation'] = ' or '.join(sorted({s.interpolation for s in moving}))
    found['augmentation'] = ', '.join(found['augmentation'])
    return found


def _erasing(pipeline: list[dict]) -> dict:
    step = _only(pipeline, 'RandomErasing')
    if step is None:
        return {'erasing': 0, **dict.fromkeys(ERASING, NONE)}
    built = TRANSFORMS.build(step)
    assert built.mode == 'rand', built.mode
    area = (built.min_area_ratio, built.max_area_ratio)
    return {
        'erasing': built.erase_prob,
        **dict(zip(ERASING, (area, _rgb(built.fill_color), _rgb(built.fill_std)))),
    }


ERASING = ('erasing area', 'erasing mean', 'erasing std')


def _rgb(colour: object) -> object:
    return colour[::-1] if isinstance(colour, tuple | list) else colour


def _test(cfg: Config) -> dict:
    """Resizing and cropping of the test; validation must have the same."""
    found = []
    for part in ('val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        if loader:
            pipeline = list(loader.dataset.pipeline)
            resize, crop = _only(pipeline, 'ResizeEdge'), _only(pipeline, 'CenterCrop')
            assert resize.edge == 'short' and resize.backend == 'pillow'
            found.append((resize.scale, crop.crop_size, resize.interpolation))
    assert len(set(found)) <= 1, f'validation and test differ: {found}'
    resize, crop, interpolation = found[0] if found else (NONE, NONE, NONE)
    return {'test resize': resize, 'test crop': crop, 'test interpolation': interpolation}


def _segmentation(cfg: Config) -> dict:
    model, head = cfg.model, cfg.model.decode_head
    auxiliary = model.get('auxiliary_head')
    preprocessor = model.data_preprocessor
    indices = model.backbone.get('out_indices', -1)
    assert head.num_classes == (auxiliary or head).num_classes
    return {
        'head': head.type,
        'head channels': head.channels,
        'head pools': head.get('pool_scales', NONE),
        'head dropout': head.dropout_ratio,
        'head loss': f'{head.loss_decode.type} {head.loss_decode.loss_weight}',
        'auxiliary channels': auxiliary.channels if auxiliary else NONE,
        'auxiliary loss': (
            f'{auxiliary.loss_decode.type} {auxiliary.loss_decode.loss_weight}'
            if auxiliary
            else NONE
        ),
        'classes': head.num_classes,
        'blocks': indices,
        'mean': preprocessor['mean'],
        'std': preprocessor['std'],
        'test mode': model.test_cfg.mode,
        'test windows': (model.test_cfg.crop_size[0], model.test_cfg.stride[0]),
        **_segmentation_data(cfg),
    }


def _segmentation_data(cfg: Config) -> dict:
    pipeline = list(cfg.train_dataloader.dataset.pipeline)
    crop, resize = _only(pipeline, 'RandomCrop'), _only(pipeline, 'RandomResize')
    known = {'LoadImageFromFile', 'LoadAnnotations', 'RandomResize', 'RandomCrop', 'RandomFlip'}
    known |= {'PhotoMetricDistortion', 'PackSegInputs'}
    unknown = [_name(step) for step in pipeline if _name(step) not in known]
    assert not unknown, f'{unknown} of the pipeline have no row in the table'
    assert resize.keep_ratio and crop.crop_size[0] == crop.crop_size[1]
    test = _only(list(cfg.test_dataloader.dataset.pipeline), 'Resize')
    distorted = _only(pipeline, 'PhotoMetricDistortion')
    return {
        'crop': crop.crop_size[0],
        'resolution': cfg.model.data_preprocessor.size[0],
        'largest class in a crop': crop.cat_max_ratio,
        'resized to': resize.scale,
        'resized by': resize.ratio_range,
        'flip': _only(pipeline, 'RandomFlip').prob,
        'augmentation': 'photometric distortion' if distorted else NONE,
        'test size': test.scale,
        'multi-scale ratios': _ratios(cfg, test.scale),
    }


def _ratios(cfg: Config, size: tuple[int, int]) -> list[float]:
    """Scales of the multi-scale test as shares of the single-scale test's."""
    cfg = deepcopy(cfg)
    enable_tta(cfg)
    resizes = cfg.test_dataloader.dataset.pipeline[-1].transforms[0]
    return [step.scale[1] / size[1] for step in resizes]
