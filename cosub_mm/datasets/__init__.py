"""Data sets, transforms and checks that mmpretrain and mmseg lack."""

from .transforms import SimpleRandomCrop, ThreeAugment

__all__ = ['SimpleRandomCrop', 'ThreeAugment']
