"""Hooks of mmengine's ``HOOKS``."""

from .checkpoint_hook import CosubCheckpointHook
from .chosen_weights_hook import ChosenWeightsHook
from .draw_predictions_hook import DrawPredictionsHook
from .efficient_drop_path_hook import EfficientDropPathHook
from .epoch_seed_hook import EpochSeedHook, seed_worker
from .finite_loss_hook import FiniteLossHook, NonFiniteLossError
from .gradient_hook import GradientHook, NotTrainedError
from .logger_hook import CosubLoggerHook
from .mean_teacher_hook import MeanTeacherHook
from .validated_buffers_hook import ValidatedBuffersHook

__all__ = [
    'ChosenWeightsHook',
    'CosubCheckpointHook',
    'CosubLoggerHook',
    'DrawPredictionsHook',
    'EfficientDropPathHook',
    'EpochSeedHook',
    'FiniteLossHook',
    'GradientHook',
    'MeanTeacherHook',
    'NonFiniteLossError',
    'NotTrainedError',
    'ValidatedBuffersHook',
    'seed_worker',
]
