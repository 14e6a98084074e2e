"""The data sets of Table 14 in their official layouts, with a handful of images each."""

import json
import pickle

import numpy as np
from PIL import Image
from scipy.io import savemat

RNG = np.random.default_rng(0)
INAT_CLASSES = 3


def photo(path, size=(40, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(256, size=(*size, 3), dtype=np.uint8)).save(path)


def write_cifar(root, classes, key, train_files, test_file, folder):
    (root / folder).mkdir(parents=True)
    for name in (*train_files, test_file):
        batch = {'data': RNG.integers(256, size=(8, 3072), dtype=np.uint8)}
        batch[key] = [i % classes for i in range(8)]
        (root / folder / name).write_bytes(pickle.dumps(batch))


def write_cifar10(root):
    names = [f'data_batch_{i}' for i in range(1, 6)]
    write_cifar(root, 10, 'labels', names, 'test_batch', 'cifar-10-batches-py')


def write_cifar100(root):
    write_cifar(root, 100, 'fine_labels', ['train'], 'test', 'cifar-100-python')


def write_flowers(root):
    for i in range(1, 13):
        photo(root / f'jpg/image_{i:05d}.jpg')
    labels = np.array([[102, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
    savemat(root / 'imagelabels.mat', {'labels': labels})
    ids = {'trnid': [[1, 3, 5]], 'valid': [[2, 4, 6]], 'tstid': [[7, 8, 9, 10, 11, 12]]}
    savemat(root / 'setid.mat', {name: np.array(value) for name, value in ids.items()})


def write_cars(root):
    fields = ['bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2', 'class', 'fname']
    for split, file, labels in (
        ('train', 'cars_train_annos', (196, 1, 50, 7)),
        ('test', 'cars_test_annos_withlabels', (2, 196, 3)),
    ):
        annotations = np.zeros((1, len(labels)), dtype=[(name, 'O') for name in fields])
        for i, label in enumerate(labels):
            name = f'{i + 1:05d}.jpg'
            photo(root / f'cars_{split}/{name}')
            annotations[0, i] = (1, 2, 30, 20, label, name)
        (root / 'devkit').mkdir(exist_ok=True)
        savemat(root / f'devkit/{file}.mat', {'annotations': annotations})


def inat_json(root, year, split, per_class):
    """Write the images of a split and return its JSON; ids are neither sorted nor contiguous."""
    images, annotations = [], []
    for category in range(INAT_CLASSES):
        for i in range(per_class):
            number = 1000 * (split == 'val') + 10 * category + i
            name = f'train_val{year}/Aves/{category}/{number:032x}.jpg'
            photo(root / name)
            images.append(dict(id=number, file_name=name, width=32, height=40, license=1))
            annotations.append(dict(id=number, image_id=number, category_id=100 - 7 * category))
    categories = [dict(id=100 - 7 * c, name=f'{c}', supercategory='Aves') for c in range(3)]
    return dict(images=images, annotations=annotations[::-1], categories=categories, info={})


def write_inat(root, year):
    for split, per_class in (('train', 4), ('val', 2)):
        content = inat_json(root, year, split, per_class)
        (root / f'{split}{year}.json').write_text(json.dumps(content))


WRITERS = {
    'cifar10': write_cifar10,
    'cifar100': write_cifar100,
    'flowers102': write_flowers,
    'cars': write_cars,
    'inat18': lambda root: write_inat(root, 2018),
    'inat19': lambda root: write_inat(root, 2019),
}
