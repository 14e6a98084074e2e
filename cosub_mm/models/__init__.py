"""Classes registered in mmpretrain's ``MODELS``. Segmentors live in mmseg's registry, apart."""

from . import backbones, classifiers

__all__ = ['backbones', 'classifiers']
