"""Segmentors, registered in mmseg's MODELS: the only place that imports mmseg's models."""

from .cosub import CosubSegmentor

__all__ = ['CosubSegmentor']
