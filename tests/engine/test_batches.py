"""Batches know their place: no worker's past, and no number of workers, has a say in them."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch import distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
)

from cosub_mm.engine.batches import Batches, EndlessBatches

SEEDED = SimpleNamespace(seed=3)


class Drawing(Dataset):
    """Index and a random number."""

    def __init__(self, images: int = 12) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, torch.rand((), dtype=torch.float64)])


def loader(dataset=None, sampler=DefaultSampler, **options) -> DataLoader:
    dataset = Drawing() if dataset is None else dataset
    return DataLoader(dataset, 2, sampler=sampler(dataset, seed=0), **options)


def of_pass(number: int, done: int = 0, seed: int = 3, **options) -> torch.Tensor:
    """Index and random number of each sample; 6 batches of 2."""
    return torch.cat(list(Batches(loader(**options)).of_pass(seed, number, done)))


@pytest.mark.parametrize('options', [{}, dict(num_workers=2, persistent_workers=True)])
def test_the_rest_of_a_pass(options):
    assert torch.equal(of_pass(1, done=4, **options), of_pass(1)[8:])


def test_one_loader_many_times():
    """What a loader was asked before changes nothing, with workers that live on neither."""
    batches = Batches(loader(num_workers=2, persistent_workers=True))
    next(iter(batches.of_pass(3, 0)))
    assert torch.equal(torch.cat(list(batches.of_pass(3, 1))), of_pass(1))
    assert torch.equal(torch.cat(list(Batches(batches.dataloader).of_pass(3, 1))), of_pass(1))


def test_numbers_differ_by_seed_pass_and_batch():
    numbers = [of_pass(p, seed=s, dataset=Drawing())[:, 1] for p, s in ((0, 3), (1, 3), (0, 4))]
    assert len(torch.cat(numbers).unique()) == 3 * 12


def test_numbers_differ_by_process():
    drawn = []
    for rank in (0, 1):
        dist.init_process_group('fake', rank=rank, world_size=2, store=FakeStore())
        try:
            drawn.append(of_pass(0))
        finally:
            dist.destroy_process_group()
    assert len(torch.cat(drawn)[:, 1].unique()) == len(torch.cat(drawn)[:, 0].unique()) == 12


def shuffled(dataset: Dataset, seed: int) -> RandomSampler:
    """A sampler of torch, which draws its order from the global generator."""
    del seed
    return RandomSampler(dataset)


def test_orders_of_a_torch_sampler_differ_by_pass_and_seed_and_not_by_what_was_drawn():
    orders = [
        tuple(of_pass(p, seed=s, sampler=shuffled)[:, 0].tolist())
        for p, s in ((0, 3), (1, 3), (0, 4))
    ]
    assert len(set(orders)) == 3
    torch.rand(5)
    assert tuple(of_pass(0, sampler=shuffled)[:, 0].tolist()) == orders[0]


def test_drawing_an_order_leaves_the_numbers_of_the_process_alone():
    torch.manual_seed(5)
    batches = iter(Batches(loader(sampler=shuffled, num_workers=1)).of_pass(3, 0))
    next(batches)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    plain = iter(loader(sampler=DefaultSampler, num_workers=1))
    next(plain)
    assert torch.equal(torch.rand(3), drawn)


class Pairs(BatchSampler):
    """A batch sampler of rules of its own."""

    def __iter__(self):
        yield from reversed(list(super().__iter__()))


def test_a_batch_sampler_of_its_own():
    def batches():
        dataset = Drawing()
        pairs = Pairs(DefaultSampler(dataset, seed=0), 2, drop_last=False)
        return Batches(DataLoader(dataset, batch_sampler=pairs))

    whole = torch.cat(list(batches().of_pass(3, 1)))
    assert torch.equal(torch.cat(list(batches().of_pass(3, 1, done=4))), whole[8:])
    assert sorted(whole[:, 0].tolist()) == list(range(12))


def test_a_data_set_that_reads_whole_batches():
    assert torch.equal(of_pass(1, dataset=Subset(Drawing(), range(12))), of_pass(1))


def test_a_list_is_a_data_set():
    indices = [torch.tensor([i]) for i in range(12)]
    assert torch.equal(of_pass(1, dataset=indices)[:, 0], of_pass(1)[:, 0].long())


class Stream(IterableDataset):
    def __iter__(self):
        yield from (torch.tensor([i]) for i in range(12))


@pytest.mark.parametrize('batch_size, first', [(2, 10), (None, 5)])
def test_a_stream_is_read_to_the_place(batch_size, first):
    batches = Batches(DataLoader(Stream(), batch_size))
    rest = [int(i) for batch in batches.of_pass(3, 1, done=5) for i in batch]
    assert rest == list(range(first, 12))


def test_another_loader_of_the_data_set_draws_on():
    """Such as that of a validation: its numbers are not those of the training."""
    dataset = Drawing()
    Batches(loader(dataset))
    torch.manual_seed(5)
    drawn = torch.cat(list(DataLoader(dataset, 2)))[:, 1]
    torch.manual_seed(5)
    next(iter(DataLoader([0])))  # a loader draws a seed for its workers
    assert torch.equal(drawn, torch.rand(12, dtype=torch.float64))


@pytest.mark.parametrize('sampler', [DefaultSampler, InfiniteSampler])
@pytest.mark.parametrize('done', [0, 3, 6, 20])
def test_endless(sampler, done):
    """Each pass has each picture once, in an order of its own, from wherever it is asked."""
    whole, rest = (EndlessBatches(Batches(loader(sampler=sampler)), SEEDED) for _ in range(2))
    whole = torch.cat([next(whole) for _ in range(24)])
    orders = whole[:, 0].reshape(4, 12)
    assert (orders.sort().values == torch.arange(12)).all()
    assert len(orders.unique(dim=0)) == 4 and len(whole[:, 1].unique()) == 48
    rest.skip_iter(done)
    assert torch.equal(torch.cat([next(rest) for _ in range(24 - done)]), whole[2 * done :])
