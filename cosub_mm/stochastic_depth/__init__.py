"""Efficient stochastic depth for any residual model. Needs torch and nothing else."""

from .apply import apply_stochastic_depth, remove_stochastic_depth
from .copies.late_copy import copy_batch_late
from .places.drop_path import max_drop_rate
from .places.table import Branch, Side, register_block
from .rates import drops_now, other_drop_rate, scale_drop_rates
from .report import BranchReport, Report, describe, realised_drop_rate
from .rows.schedule import block_rates, rounded_rate
from .search.find import UnknownBlockError
from .step.module import StochasticDepth

__all__ = [
    'Branch',
    'BranchReport',
    'Report',
    'Side',
    'StochasticDepth',
    'UnknownBlockError',
    'apply_stochastic_depth',
    'block_rates',
    'copy_batch_late',
    'describe',
    'drops_now',
    'max_drop_rate',
    'other_drop_rate',
    'realised_drop_rate',
    'register_block',
    'remove_stochastic_depth',
    'rounded_rate',
    'scale_drop_rates',
]
