"""Training by epochs that goes on in the middle of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import BatchSampler, DataLoader, Sampler

__all__ = ['STEPS_DONE', 'CosubEpochTrainLoop']

# Entry of the message hub in checkpoints from the middle of an epoch.
STEPS_DONE = 'steps_done_in_epoch'


@LOOPS.register_module()
class CosubEpochTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop, which starts an epoch again from its first batch, resumed at the right one.

    The epoch's remaining batches follow in the order that they would have had. What is random in
    loading and in the model is drawn anew.
    """

    def run_epoch(self) -> None:
        """Iterate over what is left of an epoch."""
        hub = self.runner.message_hub
        done = hub.runtime_info.get(STEPS_DONE, 0)
        if not done:
            super().run_epoch()
            return
        self.runner.call_hook('before_train_epoch')
        hub.update_info(STEPS_DONE, 0)
        self.runner.model.train()
        with _without_first(self.dataloader, done) as batches:
            for index, data_batch in enumerate(batches, start=done):
                self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@contextmanager
def _without_first(dataloader: DataLoader, count: int) -> Iterator:
    """The batches behind the first ``count``, which are not loaded where the sampler is plain."""
    batch_sampler = dataloader.batch_sampler
    if type(batch_sampler) is not BatchSampler:
        yield islice(dataloader, count, None)
        return
    sampler = batch_sampler.sampler
    batch_sampler.sampler = _Rest(sampler, count * batch_sampler.batch_size)
    try:
        yield dataloader
    finally:
        batch_sampler.sampler = sampler


class _Rest(Sampler):
    """A sampler without its first indices; its length stays that of the epoch."""

    def __init__(self, sampler: Sampler, skipped: int) -> None:
        self.sampler, self.skipped = sampler, skipped

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self.sampler), self.skipped, None)

    def __len__(self) -> int:
        return len(self.sampler)
