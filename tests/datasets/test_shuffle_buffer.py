"""The order by blocks: every image once, near what is near on the disk, and read ahead."""

import io
import os
import tarfile
import time
from collections import Counter
from itertools import islice, pairwise

import pytest
from mmengine import dataset as mmengine_dataset
from mmpretrain.registry import DATA_SAMPLERS, DATASETS

import cosub_mm  # noqa: F401
from cosub_mm.datasets.imagenet21k.tar_backend import parse_address
from cosub_mm.datasets.shuffle_buffer import ShuffleBufferSampler, ask_for
from cosub_mm.engine.indices import indices_of


class Numbers:
    """As many images as it is told, none of which is read."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def get_data_info(self, index):
        return dict(img_path=f'/nowhere/{index}')


def _sampler(size, monkeypatch=None, rank=0, world=1, epoch=0, **settings):
    if monkeypatch:
        place = lambda: (rank, world)  # noqa: E731
        monkeypatch.setattr(mmengine_dataset.sampler, 'get_dist_info', place)
    settings = dict(buffer=12, block=4, seed=0, read_ahead=False) | settings
    sampler = DATA_SAMPLERS.build(
        dict(type='ShuffleBufferSampler', **settings), default_args=dict(dataset=Numbers(size))
    )
    sampler.set_epoch(epoch)
    return sampler


SIZES = [1, 3, 4, 11, 12, 13, 24, 25, 50]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('shuffle', [True, False])
def test_every_image_once(size, shuffle):
    indices = list(_sampler(size, shuffle=shuffle))
    assert sorted(indices) == list(range(size))
    assert (indices == sorted(indices)) == (not shuffle or size == 1)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('repeats', [1, 3])
def test_the_order_depends_on_no_number_of_processes(size, repeats, monkeypatch):
    single = list(_sampler(size, num_repeats=repeats))
    for world in (2, 5):
        ranks = [
            list(_sampler(size, monkeypatch, r, world, num_repeats=repeats)) for r in range(world)
        ]
        together = [index for step in zip(*ranks) for index in step]
        assert together[:size] == single
        assert len(together) == -(-size // world) * world


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = [
        list(_sampler(50)),
        list(_sampler(50, epoch=1)),
        list(_sampler(50, seed=7)),
    ]
    assert orders[0] == list(_sampler(50))
    assert len({tuple(order) for order in orders}) == 3


def test_images_of_a_buffer_are_those_of_whole_blocks():
    orders = [list(_sampler(48, epoch=epoch)) for epoch in range(20)]
    for order in orders:
        for start in range(0, 48, 12):
            blocks = Counter(index // 4 for index in order[start : start + 12])
            assert len(blocks) == 3 and set(blocks.values()) == {4}
    steps = [step for order in orders for step in pairwise(order)]
    # and come in any order: neighbours stand side by side about as often as chance has it
    assert sum(b - a == 1 for a, b in steps) < 0.2 * len(steps)
    # each block meets each other one in some epoch
    assert len({frozenset((a // 4, b // 4)) for a, b in steps if a // 4 != b // 4}) == 12 * 11 / 2


@pytest.mark.parametrize('settings', [dict(), dict(num_repeats=3), dict(shuffle=False)])
def test_a_pass_goes_on_anywhere(settings, monkeypatch):
    for rank in (0, 1):
        sampler = _sampler(50, monkeypatch, rank, 2, **settings)
        whole = list(sampler)
        for skipped in (0, 1, 13, 24, 25, 99):
            assert list(indices_of(sampler, skipped)) == whole[skipped:]


def test_images_are_repeated_as_by_mmpretrains_sampler():
    indices = list(_sampler(60, num_repeats=3))
    assert len(indices) == 60 and indices[::3] == indices[1::3] == indices[2::3]
    assert len(set(indices)) == 20


@pytest.mark.parametrize('settings', [dict(block=0), dict(buffer=3), dict(num_repeats=0)])
def test_numbers_that_cannot_be(settings):
    with pytest.raises(ValueError, match='at least'):
        _sampler(20, **settings)


@pytest.fixture
def shards(tmp_path):
    for name, count in (('n01', 21), ('n02', 6), ('n03', 17)):
        with tarfile.open(tmp_path / f'{name}.tar', 'w') as shard:
            for i in range(count):
                info = tarfile.TarInfo(f'{name}_{i:02d}.png')
                info.size = 100 + i
                shard.addfile(info, io.BytesIO(bytes(info.size)))
    return DATASETS.build(dict(type='CosubImageNet21k', data_root=str(tmp_path), pipeline=[]))


def _record(monkeypatch):
    asked = []

    def advise(descriptor, start, size, advice):
        asked.append((os.readlink(f'/proc/self/fd/{descriptor}'), start, size))
        assert advice == os.POSIX_FADV_WILLNEED

    monkeypatch.setattr(os, 'posix_fadvise', advise)
    return asked


def test_neighbours_are_asked_for_in_one_piece(shards, monkeypatch):
    asked = _record(monkeypatch)
    ask_for(shards, 2, 24)
    assert [os.path.basename(path) for path, _, _ in asked] == ['n01.tar', 'n02.tar']
    first, last = (parse_address(shards.get_data_info(i)['img_path']) for i in (2, 20))
    assert asked[0] == (first[0], first[1], last[1] + last[2] - first[1])


def test_files_are_asked_for_whole_and_lost_ones_left(tmp_path, monkeypatch):
    asked = _record(monkeypatch)
    (tmp_path / 'a').write_bytes(b'1')
    addresses = [str(tmp_path / 'a'), str(tmp_path / 'lost'), 's3://far/away']

    class Files:
        def get_data_info(self, index):
            return dict(img_path=addresses[index])

    ask_for(Files(), 0, 3)
    assert asked == [(str(tmp_path / 'a'), 0, 0)]


def test_a_buffer_is_asked_for_before_it_is_used(shards, monkeypatch):
    asked = _record(monkeypatch)
    sampler = ShuffleBufferSampler(shards, buffer=8, block=4, seed=0)
    iterator = iter(sampler)
    covered = []
    for number in range(sampler.buffers):
        taken = list(islice(iterator, 8))
        wanted = 8 * (number + 2)
        deadline = time.monotonic() + 10
        while len(covered) < min(wanted, 44) and time.monotonic() < deadline:
            covered = [i for i in range(44) if _is_covered(shards, i, asked)]
        assert set(taken) <= set(covered)
        assert len(covered) >= min(wanted, 44)
        if number == 0:
            assert len(covered) < 30  # and not the whole data at once
    assert len(covered) == 44


def _is_covered(dataset, index, asked):
    path, start, size = parse_address(dataset.get_data_info(index)['img_path'])
    return any(p == path and a <= start and start + size <= a + n for p, a, n in list(asked))
