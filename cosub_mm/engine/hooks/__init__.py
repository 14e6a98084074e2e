"""Hooks of mmengine's ``HOOKS``."""

from .draw_predictions_hook import DrawPredictionsHook
from .epoch_seed_hook import EpochSeedHook, seed_worker
from .finite_loss_hook import FiniteLossHook, NonFiniteLossError

__all__ = [
    'DrawPredictionsHook',
    'EpochSeedHook',
    'FiniteLossHook',
    'NonFiniteLossError',
    'seed_worker',
]
