"""What is cheap to see of a data set before a training on it starts."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .loading import BAD_IMAGE_POLICIES
from .verification import datasets_of, verify

__all__ = ['DataError', 'check_data', 'set_bad_image_policy']

LAYOUTS = {
    'classification': 'ROOT/{train,val}/CLASS/IMAGE',
    'segmentation': 'ROOT/images/SPLIT/NAME.jpg and ROOT/annotations/SPLIT/NAME.png',
}


class DataError(ValueError):
    """A data set that does not fit its config, or is incomplete."""


class DataMissing(FileNotFoundError):
    """A data set that is not where the config looks for it."""


def check_data(cfg: Config) -> None:
    """Look at the folders of every data set of a config, without reading an image.

    Classification from class folders: the folders exist, each holds an image, there are as many as
    the head has classes. Segmentation: images and masks exist and match by name, and the heads have
    as many classes as the data set. Data sets of other kinds check themselves when they are built.

    Args:
        cfg: a config of mmpretrain or mmseg.

    Raises:
        DataMissing: a folder or list that does not exist.
        DataError: an empty folder, a class without an image, a mask without an image or the other
            way round, or another number of classes.
    """
    for name, dataset in datasets_of(cfg):
        cls = _dataset_class(dataset, cfg.get('default_scope', 'mmpretrain'))
        if cls is None:
            continue
        if _is_segmentation(cls):
            _check_segmentation(name, dataset, cls, _heads(cfg.model))
        elif issubclass(cls, CustomDataset) and _reads_folders(dataset, cls):
            _check_class_folders(name, dataset, _head_classes(cfg))


def set_bad_image_policy(cfg: Config, policy: str) -> None:
    """Let the pipelines of a config name broken files, and stop at them or skip them.

    A broken training image is replaced by another one. For validation and test, where another image
    would change the metric, all files are read first and the broken ones are left out of it.

    Args:
        cfg: a config of mmpretrain or mmseg, changed in place.
        policy: ``'stop'`` or ``'skip'``.

    Raises:
        ValueError: another policy.
    """
    if policy not in BAD_IMAGE_POLICIES:
        raise ValueError(f"--on-bad-image {policy!r} is unknown; choose 'stop' or 'skip'.")
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        for dataset in _leaves(loader['dataset']) if loader else ():
            if part != 'train' and policy == 'skip':
                _leave_out_broken(dataset, cfg.get('default_scope', 'mmpretrain'))
            pipeline = dataset.get('pipeline')
            if pipeline:
                dataset['pipeline'] = list(_checked_steps(pipeline, dataset, cfg, policy))
    if cfg.get('tta_pipeline') and cfg.get('test_dataloader'):
        dataset = next(_leaves(cfg.test_dataloader['dataset']))
        cfg.tta_pipeline = list(_checked_steps(cfg.tta_pipeline, dataset, cfg, policy))


def _leaves(dataset: dict) -> Iterator[dict]:
    inner = dataset.get('dataset', dataset.get('datasets'))
    if inner is None:
        yield dataset
        return
    for item in inner if isinstance(inner, list | tuple) else [inner]:
        yield from _leaves(item)


def _checked_steps(pipeline: list[dict], dataset: dict, cfg: Config, policy: str) -> Iterator[dict]:
    for step in pipeline:
        kind = str(step['type']).rpartition('.')[2]
        if kind == 'LoadImageFromFile':
            yield {**step, 'type': 'mmpretrain.CheckedLoadImage', 'on_bad_image': policy}
            continue
        yield step
        heads = _heads(cfg.model)
        if kind == 'LoadAnnotations' and heads:
            classes = heads[0].get('out_channels') or heads[0]['num_classes']
            limit = max(classes, heads[0]['num_classes'])
            yield {'type': 'mmpretrain.CheckedLabels', 'num_classes': limit}


def _leave_out_broken(dataset: dict, scope: str) -> None:
    """Restrict a data set of validation or test to the files that can be read."""
    cls = _dataset_class(dataset, scope)
    if cls is None:
        return
    report = verify(str(dataset['type']), dataset, None)
    if not report.broken:
        return
    broken = {path for path, _ in report.broken}
    names = ', '.join(sorted(broken)[:8]) + (', ...' if len(broken) > 8 else '')
    print_log(
        f'{report.name}: {len(broken)} of {report.total} files cannot be read and are left out of '
        f'the metric: {names}',
        logger='current',
        level='WARNING' if False else 30,
    )
    built = cls(**{k: v for k, v in dataset.items() if k not in ('type', 'pipeline')}, pipeline=[])
    dataset['indices'] = [
        i
        for i in range(len(built))
        if not broken & {built.get_data_info(i).get(k) for k in ('img_path', 'seg_map_path')}
    ]


def _dataset_class(dataset: dict, scope: str) -> type | None:
    kind = dataset['type']
    if not isinstance(kind, str):
        return kind
    return DATASETS.get(kind if '.' in kind else f'{scope}.{kind}')


def _is_segmentation(cls: type) -> bool:
    return any(base.__name__ == 'BaseSegDataset' for base in cls.__mro__)


def _heads(model: dict) -> list[dict]:
    """Segmentation heads of a model config, also inside a TTA wrapper."""
    model = model.get('module') or model
    heads = []
    for key in ('decode_head', 'auxiliary_head'):
        head = model.get(key)
        heads += head if isinstance(head, list | tuple) else [head] if head else []
    return heads


def _head_classes(cfg: Config) -> int | None:
    model = cfg.model.get('module') or cfg.model
    return (model.get('head') or {}).get('num_classes')


def _reads_folders(dataset: dict, cls: type) -> bool:
    """Whether labels come from folder names, as in ``ROOT/train/CLASS/IMAGE``."""
    if dataset.get('ann_file') or dataset.get('with_label') is False:
        return False
    if cls.__name__ not in ('CustomDataset', 'ImageNet'):
        return False  # others read lists of their own
    split = dataset.get('split')
    listed = Path(dataset.get('data_root', ''), 'meta', f'{split}.txt')
    return not (split and listed.is_file())


def _check_class_folders(name: str, dataset: dict, num_classes: int | None) -> None:
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    if isinstance(prefix, dict):
        prefix = prefix.get('img_path', '')
    folder = Path(dataset.get('data_root', ''), prefix)
    _require_folder(name, folder, 'classification')
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not classes:
        raise DataError(
            f"{name}: '{folder}' holds no class folder; the layout is "
            f'{LAYOUTS["classification"]}. Give another folder by --data-root.'
        )
    suffixes = tuple(dataset.get('extensions') or CustomDataset.__init__.__kwdefaults__ or ())
    empty = [c for c in classes if not _has_image(folder / c, suffixes or IMAGE_SUFFIXES)]
    if empty:
        more = ', ...' if len(empty) > 8 else ''
        raise DataError(
            f"{name}: {len(empty)} of {len(classes)} class folders in '{folder}' hold no image: "
            f'{", ".join(empty[:8])}{more}. Fill or remove them; an empty folder would count as a '
            f'class.'
        )
    if num_classes is not None and len(classes) != num_classes:
        raise DataError(
            f"{name}: '{folder}' has {len(classes)} class folders, but model.head.num_classes is "
            f'{num_classes}. Set model.head.num_classes and data_preprocessor.num_classes to '
            f'{len(classes)}, or give the right folder by --data-root.'
        )


IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')


def _has_image(folder: Path, suffixes: tuple[str, ...]) -> bool:
    return any(
        file.lower().endswith(suffixes) for _, _, files in os.walk(folder) for file in files
    )


def _check_segmentation(name: str, dataset: dict, cls: type, heads: list[dict]) -> None:
    meta = {**cls.METAINFO, **(dataset.get('metainfo') or {})}
    classes = meta.get('classes')
    for head in heads:
        if classes is not None and head.get('num_classes') != len(classes):
            raise DataError(
                f'{name} has {len(classes)} classes, but {head.get("type")} has '
                f'num_classes={head.get("num_classes")}. Set num_classes of every head to '
                f'{len(classes)}.'
            )
    if dataset.get('ann_file'):
        return
    root, prefix = Path(dataset.get('data_root') or ''), dataset.get('data_prefix') or {}
    images, masks = root / prefix.get('img_path', ''), root / prefix.get('seg_map_path', '')
    _require_folder(name, images, 'segmentation')
    image_names = _stems(images, dataset.get('img_suffix') or _default(cls, 'img_suffix', '.jpg'))
    if not image_names:
        raise DataError(f"{name}: '{images}' holds no image.")
    if not prefix.get('seg_map_path'):
        return
    _require_folder(name, masks, 'segmentation')
    suffix = dataset.get('seg_map_suffix') or _default(cls, 'seg_map_suffix', '.png')
    without = sorted(image_names - _stems(masks, suffix))
    if without:
        more = ', ...' if len(without) > 8 else ''
        raise DataError(
            f"{name}: {len(without)} of {len(image_names)} images have no mask (*{suffix}) in "
            f"'{masks}': {', '.join(without[:8])}{more}"
        )


def _default(cls: type, argument: str, otherwise: str) -> str:
    import inspect

    parameter = inspect.signature(cls.__init__).parameters.get(argument)
    return parameter.default if parameter and parameter.default else otherwise


def _stems(folder: Path, suffix: str) -> set[str]:
    found = set()
    for where, _, files in os.walk(folder):
        below = os.path.relpath(where, folder)
        found |= {
            os.path.normpath(os.path.join(below, file[: -len(suffix)]))
            for file in files
            if file.endswith(suffix)
        }
    return found


def _require_folder(name: str, folder: Path, task: str) -> None:
    if folder.is_dir() and any(os.scandir(folder)):
        return
    what = 'is empty' if folder.is_dir() else 'does not exist'
    raise DataMissing(
        f"{name}: the folder '{folder}' {what}. The layout is {LAYOUTS[task]}; give ROOT by "
        f'--data-root (docs/prepare_data.md).'
    )
