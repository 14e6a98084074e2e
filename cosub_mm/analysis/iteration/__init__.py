"""Host time of a whole training iteration: ours through the Runner, and what users have."""

from .classification import classification
from .parts import PARTS, table
from .segmentation import segmentation, segmentation_memory

__all__ = ['PARTS', 'classification', 'segmentation', 'segmentation_memory', 'table']
