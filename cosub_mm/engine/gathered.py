"""Gradients that a run had gathered for the optimizer's next step when it was stopped.

With ``accumulative_counts=3`` and epochs of 10 steps, the checkpoint behind an epoch lies between
two steps of the optimizer. A process's gradients are its own until the optimizer steps, so that
saving them would cost a model for each process and checkpoint; stepping at the epoch's end, as
other frameworks do, would change the recipe's batch. But weights, data and random numbers of these
steps are known, so the steps are done again, for their gradients only.
"""

import copy
from collections.abc import Iterable, Mapping

from mmengine.runner import Runner

__all__ = ['GathersAgain', 'gathered_steps']


def gathered_steps(runner: Runner) -> int:
    """Steps of a run behind the last one of the optimizer.

    Args:
        runner: resumed, its loop not yet run.
    """
    wrapper = runner.cfg.get('optim_wrapper')
    counts = wrapper.get('accumulative_counts', 1) if isinstance(wrapper, Mapping) else 1
    # The optimizer steps at the end of a training, which may go on longer now.
    if runner.iter == runner.message_hub.runtime_info.get('max_iters'):
        return 0
    return runner.iter % counts


class GathersAgain:
    """A part of training loops; ``gathered`` is set when the run is resumed.

    The steps change nothing but the gradients: no hook hears of them but by ``before_train_iter``,
    which sets what a step depends on (random numbers, drop rates); statistics of norms and what
    those hooks log are put back.
    """

    gathered = 0

    def gather_again(self, steps: Iterable[tuple[int, int, dict]]) -> None:
        """Do steps again for their gradients.

        Args:
            steps: epoch, index in it and batch of each, in order, the optimizer's next not among
                them.
        """
        runner, epoch, iteration = self.runner, self._epoch, self._iter
        count, self.gathered = self.gathered, 0
        runner.logger.info(
            f'The gradients of {count} steps were waiting for the optimizer: computed again.'
        )
        model, wrapper, hub = runner.model, runner.optim_wrapper, runner.message_hub
        # By name, as a model may give itself new ones (self.center = ...).
        buffers = [
            (module, name, buffer.clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        scalars = copy.deepcopy(hub.log_scalars)
        wrapper.initialize_count_status(model, iteration - count, self.max_iters)
        self._iter = iteration - count
        for self._epoch, index, batch in steps:
            runner.call_hook('before_train_iter', batch_idx=index, data_batch=batch)
            model.train_step(batch, optim_wrapper=wrapper)
            self._iter += 1
        self._epoch = epoch
        if self._iter != iteration:
            raise RuntimeError(f'{iteration - self._iter} steps before iteration {iteration} lack.')
        for module, name, before in buffers:
            setattr(module, name, getattr(module, name).detach().copy_(before))
        hub.log_scalars.clear()
        hub.log_scalars.update(scalars)
