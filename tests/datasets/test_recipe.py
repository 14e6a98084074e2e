"""mmpretrain's repeated augmentation and batch mixing against the recipe (recipes.md, 2 and 8).

Nothing of ours is needed for them; these tests say so, and will tell when that changes.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmpretrain.datasets import samplers as mm_samplers
from mmpretrain.models.utils.batch_augments import CutMix, Mixup, RandomBatchAugment
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from timm.data import Mixup as TimmMixup
from timm.data import create_transform
from timm.data.distributed_sampler import RepeatAugSampler as TimmSampler


def _sampler(monkeypatch, size, rank=0, world=1, seed=0, epoch=0):
    monkeypatch.setattr(mm_samplers.repeat_aug, 'get_dist_info', lambda: (rank, world))
    sampler = mm_samplers.RepeatAugSampler(range(size), num_repeats=3, seed=seed)
    sampler.set_epoch(epoch)
    return sampler


def _epoch_of_all_ranks(monkeypatch, size, world, batch, **kwargs):
    """The images of each global step, which drops the last incomplete batch of every rank."""
    ranks = [list(_sampler(monkeypatch, size, rank, world, **kwargs)) for rank in range(world)]
    steps = len(ranks[0]) // batch
    return [
        Counter(i for rank in ranks for i in rank[k * batch : (k + 1) * batch])
        for k in range(steps)
    ]


@pytest.mark.parametrize('world', [1, 4])
def test_repeated_augmentation_equals_timm(monkeypatch, world):
    """The same order as DeiT's sampler, epoch by epoch, up to DeiT's cut to a multiple of 256."""
    for rank in range(world):
        for epoch in range(3):
            ours = list(_sampler(monkeypatch, 1100, rank, world, epoch=epoch))
            timm = TimmSampler(range(1100), num_replicas=world, rank=rank, num_repeats=3)
            timm.set_epoch(epoch)
            theirs = list(timm)
            assert theirs == ours[: len(theirs)] and len(theirs) == 1024 // world


def test_an_epoch_is_one_pass_in_a_single_process(monkeypatch):
    """As many samples as images, each drawn image three times in a row, another third each time."""
    epochs = [list(_sampler(monkeypatch, 900, epoch=epoch)) for epoch in range(2)]
    for samples in epochs:
        assert len(samples) == 900 == len(_sampler(monkeypatch, 900))
        assert set(Counter(samples).values()) == {3}
        assert samples[::3] == samples[1::3] == samples[2::3]
    assert set(epochs[0]) != set(epochs[1])


def test_global_batches_do_not_depend_on_the_number_of_processes(monkeypatch):
    """A batch of 96 holds 32 images three times, whether one process draws it or eight do."""
    single = _epoch_of_all_ranks(monkeypatch, 1000, world=1, batch=96)
    assert set(single[0].values()) == {3} and len(single[0]) == 32
    for world in (2, 8):
        assert _epoch_of_all_ranks(monkeypatch, 1000, world, batch=96 // world) == single


def test_imagenet_has_625_steps_at_a_batch_of_2048(monkeypatch):
    for world, batch in ((1, 2048), (8, 256)):
        sampler = _sampler(monkeypatch, 1_281_167, 0, world)
        assert len(sampler) // batch == 625


def test_repeated_augmentation_differs_from_a_plain_sampler():
    """What the tests above would miss if the sampler were a plain one."""
    plain = Counter(DefaultSampler(range(900), seed=0))
    assert set(plain.values()) == {1}


@pytest.fixture
def batch():
    images = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    return images, torch.arange(6)


def _timm(images, labels, lam, monkeypatch, **kwargs):
    mixup = TimmMixup(label_smoothing=0.0, num_classes=6, **kwargs)
    monkeypatch.setattr(np.random, 'beta', lambda a, b: lam)
    return mixup(images.clone(), labels)


def _flip_partners(monkeypatch):
    """timm mixes with the batch in reverse; mmpretrain draws a permutation."""
    monkeypatch.setattr(torch, 'randperm', lambda n: torch.arange(n - 1, -1, -1))


@pytest.mark.parametrize('lam', [0.0, 0.2, 0.7, 1.0])
def test_mixup_equals_timm(batch, monkeypatch, lam):
    images, labels = batch
    expected, target = _timm(images, labels, lam, monkeypatch, mixup_alpha=0.8)
    _flip_partners(monkeypatch)
    out, score = Mixup(alpha=0.8)(images.clone(), torch.eye(6)[labels])
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(score, target.to(score.dtype))


@pytest.mark.parametrize('lam', [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize('seed', range(4))
def test_cutmix_equals_timm(batch, monkeypatch, lam, seed):
    """The same box from the same draws, and the weight corrected for what the border clips."""
    images, labels = batch
    np.random.seed(seed)
    # timm draws whether to switch before the box, also when there is nothing to switch to.
    monkeypatch.setattr(np.random, 'rand', lambda: 0.0)
    expected, target = _timm(images, labels, lam, monkeypatch, mixup_alpha=0.0, cutmix_alpha=1.0)
    _flip_partners(monkeypatch)
    np.random.seed(seed)
    out, score = CutMix(alpha=1.0)(images.clone(), torch.eye(6)[labels])
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(score, target.to(score.dtype))


def test_one_of_the_two_is_drawn_for_each_batch(batch, monkeypatch):
    """Probability .5 each, as timm's switch; their shape parameters reach the beta draw."""
    draws = []
    monkeypatch.setattr(np.random, 'beta', lambda a, b: draws.append(a) or 0.5)
    mix = RandomBatchAugment(
        [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    )
    np.random.seed(0)
    for _ in range(400):
        mix(batch[0].clone(), torch.eye(6)[batch[1]])
    assert len(draws) == 400
    assert abs(draws.count(0.8) - 200) < 40 and set(draws) == {0.8, 1.0}


@pytest.mark.parametrize(
    ('config', 'ratio'), [('cosub/resnet50_in1k-600e', 0.95), ('cosub/vit-b_in1k', 1.0)]
)
@pytest.mark.parametrize('size', [(333, 251), (251, 402)])
def test_test_pictures_equal_timms(config, ratio, size):
    """The short side at 224 / .95 rounded down for RSB, 224 for DeiT III; then the centre."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    smooth = Image.fromarray(pixels).resize((9, 7)).resize(size, Image.Resampling.BICUBIC)
    cfg = Config.fromfile(Path(__file__).parents[2] / f'configs/{config}.py')
    pipeline = cfg.test_dataloader.dataset.pipeline
    steps = [step for step in pipeline if step.type in ('ResizeEdge', 'CenterCrop')]
    ours = dict(img=np.asarray(smooth)[..., ::-1])
    for step in steps:
        ours = TRANSFORMS.build(step)(ours)
    theirs = create_transform(224, interpolation='bicubic', crop_pct=ratio, normalize=False)
    expected = theirs(smooth).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours['img'][..., ::-1], expected, atol=1)
