"""What must be in the folders of a data set before it is worth loading."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.fileio import LocalBackend, get_file_backend
from mmpretrain.datasets import CustomDataset

from cosub_mm.safe_files import path_below, read_lines, shown

__all__ = ['check_class_folders', 'check_segmentation_folders', 'unused_files']

NAMED = 5
PICTURES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp', '.gif')


def check_class_folders(dataset: CustomDataset, where: str) -> Sequence[str] | None:
    """Check a data set of class folders, or of a list of images with labels.

    Args:
        dataset: built with ``lazy_init=True``.
        where: how error messages call it.

    Returns:
        The classes; of a list that names none, the range of its labels; None without labels.

    Raises:
        FileNotFoundError: no data root, or a list or its first image that does not exist.
        ValueError: an empty data root, a class folder without images, a list that is empty or not
            of the form ``IMAGE LABEL``, more or fewer folders than classes.
    """
    if not _is_local(dataset.img_prefix):
        return dataset.CLASSES
    root = Path(dataset.img_prefix)
    _check_folder(root, where, dataset.data_root)
    if dataset.ann_file:
        return _check_list(dataset, root, where)
    if not dataset.with_label:
        if not _has_image(root, dataset.is_valid_file):
            raise ValueError(f"{where}: there is no image in '{root}'.{_suffixes(dataset)}")
        return None
    return _check_folders_of_classes(dataset, root, where)


def check_segmentation_folders(dataset: BaseDataset, where: str) -> Sequence[str] | None:
    """Check a segmentation data set: both folders, and a mask for each image.

    Args:
        dataset: a ``BaseSegDataset`` of mmseg, built with ``lazy_init=True``.
        where: how error messages call it.

    Returns:
        The classes; None if the data set does not name them.

    Raises:
        FileNotFoundError: a folder or list that does not exist, or images without masks.
        ValueError: a folder without images.
    """
    classes = dataset.metainfo.get('classes')
    images = dataset.data_prefix.get('img_path') or ''
    if not _is_local(images):
        return classes
    root = Path(images)
    _check_folder(root, where, dataset.data_root)
    if dataset.ann_file and not os.path.isdir(dataset.ann_file):
        if not os.path.isfile(dataset.ann_file):
            raise FileNotFoundError(f"{where}: there is no list '{dataset.ann_file}'.")
        stems = [line.strip() for line in read_lines(dataset.ann_file) if line.strip()]
        for stem in stems:
            path_below(images, stem, dataset.ann_file)
    else:
        stems = _stems(root, dataset.img_suffix)
    if not stems:
        raise ValueError(f"{where}: there is no image *{dataset.img_suffix} in '{root}'.")
    masks = dataset.data_prefix.get('seg_map_path')
    if masks:
        _check_masks(Path(masks), dataset, stems, where)
    return classes


def unused_files(dataset: BaseDataset) -> list[str]:
    """Sentences on the pictures and masks below a data root that the data set does not use.

    Args:
        dataset: of class folders, or a ``BaseSegDataset`` of mmseg; of others nothing is known.
    """
    if isinstance(dataset, CustomDataset):
        return _unused_in_class_folders(dataset)
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    pictures, masks = prefixes.get('img_path'), prefixes.get('seg_map_path')
    if not pictures or not hasattr(dataset, 'img_suffix') or not _is_local(pictures):
        return []
    suffix = dataset.img_suffix
    used = set(_stems(Path(pictures), suffix))
    other = [name for name in _pictures(Path(pictures)) if not name.endswith(suffix)]
    said = _count(other, f"in '{pictures}' do not end in {suffix} and are not used.")
    if masks and os.path.isdir(masks):
        suffix = dataset.seg_map_suffix
        lonely = sorted(f'{stem}{suffix}' for stem in set(_stems(Path(masks), suffix)) - used)
        other = [name for name in _pictures(Path(masks)) if not name.endswith(suffix)]
        said += _count(lonely, f"in '{masks}' have no picture and are not used.")
        said += _count(other, f"in '{masks}' do not end in {suffix} and are not used.")
    return said


def _unused_in_class_folders(dataset: CustomDataset) -> list[str]:
    root = dataset.img_prefix
    if dataset.ann_file or not root or not os.path.isdir(root):
        return []
    other = [name for name in _pictures(Path(root)) if not dataset.is_valid_file(name)]
    loose = [entry.name for entry in os.scandir(root) if entry.is_file()]
    loose = [name for name in loose if dataset.with_label and dataset.is_valid_file(name)]
    return [
        *_count(other, f"in '{root}' have another suffix and are not used.{_suffixes(dataset)}"),
        *_count(loose, f"lie in '{root}' beside the class folders and are not used."),
    ]


def _pictures(root: Path) -> list[str]:
    """Names below a folder that end as pictures do, in any case."""
    return sorted(
        os.path.relpath(os.path.join(parent, name), root)
        for parent, _, names in os.walk(root)
        for name in names
        if name.lower().endswith(PICTURES)
    )


def _count(names: list[str], text: str) -> list[str]:
    return [f'{len(names)} files ({_some(names)}) {text}'] if names else []


def _check_masks(masks: Path, dataset: BaseDataset, stems: list[str], where: str) -> None:
    _check_folder(masks, where, dataset.data_root)
    missing = sorted(set(stems) - set(_stems(masks, dataset.seg_map_suffix)))
    if missing:
        names = [f'{stem}{dataset.seg_map_suffix}' for stem in missing]
        raise FileNotFoundError(
            f"{where}: {len(missing)} of {len(stems)} images have no mask in '{masks}': "
            f'{_some(names)}.'
        )


def _check_folders_of_classes(dataset: CustomDataset, root: Path, where: str) -> Sequence[str]:
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not folders:
        raise ValueError(
            f"{where}: there is no class folder in '{root}'; images are expected at "
            f'{root}/CLASS/IMAGE.'
        )
    empty = [name for name in folders if not _has_image(root / name, dataset.is_valid_file)]
    if empty:
        raise ValueError(
            f"{where}: {len(empty)} of {len(folders)} class folders in '{root}' hold no image: "
            f'{_some(empty)}. Add images, or remove the folders.{_suffixes(dataset)}'
        )
    if dataset.CLASSES is not None and len(dataset.CLASSES) != len(folders):
        raise ValueError(
            f"{where}: '{root}' has {len(folders)} class folders, but the data set names "
            f'{len(dataset.CLASSES)} classes.'
        )
    return dataset.CLASSES or folders


def _check_list(dataset: CustomDataset, root: Path, where: str) -> Sequence[str] | None:
    """Check the file that lists images, one ``IMAGE LABEL`` a line."""
    if not os.path.isfile(dataset.ann_file):
        raise FileNotFoundError(f"{where}: there is no list '{dataset.ann_file}'.")
    lines = [line.rstrip() for line in read_lines(dataset.ann_file)]
    if not lines:
        raise ValueError(f"{where}: the list '{dataset.ann_file}' is empty.")
    if not dataset.with_label:
        for line in lines:
            _check_name(line, dataset)
        return None
    largest = -1
    for number, line in enumerate(lines, 1):
        name, _, label = line.rpartition(' ')
        if not name or not label.isdecimal():
            raise ValueError(
                f'{where}: line {number} of {dataset.ann_file} is {line[:100]!r}; expected IMAGE '
                f'LABEL with a label from 0 up.'
            )
        _check_name(name, dataset)
        largest = max(largest, int(label))
    first = root / lines[0].rpartition(' ')[0]
    if not first.is_file():
        raise FileNotFoundError(
            f"{where}: the first image of {dataset.ann_file}, '{first}', does not exist."
        )
    classes = dataset.CLASSES
    if classes is not None and largest >= len(classes):
        raise ValueError(
            f'{where}: {dataset.ann_file} has the label {largest}; the data set names '
            f'{len(classes)} classes, so 0 to {len(classes) - 1} are allowed.'
        )
    return classes or range(largest + 1)


def _check_name(name: str, dataset: CustomDataset) -> None:
    """A name of a list lies below the root; without one it may be absolute, for lists of one's own.

    Raises:
        UnsafeFileError: it does not.
    """
    if not dataset.img_prefix and name.startswith('/'):
        name = name.lstrip('/')
    path_below(dataset.img_prefix, name, dataset.ann_file)


def _check_folder(folder: Path, where: str, data_root: str | None) -> None:
    """The folder exists and holds something; the message names what is missing first."""
    hint = 'Give the folder of the data by --data-root.'
    if data_root and not os.path.isdir(data_root):
        raise FileNotFoundError(f"{where}: there is no data root '{data_root}'. {hint}")
    if not folder.is_dir():
        raise FileNotFoundError(f"{where}: there is no folder '{folder}'. {hint}")
    if next(os.scandir(folder), None) is None:
        raise ValueError(f"{where}: the folder '{folder}' is empty. {hint}")


def _has_image(folder: Path, is_image: Callable[[str], bool]) -> bool:
    return any(is_image(name) for _, _, names in os.walk(folder) for name in names)


def _stems(folder: Path, suffix: str) -> list[str]:
    """Paths below the folder of the files with a suffix, without it."""
    stems = []
    for parent, _, names in os.walk(folder):
        prefix = os.path.relpath(parent, folder)
        prefix = '' if prefix == '.' else f'{prefix}/'
        stems += [f'{prefix}{name[: -len(suffix)]}' for name in names if name.endswith(suffix)]
    return stems


def _is_local(path: str) -> bool:
    return isinstance(get_file_backend(path or '.'), LocalBackend)


def _suffixes(dataset: CustomDataset) -> str:
    return f' Images end in {", ".join(sorted(dataset.extensions))}.'


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ', '.join(map(shown, names[:NAMED])) + (f' and {rest} more' if rest > 0 else '')
