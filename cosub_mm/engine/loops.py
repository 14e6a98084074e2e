"""mmengine's loops of training, which go on where a run was stopped, with the numbers it had."""

from collections.abc import Iterator
from itertools import islice

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from .batches import Batches, EndlessBatches
from .gathered import GathersAgain

__all__ = ['STEPS_DONE', 'CosubEpochTrainLoop', 'CosubIterTrainLoop']

# Entry of the message hub: the steps of the present epoch that are done; 0 at its end.
STEPS_DONE = 'steps_done_in_epoch'


@LOOPS.register_module()
class CosubEpochTrainLoop(GathersAgain, EpochBasedTrainLoop):
    """mmengine's loop by epochs, which starts an epoch from its first batch, resumed in its middle.

    Here the epoch's remaining batches follow, with the random numbers of :mod:`.batches`.

    Args:
        *args: of mmengine's loop.
        **kwargs: of mmengine's loop.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.batches = Batches(self.dataloader)

    def run_epoch(self) -> None:
        """Iterate over an epoch, or what is left of it."""
        runner, hub = self.runner, self.runner.message_hub
        done = self._steps_done()
        runner.call_hook('before_train_epoch')
        runner.model.train()
        if self.gathered:
            self.gather_again(self._steps_before(done, self.gathered))
        batches = self.batches.of_pass(runner.seed, self._epoch, done)
        for index, data_batch in enumerate(batches, start=done):
            hub.update_info(STEPS_DONE, index + 1)
            self.run_iter(index, data_batch)
        hub.update_info(STEPS_DONE, 0)
        runner.call_hook('after_train_epoch')
        self._epoch += 1

    def recount(self) -> bool:
        """Count iterations anew, resumed where an epoch has other steps than before.

        The loader is another one then (other images, batch or number of processes): the same share
        of the epoch is done.

        Returns:
            Whether it was so.
        """
        hub, now = self.runner.message_hub, len(self.dataloader)
        known = hub.runtime_info
        if 'max_iters' not in known or not known.get('max_epochs'):
            return False
        before = known['max_iters'] // known['max_epochs']
        if before == now:
            return False
        done = known.get(STEPS_DONE, 0) * now // before
        hub.update_info(STEPS_DONE, done)
        self._iter = self._epoch * now + done
        self.runner.logger.info(
            f'An epoch had {before} steps and has {now} now. Iterations are counted anew: the run '
            f'goes on behind iteration {self._iter}, schedules where they are then.'
        )
        return True

    def _steps_before(self, done: int, count: int) -> Iterator[tuple[int, int, object]]:
        """Epoch, index and batch of the steps before the one that is next."""
        length = len(self.dataloader)
        end = self._epoch * length + done
        epoch, first = divmod(end - count, length)
        while epoch * length + first < end:
            batches = self.batches.of_pass(self.runner.seed, epoch, first)
            batches = islice(batches, end - epoch * length - first)
            yield from ((epoch, i, batch) for i, batch in enumerate(batches, start=first))
            epoch, first = epoch + 1, 0

    def _steps_done(self) -> int:
        """Steps of this epoch before the stop."""
        done = self.runner.message_hub.runtime_info.get(STEPS_DONE)
        if done is None:  # the start, or a checkpoint of mmengine's loop
            done = self._iter - self._epoch * len(self.dataloader)
        return done if 0 <= done <= len(self.dataloader) else 0


@LOOPS.register_module()
class CosubIterTrainLoop(GathersAgain, IterBasedTrainLoop):
    """mmengine's loop by iterations, with the batches and random numbers of :mod:`.batches`.

    Args:
        *args: of mmengine's loop.
        **kwargs: of mmengine's loop.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        batches = Batches(self.dataloader)
        if batches.sampler is not None:  # an iterable data set knows no place to go on from
            self.dataloader_iterator = _GatheringBatches(batches, self)


class _GatheringBatches(EndlessBatches):
    """Batches of a loop, which asks for the place to go on from when it is about to do so."""

    def __init__(self, batches: Batches, loop: CosubIterTrainLoop) -> None:
        super().__init__(batches, loop.runner)
        self.loop = loop

    def skip_iter(self, count: int) -> None:
        """Go on behind ``count`` batches, with the gradients that were gathered before."""
        first = count - self.loop.gathered
        super().skip_iter(first)
        if first < count:
            self.loop.runner.model.train()
            self.loop.gather_again((0, index, next(self)) for index in range(first, count))
