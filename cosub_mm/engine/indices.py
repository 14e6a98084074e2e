"""The indices that the usual samplers give, without their Python lists.

mmengine's and mmpretrain's samplers make a list of all indices, copy it three times and keep it
over the epoch: a gigabyte for the 14 million images of ImageNet-21k, in each process of a machine.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import Sampler

__all__ = ['indices_of']

CHUNK = 1 << 16


def indices_of(sampler: Sampler, skipped: int = 0) -> Iterator[int]:
    """The indices of a sampler's pass, without the first ``skipped``.

    Args:
        sampler: any; those of mmengine and mmpretrain by epochs are read in little memory.
        skipped: how many to leave out.
    """
    if hasattr(sampler, 'iterate_from'):
        yield from sampler.iterate_from(skipped)
        return
    # By the very type: a subclass may do anything.
    kind = f'{type(sampler).__module__.partition(".")[0]}.{type(sampler).__name__}'
    if type(sampler) is DefaultSampler:
        count, repeats = len(range(sampler.rank, sampler.total_size, sampler.world_size)), 1
    elif kind == 'mmpretrain.RepeatAugSampler':
        count, repeats = sampler.num_selected_samples, sampler.num_repeats
    else:
        yield from islice(iter(sampler), skipped, None)
        return
    size = len(sampler.dataset)
    order = _order(sampler, size)
    for first in range(skipped, count, CHUNK):
        places = torch.arange(first, min(first + CHUNK, count))
        places = places * sampler.world_size + sampler.rank
        # What the samplers append to divide evenly are the first ones again.
        yield from order[places % (size * repeats) // repeats].tolist()


def _order(sampler: Sampler, size: int) -> torch.Tensor:
    if not sampler.shuffle:
        return torch.arange(size)
    generator = torch.Generator()
    generator.manual_seed(sampler.seed + sampler.epoch)
    return torch.randperm(size, generator=generator)
