"""ImageNet-21k: its preparation, its index and the data set, from folders or tar shards."""

from .dataset import CosubImageNet21k

__all__ = ['CosubImageNet21k']
