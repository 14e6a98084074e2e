"""Checks of a config's data before a training or a test begins.

They look at folders and names only, so that they take seconds on ImageNet-21k; what is inside an
image or a mask is checked as it is read, by :class:`GuardedImages`.
"""

from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, Registry
from mmpretrain.datasets import CustomDataset
from torch.utils.data import Dataset

from cosub_mm.datasets.decoding import IGNORE_EXIF
from cosub_mm.datasets.guarded import POLICIES

from .folders import check_class_folders, check_segmentation_folders, unused_files
from .labels import check_ignore_index, check_masks
from .walk import PARTS, datasets_of, with_wrappers

__all__ = [
    'check_data',
    'loading_steps',
    'num_classes_of',
    'set_bad_image_policy',
]

GUARD = 'mmpretrain.GuardedImages'


def set_bad_image_policy(cfg: Config, policy: str, max_pixels: int | None = None) -> None:
    """Let every data set of the config stop at, or skip, files that cannot be decoded.

    Args:
        cfg: changed in place. Each data set is wrapped in :class:`GuardedImages`, and images are
            decoded by :class:`.decoding.LoadPicture` unless the config names a backend other than
            Pillow: OpenCV, mmcv's default, returns half a picture from a truncated file without a
            word, and mmcv's use of Pillow makes 16-bit pictures white.
        policy: ``'stop'`` or ``'skip'``.
        max_pixels: see :func:`.decoding.allow_pixels`.

    Raises:
        ValueError: an unknown policy, or a loader of segmentation that decodes pictures smaller.
    """
    if policy not in POLICIES:
        raise ValueError(f'policy={policy!r} is unknown; choose from {", ".join(POLICIES)}.')
    for loader in _loaders(cfg):
        dataset = loader['dataset']
        if dataset.get('type') != GUARD:
            loader['dataset'] = dict(type=GUARD, dataset=dataset)
            dataset = loader['dataset']  # which a Config has made one of its own
        dataset['policy'] = policy
        if max_pixels is not None:
            dataset['max_pixels'] = max_pixels
        loaders = [step for part in _pipelines(dataset) for step in loading_steps(part)]
        if any(step.get('color_type') == IGNORE_EXIF for step in loaders):
            dataset['upright'] = False
    for pipeline in [*(d.get('pipeline') for _, d in datasets_of(cfg)), cfg.get('tta_pipeline')]:
        for step in loading_steps(pipeline):
            if step.get('draft') and cfg.get('default_scope') == 'mmseg':
                raise ValueError(
                    f'{step["type"]}: draft={step["draft"]} decodes pictures smaller than their '
                    f'masks; leave it out for segmentation.'
                )
            if step.get('imdecode_backend', 'pillow') == 'pillow':
                step['type'] = 'mmpretrain.LoadPicture'


def check_data(cfg: Config) -> None:
    """Check folders and numbers of classes of every data set of the config.

    Raises:
        FileNotFoundError: a data root, folder or list that does not exist.
        ValueError: an empty data root, a class folder without images, images without masks,
            training and validation folders with other classes, or a number of classes that is not
            the model's.
    """
    heads = num_classes_of(cfg)
    classes_by_part = {}
    # Names without a prefix are those of the config's library.
    scope = cfg.get('default_scope') or 'mmpretrain'
    if scope == 'mmseg':
        check_ignore_index(cfg)
    with DATASETS.switch_scope_and_registry(scope) as registry:
        for part, dataset in datasets_of(cfg):
            classes = _check_dataset(registry, dataset, part)
            if classes is None:
                continue
            _compare_with_model(classes, heads, _where(dataset, part))
            by_folder = str(dataset.get('type')).endswith('CustomDataset')
            if by_folder and not dataset.get('ann_file'):
                classes_by_part[part] = (tuple(classes), _where(dataset, part))
    _compare_parts(classes_by_part)
    _compare_preprocessor(cfg, heads)


def num_classes_of(cfg: Config) -> dict[str, int]:
    """``num_classes`` of the model's heads, by the path under which a config sets them."""
    model = cfg.get('model') or {}
    found = {}
    for name in ('head', 'decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        single = isinstance(heads, dict)
        for i, head in enumerate([heads] if single else heads):
            if head.get('num_classes'):
                path = f'model.{name}' if single else f'model.{name}[{i}]'
                found[f'{path}.num_classes'] = head['num_classes']
    return found


def _check_dataset(registry: Registry, dataset: dict, part: str) -> Sequence | None:
    """Check one data set; its class names, or None where they are not known yet."""
    kind = _class_of(registry, dataset)
    if kind is not None and issubclass(kind, CustomDataset):
        unloaded = _without_loading(kind, dataset)
        classes = check_class_folders(unloaded, _where(dataset, part))
        _tell_of_unused_files(unloaded, _where(dataset, part))
        return classes
    # By name: mmseg is optional.
    if kind is not None and any(base.__name__ == 'BaseSegDataset' for base in kind.__mro__):
        unloaded = _without_loading(kind, dataset)
        classes = check_segmentation_folders(unloaded, _where(dataset, part))
        if part == 'train' and _is_local(unloaded):
            unloaded.full_init()
            check_masks(unloaded, _where(dataset, part))
            _tell_of_unused_files(unloaded, _where(dataset, part))
        return classes
    _check_root(kind, dataset, part)
    return _known_classes(kind, dataset)


def _tell_of_unused_files(dataset: Dataset, where: str) -> None:
    for sentence in unused_files(dataset):
        print(f'{where}: {sentence}', flush=True)


def _is_local(dataset: Dataset) -> bool:
    masks = dataset.data_prefix.get('seg_map_path')
    return bool(masks) and '://' not in str(masks)


def _class_of(registry: Registry, dataset: dict) -> type | None:
    kind = dataset.get('type')
    kind = registry.get(kind) if isinstance(kind, str) else kind
    return kind if isinstance(kind, type) else None


def _without_loading(kind: type, dataset: dict) -> Dataset:
    """The data set with its paths resolved by its own class, but not loaded."""
    arguments = {key: value for key, value in dataset.items() if key not in ('type', 'pipeline')}
    return kind(**{**arguments, 'pipeline': [], 'lazy_init': True})


def _check_root(kind: type | None, dataset: dict, part: str) -> None:
    root = dataset.get('data_root')
    if kind is None or not root or '://' in str(root):
        return
    # CIFAR and its like download themselves into a root that need not exist.
    if any('download' in signature(base.__init__).parameters for base in kind.__mro__):
        return
    if not Path(root).is_dir():
        raise FileNotFoundError(
            f"{_where(dataset, part)}: there is no data root '{root}'. Give the folder of the data "
            f'by --data-root.'
        )


def _known_classes(kind: type | None, dataset: dict) -> Sequence | None:
    metainfo = dataset.get('metainfo') or getattr(kind, 'METAINFO', None) or {}
    if metainfo.get('classes'):
        return metainfo['classes']
    if hasattr(kind, 'classes_of'):
        return kind.classes_of(dataset)
    number = getattr(kind, 'NUM_CLASSES', None)
    return tuple(range(number)) if number else None


def _compare_with_model(classes: Sequence, heads: dict[str, int], where: str) -> None:
    number_of_labels = len(classes)
    # A list of images with labels need not hold the last classes.
    at_least = isinstance(classes, range)
    wrong = {
        path: number
        for path, number in heads.items()
        if number_of_labels > number or (number_of_labels < number and not at_least)
    }
    if wrong:
        settings = ' and '.join(f'{path}={number}' for path, number in wrong.items())
        options = ' '.join(f'{path}={number_of_labels}' for path in wrong)
        raise ValueError(
            f'{where} has {number_of_labels} classes, but the config says {settings}. Choose the '
            f'data that the model is for, or set --cfg-options {options} (and '
            f'data_preprocessor.num_classes where the config has it).'
        )


def _compare_parts(parts: dict[str, tuple[tuple, str]]) -> None:
    """Class folders become labels by their order, so they must be the same everywhere."""
    if 'train' not in parts:
        return
    expected, train = parts['train']
    for classes, where in parts.values():
        if set(classes) != set(expected):
            only = sorted(set(classes) - set(expected)) or sorted(set(expected) - set(classes))
            raise ValueError(
                f'{where} and {train} have different class folders ({only[0]!r} is only in one of '
                f'them), so that the same label would mean different classes.'
            )


def _compare_preprocessor(cfg: Config, heads: dict[str, int]) -> None:
    inner = (cfg.get('model') or {}).get('data_preprocessor')
    number = (inner or cfg.get('data_preprocessor') or {}).get('num_classes')
    expected = heads.get('model.head.num_classes')
    if number and expected and number != expected:
        path = f'{"model." if inner else ""}data_preprocessor.num_classes'
        raise ValueError(
            f'{path}={number}, but model.head.num_classes={expected}; the labels are made by the '
            f'former. Set --cfg-options {path}={expected}.'
        )


def _loaders(cfg: Config) -> Iterator[dict]:
    for part in PARTS:
        loader = cfg.get(f'{part}_dataloader')
        if loader and loader.get('dataset'):
            yield loader


def loading_steps(pipeline: object) -> Iterator[dict]:
    """The image loaders of a pipeline, nested ones too."""
    if isinstance(pipeline, dict):
        if str(pipeline.get('type', '')).endswith(('LoadImageFromFile', 'LoadPicture')):
            yield pipeline
        pipeline = list(pipeline.values())
    if isinstance(pipeline, list | tuple):
        for part in pipeline:
            yield from loading_steps(part)


def _pipelines(dataset: dict) -> Iterator[object]:
    return (one.get('pipeline') for one in with_wrappers(dataset))


def _where(dataset: dict, part: str) -> str:
    return f'{part}_dataloader ({dataset.get("type")})'
