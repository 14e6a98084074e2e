"""The indices of the usual samplers, without their lists: the same numbers, little memory."""

import itertools
import tracemalloc

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmpretrain.datasets import RepeatAugSampler

from cosub_mm.engine.indices import indices_of

CASES = [
    (DefaultSampler, dict(shuffle=True)),
    (DefaultSampler, dict(shuffle=False)),
    (DefaultSampler, dict(shuffle=True, round_up=False)),
    (RepeatAugSampler, dict()),
    (RepeatAugSampler, dict(num_repeats=2)),
    (RepeatAugSampler, dict(shuffle=False)),
]


@pytest.mark.parametrize(('kind', 'settings'), CASES)
@pytest.mark.parametrize('world', [1, 2, 8])
@pytest.mark.parametrize('size', [3, 64, 101])
def test_indices_are_the_samplers(kind, settings, world, size, monkeypatch):
    monkeypatch.setattr('cosub_mm.engine.indices.CHUNK', 7)
    module = __import__(kind.__module__, fromlist=['x'])
    for rank in {0, world - 1}:
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world))
        sampler = kind(range(size), seed=3, **settings)
        for epoch in (0, 5):
            sampler.set_epoch(epoch)
            expected = list(sampler)
            for skipped in (0, 1, 7, 20, size + 1):
                assert list(indices_of(sampler, skipped)) == expected[skipped:]


def test_other_samplers_are_asked():
    class Own(DefaultSampler):
        def __iter__(self):
            return iter([4, 2])

    assert list(indices_of(Own(range(9)))) == [4, 2]
    assert list(indices_of([5, 6, 7], 1)) == [6, 7]
    endless = [InfiniteSampler(range(5), seed=0) for _ in range(2)]
    expected = itertools.islice(iter(endless[0]), 3, 7)
    assert list(itertools.islice(indices_of(endless[1], 3), 4)) == list(expected)


def test_indices_take_no_lists():
    """Python's memory for the indices of an epoch stays that of a piece of it."""
    sampler = DefaultSampler(range(1_000_000), seed=0)
    tracemalloc.start()
    next(indices_of(sampler))
    assert tracemalloc.get_traced_memory()[1] < 8e6  # the list alone has 40e6
    tracemalloc.stop()
