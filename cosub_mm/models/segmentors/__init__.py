"""Segmentors, registered in mmseg's MODELS: the only place that imports mmseg's models."""

from .cosub import CosubSegmentor
from .supervised import SupervisedSegmentor
from .tta import CosubSegTTAModel

__all__ = ['CosubSegTTAModel', 'CosubSegmentor', 'SupervisedSegmentor']
