"""Trainings whose model (FSDP2) or optimizer (ZeRO-1) is spread over the processes.

Checkpoints are whole and plain all the same: those of a single process.
"""

from .fsdp2 import CosubFSDP2
from .running import SpreadRunner
from .zero import CosubZeRO, is_zero

__all__ = ['CosubFSDP2', 'CosubZeRO', 'SpreadRunner', 'is_zero']
