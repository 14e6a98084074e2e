"""Stop a training whose loss is no longer a number."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

__all__ = ['FiniteLossHook', 'NonFiniteLossError']


class NonFiniteLossError(ValueError):
    """The training loss became infinite or not a number."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at a loss that is infinite or not a number, as the code of DeiT III does.

    The checkpoint before it stays untouched: nothing is saved after such a step.

    Raises:
        NonFiniteLossError: naming the iteration and the losses.
    """

    priority = 'VERY_HIGH'

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look at the summed loss of this iteration."""
        losses = {k: v for k, v in (outputs or {}).items() if 'loss' in k and torch.is_tensor(v)}
        if all(torch.isfinite(value).all() for value in losses.values()):
            return
        values = ', '.join(f'{name}={value.mean().item():.4g}' for name, value in losses.items())
        raise NonFiniteLossError(
            f'The loss is not finite at iteration {runner.iter + 1}: {values}. Lower the learning '
            'rate, lengthen the warm-up, or train with --amp bf16 or without --amp; then go on '
            'from the last checkpoint with --resume.'
        )
