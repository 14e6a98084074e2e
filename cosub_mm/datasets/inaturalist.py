"""iNaturalist 2018 and 2019, from their official JSON and folders."""

import json
from collections import Counter
from pathlib import Path

from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from cosub_mm.safe_files import path_below, read_json

from .listing import check_classes_present, check_count, check_files_present, one_of

__all__ = ['INaturalist2018', 'INaturalist2019', 'INaturalistYear']


_FIELDS = {
    'images': dict(id=int, file_name=str),
    'annotations': dict(image_id=int, category_id=int),
    'categories': dict(id=int, name=str),
}


class INaturalistYear(BaseDataset):
    """A year of the iNaturalist competition (https://github.com/visipedia/inat_comp).

    Layout, as the official archives unpack::

        data_root
        ├── train_val2018/Plantae/7477/3b60c9486db1d2ee875f11a669fbde4a.jpg ...
        ├── train2018.json
        └── val2018.json

    Args:
        data_root: folder of the JSON files and of ``train_val<year>``.
        split: ``'train'`` or ``'val'``.
        check: compare the numbers of images and classes with the official ones, and see that every
            listed image exists and every class has one. Turn it off for a subset of your own.
        **kwargs: pipeline and other arguments of mmpretrain's ``BaseDataset``.

    Raises:
        ValueError: an unknown split, a JSON of another data set or of inconsistent content, with
            names that leave ``data_root``, other numbers than the official ones, a class without
            image.
        FileNotFoundError: no JSON, or images that it lists and the folder lacks.
    """

    YEAR: int
    NUM_CLASSES: int
    NUM_IMAGES: dict[str, int]

    def __init__(self, data_root: str, split: str = 'train', check: bool = True, **kwargs) -> None:
        one_of(split, self.NUM_IMAGES, 'split')
        self.split = split
        self.check = check
        kwargs.setdefault('ann_file', f'{split}{self.YEAR}.json')
        kwargs.setdefault('test_mode', split == 'val')
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the JSON: one dict with ``img_path`` and ``gt_label`` an image."""
        content = self._read_json()
        classes = sorted(content['categories'], key=lambda category: category['id'])
        label_of = {category['id']: label for label, category in enumerate(classes)}
        names = [str(category['name']) for category in classes]
        # The class names are those of the file, which may be the later un-obfuscated ones.
        self._metainfo.setdefault('classes', tuple(names))
        labels = self._labels_of_images(content, label_of)
        data_list = [
            dict(
                img_path=path_below(self.data_root, image['file_name'], self.ann_file),
                gt_label=labels[image['id']],
            )
            for image in content['images']
        ]
        if self.check:
            self._check(data_list, names)
        return data_list

    @property
    def _name(self) -> str:
        return f'iNaturalist-{self.YEAR} {self.split}'

    def _read_json(self) -> dict:
        path = Path(self.ann_file)
        if not path.exists():
            raise FileNotFoundError(
                f'{self._name}: there is no {path}. Unpack {path.name} of the official archives '
                f'there (docs/prepare_data.md).'
            )
        try:
            content = read_json(path)
        except json.JSONDecodeError as error:
            raise ValueError(f'{path} is no whole JSON file ({error}). Unpack it again.') from error
        content = content if isinstance(content, dict) else {}
        missing = set(_FIELDS) - set(content)
        if missing:
            raise ValueError(
                f'{path} lacks {", ".join(sorted(missing))}: it is not an annotation file of '
                f'iNaturalist (the test files have no annotations).'
            )
        for part, fields in _FIELDS.items():
            entries = content[part] if isinstance(content[part], list) else [None]
            for entry in entries:
                if not isinstance(entry, dict) or not all(
                    isinstance(entry.get(name), kind) for name, kind in fields.items()
                ):
                    raise ValueError(
                        f'{path}: {ascii(entry)[:100]} is no entry of {part}; such a one has '
                        f'{", ".join(fields)}. Unpack it again.'
                    )
        return content

    def _labels_of_images(self, content: dict, label_of: dict[int, int]) -> dict[int, int]:
        """Label of each image id; every image has one annotation of a known category."""
        images = {image['id'] for image in content['images']}
        annotations = content['annotations']
        unknown = {a['category_id'] for a in annotations} - set(label_of)
        if unknown:
            raise ValueError(
                f'{self.ann_file}: annotations name categories that are not listed: '
                f'{sorted(unknown)[:5]}.'
            )
        counts = Counter(a['image_id'] for a in annotations)
        stray, bare = set(counts) - images, images - set(counts)
        double = [image for image, count in counts.items() if count > 1]
        if stray or bare or double:
            raise ValueError(
                f'{self.ann_file}: {len(bare)} images have no annotation, {len(double)} have '
                f'several, and {len(stray)} annotations are of unknown images. Unpack it again.'
            )
        return {a['image_id']: label_of[a['category_id']] for a in annotations}

    def _check(self, data_list: list[dict], classes: list[str]) -> None:
        check_count(self._name, len(classes), self.NUM_CLASSES, 'classes')
        check_count(self._name, len(data_list), self.NUM_IMAGES[self.split])
        check_classes_present(self._name, (info['gt_label'] for info in data_list), classes)
        check_files_present(self._name, (info['img_path'] for info in data_list))


@DATASETS.register_module()
class INaturalist2018(INaturalistYear):
    """iNaturalist-2018: 8,142 species, 437,513 training and 24,426 validation images.

    Arguments: see :class:`INaturalistYear`.
    """

    YEAR = 2018
    NUM_CLASSES = 8142
    NUM_IMAGES = {'train': 437513, 'val': 24426}


@DATASETS.register_module()
class INaturalist2019(INaturalistYear):
    """iNaturalist-2019: 1,010 species, 268,243 images, of which 3 a species validate.

    Arguments: see :class:`INaturalistYear`.
    """

    YEAR = 2019
    NUM_CLASSES = 1010
    NUM_IMAGES = {'train': 265213, 'val': 3030}
