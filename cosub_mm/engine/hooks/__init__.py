"""Hooks of mmengine's ``HOOKS``."""

from .draw_predictions_hook import DrawPredictionsHook
from .efficient_drop_path_hook import EfficientDropPathHook
from .epoch_seed_hook import EpochSeedHook, seed_worker
from .finite_loss_hook import FiniteLossHook, NonFiniteLossError

__all__ = [
    'DrawPredictionsHook',
    'EfficientDropPathHook',
    'EpochSeedHook',
    'FiniteLossHook',
    'NonFiniteLossError',
    'seed_worker',
]
