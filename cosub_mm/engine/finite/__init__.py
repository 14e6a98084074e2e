"""Steps, gradients and weights that are not numbers: found, left out, never saved."""

from .steps import NonFiniteLossError, Step, StepWatch, watch, watches
from .weights import NonFiniteWeightsError, check_before_save, not_finite

__all__ = [
    'NonFiniteLossError',
    'NonFiniteWeightsError',
    'Step',
    'StepWatch',
    'check_before_save',
    'not_finite',
    'watch',
    'watches',
]
