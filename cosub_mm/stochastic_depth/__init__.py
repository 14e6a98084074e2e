"""Efficient stochastic depth for any residual model. Needs torch and nothing else."""

from .apply import apply_stochastic_depth, max_drop_rate, remove_stochastic_depth
from .branches import Branch, register_block

__all__ = [
    'Branch',
    'apply_stochastic_depth',
    'max_drop_rate',
    'register_block',
    'remove_stochastic_depth',
]
