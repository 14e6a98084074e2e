from .draw_predictions_hook import DrawPredictionsHook
from .epoch_seed_hook import EpochSeedHook
from .finite_loss_hook import FiniteLossHook

__all__ = ['DrawPredictionsHook', 'EpochSeedHook', 'FiniteLossHook']
