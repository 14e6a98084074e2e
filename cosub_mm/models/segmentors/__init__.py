"""Segmentors, registered in mmseg's MODELS: the only place that imports mmseg's models."""

from .cosub import CosubSegmentor
from .supervised import SupervisedSegmentor

__all__ = ['CosubSegmentor', 'SupervisedSegmentor']
