from .efficient_drop_path_hook import EfficientDropPathHook
from .epoch_seed_hook import EpochSeedHook
from .finite_loss_hook import FiniteLossHook
from .pictures_hook import PicturesHook

__all__ = ['EfficientDropPathHook', 'EpochSeedHook', 'FiniteLossHook', 'PicturesHook']
