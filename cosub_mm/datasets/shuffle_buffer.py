"""An order of images that a network disk can read in long pieces, and reading them ahead.

A full shuffle asks for one image here and one there; a network disk answers each request after
milliseconds. Here the data are cut into blocks of neighbours, the blocks are shuffled, and the
images of as many blocks as fill a buffer are shuffled among themselves. The buffer is the page
cache of the machine, which all its processes share: a thread asks the system for the blocks of the
next buffer while this one is used.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_local_rank
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from cosub_mm.safe_files import UnsafeFileError, open_regular

from .imagenet21k.tar_backend import PREFIX, parse_address

__all__ = ['ShuffleBufferSampler', 'ask_for']

# Bytes between two images that are read along, such as the head of a member of a tar file.
_GAP = 1 << 16


@DATA_SAMPLERS.register_module()
class ShuffleBufferSampler(DefaultSampler):
    """Every image once an epoch, near in the order what is near on the disk.

    The order depends on seed and epoch only, not on the number of processes or workers; a training
    goes on in the middle of an epoch without reading what lies before.

    Args:
        dataset: whose neighbours lie together on the disk, such as
            :class:`.imagenet21k.CosubImageNet21k` on shards.
        buffer: images that are shuffled among themselves. They should fit the memory of a machine
            beside everything else: 65,536 of ImageNet-21k have 7 GB.
        block: neighbours that are read together; 32 of ImageNet-21k have 3.5 MB. Smaller blocks
            mix better.
        num_repeats: show each image so many times in a row and a part of the images in an epoch, as
            mmpretrain's RepeatAugSampler does.
        shuffle: False keeps the order of the data.
        seed: the same in all processes; None draws one.
        read_ahead: ask the system for the next buffer.

    Raises:
        ValueError: a number below 1, or a buffer smaller than a block.
    """

    def __init__(
        self,
        dataset: Dataset,
        buffer: int = 65536,
        block: int = 32,
        num_repeats: int = 1,
        shuffle: bool = True,
        seed: int | None = None,
        read_ahead: bool = True,
    ) -> None:
        if min(block, num_repeats) < 1 or buffer < block:
            raise ValueError(
                f'block={block} and num_repeats={num_repeats} must be at least 1, and '
                f'buffer={buffer} at least a block.'
            )
        super().__init__(dataset, shuffle=shuffle, seed=seed)
        self.block, self.num_repeats, self.read_ahead = block, num_repeats, read_ahead
        # whole blocks; the last, shorter block of the data is in the last buffer
        self.blocks = max(len(dataset) // block, 1)
        self.blocks_in_buffer = buffer // block
        self.buffers = -(-self.blocks // self.blocks_in_buffer)

    def __iter__(self) -> Iterator[int]:
        return self.iterate_from(0)

    def iterate_from(self, skipped: int) -> Iterator[int]:
        """The indices of this process without the first ``skipped``."""
        size, length = len(self.dataset), self.blocks_in_buffer * self.block
        ahead = _Ahead(self) if self.read_ahead and get_local_rank() == 0 else None
        order, current = None, None
        for place in range(skipped, self.num_samples):
            place = (self.rank + place * self.world_size) % (size * self.num_repeats)
            number, within = divmod(place // self.num_repeats, length)
            if number >= self.buffers:  # of the last, shorter block
                number, within = self.buffers - 1, within + length
            if number != current:
                current, order = number, self.images_of(number)
                if ahead:
                    ahead.entered(number)
            yield order[within]

    def images_of(self, number: int) -> list[int]:
        """Images of a buffer, in their order."""
        blocks = self.blocks_of(number)
        parts = [torch.arange(*self.range_of(block)) for block in blocks]
        images = torch.cat(parts)
        if self.shuffle:
            images = images[torch.randperm(len(images), generator=self._generator(number + 1))]
        return images.tolist()

    def blocks_of(self, number: int) -> list[int]:
        """Numbers of the blocks of a buffer."""
        first = number * self.blocks_in_buffer
        if self.shuffle:
            order = torch.randperm(self.blocks, generator=self._generator(0))
        else:
            order = torch.arange(self.blocks)
        blocks = order[first : first + self.blocks_in_buffer].tolist()
        # What is left behind the last whole block comes into the last buffer.
        rest = self.blocks * self.block < len(self.dataset) and number == self.buffers - 1
        return [*blocks, self.blocks] if rest else blocks

    def range_of(self, block: int) -> tuple[int, int]:
        """First image of a block, and the first behind it."""
        return block * self.block, min((block + 1) * self.block, len(self.dataset))

    def _generator(self, stream: int) -> torch.Generator:
        generator = torch.Generator()
        # Streams of one epoch lie apart from those of the next: 2**32 buffers are no data set's.
        generator.manual_seed(self.seed + self.epoch + (stream << 32))
        return generator


class _Ahead:
    """Asks for the blocks of the buffer behind the one that is entered, in a thread."""

    def __init__(self, sampler: ShuffleBufferSampler) -> None:
        self.sampler, self.asked = sampler, -1
        self.pool = ThreadPoolExecutor(1, thread_name_prefix='read_ahead')

    def entered(self, number: int) -> None:
        for one in range(max(number, self.asked + 1), min(number + 2, self.sampler.buffers)):
            self.asked = one
            self.pool.submit(self._ask, one)

    def _ask(self, number: int) -> None:
        for block in self.sampler.blocks_of(number):
            ask_for(self.sampler.dataset, *self.sampler.range_of(block))


def ask_for(dataset: Dataset, first: int, last: int) -> None:
    """Ask the system to read images into its page cache; neighbours in a shard in one piece.

    Args:
        dataset: tells the address of an image by ``get_data_info``.
        first: the first image.
        last: the one behind the last.

    Images elsewhere than on a file system of this machine are left alone; so are those that cannot
    be opened, which whoever reads them will say.
    """
    places = []
    for index in range(first, last):
        address = str(dataset.get_data_info(index)['img_path'])
        if address.startswith(f'{PREFIX}://'):
            places.append(parse_address(address))
        elif '://' not in address:
            places.append((address, 0, 0))  # a length of 0: up to the end
    for path, start, size in _joined(places):
        try:
            with open_regular(path) as file:
                os.posix_fadvise(file.fileno(), start, size, os.POSIX_FADV_WILLNEED)
        except (OSError, UnsafeFileError):
            continue


def _joined(places: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Pieces of files (path, offset, size), joined where they lie close together."""
    joined: list[tuple[str, int, int]] = []
    for path, start, size in sorted(places):
        if joined and joined[-1][0] == path:
            _, begin, length = joined[-1]
            if start <= begin + length + _GAP:
                joined[-1] = (path, begin, max(length, start + size - begin))
                continue
        joined.append((path, start, size))
    return joined
