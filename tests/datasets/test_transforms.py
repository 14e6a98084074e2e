import random
from collections import Counter

import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageFilter, ImageOps
from skimage import data as photographs
from timm.data.auto_augment import AugmentOp, auto_augment_policy
from torchvision import transforms as tv

import cosub_mm  # noqa: F401


@pytest.fixture(scope='module')
def rgb():
    return photographs.astronaut()[40:200, 100:320]


def _build(**cfg):
    return TRANSFORMS.build(cfg)


def _run(transform, rgb, seed=0):
    random.seed(seed)
    torch.manual_seed(seed)
    results = transform({'img': rgb[..., ::-1].copy(), 'img_shape': rgb.shape[:2]})
    return results['img'][..., ::-1], results


def test_three_augment_equals_timm_on_the_same_seed(rgb):
    """timm's 3-Augment policy, then torchvision's jitter: the same draws, the same pixels."""
    ours = _build(type='ThreeAugment', color_jitter=0.3)
    policy = auto_augment_policy('3a')
    jitter = tv.ColorJitter(0.3, 0.3, 0.3)
    seen = set()
    for seed in range(40):
        random.seed(seed)
        torch.manual_seed(seed)
        (operation,) = random.choice(policy)
        seen.add(operation.name)
        expected = jitter(operation(Image.fromarray(rgb)))
        np.testing.assert_array_equal(_run(ours, rgb, seed)[0], np.asarray(expected))
    assert seen == {'Solarize', 'Desaturate', 'GaussianBlurRand'}


def test_three_augment_without_jitter_is_one_of_three(rgb):
    """Each image is a solarised, a grey or a blurred one, each about a third of the time."""
    ours = _build(type='ThreeAugment', color_jitter=0)
    image = Image.fromarray(rgb)
    grey = np.asarray(ImageOps.grayscale(image).convert('RGB'))
    solarized = np.asarray(ImageOps.solarize(image, 128))
    counts = Counter()
    small = np.s_[:24, :24]
    for seed in range(300):
        out, _ = _run(ours, rgb[small], seed)
        kind = 'blur'
        if np.array_equal(out, grey[small]):
            kind = 'grey'
        elif np.array_equal(out, solarized[small]):
            kind = 'solarize'
        counts[kind] += 1
    assert set(counts) == {'blur', 'grey', 'solarize'}
    assert all(75 <= count <= 125 for count in counts.values()), counts


def test_blur_radius_reaches_from_a_tenth_to_two(rgb, monkeypatch):
    radii = []
    monkeypatch.setattr(
        ImageFilter, 'GaussianBlur', lambda radius: radii.append(radius) or ImageFilter.BLUR
    )
    ours = _build(type='ThreeAugment', color_jitter=0)
    for seed in range(400):
        _run(ours, rgb[:8, :8], seed)
    assert 0.1 <= min(radii) < 0.2 and 1.9 < max(radii) <= 2.0
    assert abs(np.mean(radii) - 1.05) < 0.12


def test_grey_weighs_the_channels_as_rgb():
    """A pure red image has the luma of red: reading BGR as RGB would give that of blue."""
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    ours = _build(type='ThreeAugment', color_jitter=0)
    values = {int(_run(ours, red, seed)[0][4, 4, 0]) for seed in range(20)}
    assert round(255 * 0.299) in values
    assert round(255 * 0.114) not in values


@pytest.mark.parametrize(
    'shape', [(160, 220), (220, 161), (64, 64), (64, 90), (30, 47), (40, 300), (300, 40)]
)
@pytest.mark.parametrize(('size', 'padding'), [(64, 4), (64, 0), (5, 4), (64, 63)])
def test_simple_random_crop_equals_torchvision(rgb, shape, size, padding):
    rgb = np.asarray(Image.fromarray(rgb).resize(shape[::-1]))
    ours = _build(type='SimpleRandomCrop', size=size, padding=padding)
    reference = tv.Compose(
        [
            tv.Resize(size, interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomCrop(size, padding=padding or None, padding_mode='reflect'),
        ]
    )
    for seed in range(25):
        torch.manual_seed(seed)
        expected = np.asarray(reference(Image.fromarray(rgb)))
        next_draw = torch.rand(1)
        out, results = _run(ours, rgb, seed)
        np.testing.assert_array_equal(out, expected)
        assert torch.rand(1) == next_draw
        assert results['img_shape'] == (size, size)


def test_crop_moves_by_at_most_the_padding_along_the_short_side():
    ramp = np.repeat(np.arange(32, dtype=np.uint8)[:, None], 32, axis=1)
    image = np.stack([ramp] * 3, axis=-1)
    ours = _build(type='SimpleRandomCrop', size=32)
    middles = {int(_run(ours, image, seed)[0][16, 16, 0]) - 16 for seed in range(200)}
    assert middles == set(range(-4, 5))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='ThreeAugment', color_jitter=-1), 'at least 0'),
        (dict(type='SimpleRandomCrop', size=0), 'positive'),
        (dict(type='SimpleRandomCrop', size=3), 'padding=4'),
        (dict(type='SimpleRandomCrop', size=32, interpolation='cubic'), 'bicubic'),
    ],
)
def test_bad_arguments_are_named(cfg, message):
    with pytest.raises(ValueError, match=message):
        _build(**cfg)


@pytest.mark.parametrize('image', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match='uint8'):
        _build(type='ThreeAugment')({'img': image})


def test_timm_policy_is_the_definition_of_the_recipe():
    """What the test above compares with: a threshold of 128, and every operation always."""
    operations = [operation for (operation,) in auto_augment_policy('3a')]
    assert all(isinstance(operation, AugmentOp) and operation.prob == 1 for operation in operations)
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(3, 0)).convert('RGB')
    assert np.array_equal(operations[0](ramp), ImageOps.solarize(ramp, 128))
