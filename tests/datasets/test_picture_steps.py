"""Steps that share a picture: the pixels, draws and results of the steps by themselves."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image
from skimage import data as photographs

import cosub_mm  # noqa: F401
from cosub_mm.datasets.picture_steps import PictureSteps, keep_picture
from cosub_mm.datasets.resizing import resize_short_side, resized_window

LOAD = dict(type='LoadPicture')
PACK = dict(type='PackInputs')
CROP = dict(type='RandomResizedCrop', scale=48, backend='pillow', interpolation='bicubic')
EDGE = dict(type='ResizeEdge', scale=48, edge='short', backend='pillow', interpolation='bicubic')
FLIP = dict(type='RandomFlip', prob=0.5, direction='horizontal')
PIPELINES = {
    'training': [LOAD, CROP, FLIP, dict(type='ThreeAugment'), PACK],
    'simple crop': [LOAD, dict(type='SimpleRandomCrop', size=48), FLIP, PACK],
    'test': [LOAD, EDGE, dict(type='CenterCrop', crop_size=48), PACK],
    'long edge': [LOAD, {**EDGE, 'edge': 'long'}, dict(type='CenterCrop', crop_size=(40, 60))],
    'width': [LOAD, {**EDGE, 'edge': 'width', 'interpolation': 'bilinear'}, PACK],
    'any flip': [
        LOAD,
        dict(
            type='RandomFlip',
            prob=[0.3, 0.3, 0.3],
            direction=['horizontal', 'vertical', 'diagonal'],
        ),
        PACK,
    ],
    'a stock step after': [LOAD, CROP, FLIP, dict(type='ColorJitter', brightness=0.4), PACK],
    'a stock step between': [
        LOAD,
        CROP,
        dict(type='Lighting', eigval=[9.0, 4, 2], eigvec=np.eye(3).tolist()),
        FLIP,
        PACK,
    ],
    'RandAugment after': [
        LOAD,
        CROP,
        dict(
            type='RandAugment',
            policies='timm_increasing',
            num_policies=2,
            total_level=10,
            magnitude_level=7,
        ),
        PACK,
    ],
    'resized by OpenCV': [LOAD, FLIP, dict(type='ResizeEdge', scale=48), PACK],
    'kept as it is stored': [dict(type='LoadPicture', color_type='color_ignore_orientation'), FLIP],
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp('pictures') / 'a'
    root.mkdir()
    whole = Image.fromarray(photographs.chelsea())
    turned = Image.Exif()
    turned[0x0112] = 6
    sizes = {'wide': (100, 75), 'tall': (75, 101), 'square': (60, 60), 'small': (40, 31)}
    for name, size in sizes.items():
        whole.resize(size).save(root / f'{name}.jpg', exif=turned if name == 'tall' else b'')
    whole.resize((80, 50)).convert('P').save(root / 'palette.png')
    whole.resize((50, 80)).convert('L').save(root / 'grey.png')
    return sorted(map(str, root.iterdir()))


def _run(transform, path, seed):
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    results = transform(dict(img_path=path, gt_label=1, sample_idx=0))
    return results, (random.random(), np.random.rand(), torch.rand(1).item())


@pytest.mark.parametrize('name', PIPELINES)
def test_results_and_draws_are_those_of_the_steps(name, files):
    steps = [TRANSFORMS.build(step) for step in PIPELINES[name]]
    together = keep_picture(steps)
    assert isinstance(together[0], PictureSteps) and len(together) < len(steps)
    for path in files:
        for seed in range(4):
            expected, draws = _run(Compose(steps), path, seed)
            found, other = _run(Compose(together), path, seed)
            assert other == draws
            _compare(found, expected)


def _compare(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, np.ndarray | torch.Tensor):
            np.testing.assert_array_equal(found[key], value)
            assert found[key].dtype == value.dtype
        elif key == 'data_samples':
            assert found[key].to_dict() == value.to_dict()
            assert found[key].metainfo == value.metainfo
        else:
            assert found[key] == value, key


def test_other_steps_are_left_alone():
    own = type('Own', (type(TRANSFORMS.build(CROP)),), {})(scale=48, backend='pillow')
    load, flip = TRANSFORMS.build(LOAD), TRANSFORMS.build(FLIP)
    floats = TRANSFORMS.build({**LOAD, 'to_float32': True})
    stock = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    for steps in ([load, own, flip], [stock, flip], [floats, flip], [flip, load], [load], []):
        assert keep_picture(steps) == steps


@pytest.mark.parametrize('shape', [(100, 75), (75, 100), (20, 300), (300, 20), (25, 30), (48, 48)])
@pytest.mark.parametrize('name', ['BICUBIC', 'BILINEAR', 'LANCZOS', 'BOX', 'HAMMING', 'NEAREST'])
def test_a_window_is_cut_from_the_resized_picture(shape, name):
    """Also where Pillow 13 goes along the columns first: towers, and other proportions."""
    resample = Image.Resampling[name]
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
    for size in (resize_short_side(*picture.size, 48), (70, 48)):
        whole = picture.resize(size, resample)
        for _ in range(6):
            left, upper = rng.integers(0, size[0] - 9), rng.integers(0, size[1] - 9)
            right, lower = rng.integers(left, size[0]) + 1, rng.integers(upper, size[1]) + 1
            box = tuple(map(int, (left, upper, right, lower)))
            np.testing.assert_array_equal(
                resized_window(picture, size, box, resample), whole.crop(box)
            )


def test_windows_of_random_sizes_are_exact():
    rng = np.random.default_rng(1)
    for _ in range(150):
        width, height = map(int, rng.integers(9, 90, 2))
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        short = int(rng.integers(9, 60))
        size = resize_short_side(width, height, short)
        left, upper = (int(rng.integers(0, length - short + 1)) for length in size)
        box = (left, upper, left + short, upper + short)
        whole = picture.resize(size, Image.Resampling.BICUBIC).crop(box)
        window = resized_window(picture, size, box, Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(window, whole, err_msg=f'{picture.size} {size}')


@pytest.mark.parametrize(('shape', 'first'), [((100, 2000), 1000 * 100), ((190, 100), 50 * 180)])
def test_what_is_not_shown_is_not_resized(shape, first, monkeypatch):
    """The second pass sees the columns of the crop; the first one its rows."""
    pixels = []
    resize = Image.Image.resize

    def counted(self, size, *args, **kwargs):
        pixels.append(size[0] * size[1])
        return resize(self, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, 'resize', counted)
    crop = TRANSFORMS.build(dict(type='SimpleRandomCrop', size=50))
    for seed in range(8):
        pixels.clear()
        torch.manual_seed(seed)
        crop.crop(Image.new('RGB', shape[::-1]))
        assert len(pixels) == 2 and pixels[0] <= first
        assert pixels[1] <= 50 * 95


def test_the_tools_pipelines_turn_no_array_into_a_picture(files, monkeypatch):
    """What GuardedImages, in which the tools wrap every data set, builds of a stock config."""
    turned = []
    fromarray = Image.fromarray
    monkeypatch.setattr(
        Image,
        'fromarray',
        lambda *args, **kwargs: turned.append(args) or fromarray(*args, **kwargs),
    )
    dataset = dict(
        type='CustomDataset',
        _scope_='mmpretrain',
        data_root=str(Path(files[0]).parents[1]),
        pipeline=PIPELINES['training'],
    )
    inner = dict(type='RepeatDataset', dataset=dataset, times=1)
    for config in (dataset, inner):
        guard = DATASETS.build(dict(type='GuardedImages', dataset=config))
        samples = [guard[index] for index in range(len(guard))]
        assert len(samples) == len(files) and not turned
    Compose([TRANSFORMS.build(step) for step in PIPELINES['training']])(dict(img_path=files[0]))
    assert len(turned) == 2  # the crop's and 3-Augment's, without the sharing
