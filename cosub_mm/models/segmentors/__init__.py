"""Segmentors, registered in mmseg's MODELS: the only place that imports mmseg's models."""

from .cosub import CosubSegmentor
from .losses import cosub_pixel_loss

__all__ = ['CosubSegmentor', 'cosub_pixel_loss']
