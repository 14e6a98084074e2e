"""Test the weights that were chosen from a checkpoint with two sets of them."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..checkpoints import AVERAGED, choose_weights

__all__ = ['ChosenWeightsHook']


@HOOKS.register_module()
class ChosenWeightsHook(Hook):
    """Load the averaged (EMA) or the raw weights of a checkpoint, whatever their place in it.

    It acts before any EMAHook of the config, which then finds one set of weights and tests it.

    Args:
        path: the checkpoint, for messages.
        want: 'averaged' or 'raw'; None for ``default``.
        key: where the file keeps the weights; goes before ``want``.
        default: what to take of two sets where neither is asked for.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        path: str,
        want: str | None = None,
        key: str | None = None,
        default: str = AVERAGED,
    ) -> None:
        self.path, self.want, self.key, self.default = path, want, key, default

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave one set of weights, where mmengine looks for it."""
        weights = choose_weights(checkpoint, self.path, self.want, self.key, self.default)
        runner.logger.info(f'testing {self.path} with {weights}')
        checkpoint['state_dict'] = weights.tensors
        checkpoint.pop('ema_state_dict', None)
