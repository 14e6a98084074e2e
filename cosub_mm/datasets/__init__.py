"""Data sets, transforms and checks that mmpretrain and mmseg lack."""

from .decoding import LoadPicture
from .fashion_mnist import FashionPictures
from .guarded import GuardedImages
from .imagenet21k import CosubImageNet21k
from .imagenet_v2 import ImageNetValV2
from .inaturalist import INaturalist2018, INaturalist2019
from .shuffle_buffer import ShuffleBufferSampler
from .transfer import (
    CheckedCIFAR10,
    CheckedCIFAR100,
    CheckedFlowers102,
    CheckedStanfordCars,
)
from .transforms import SimpleRandomCrop, ThreeAugment

__all__ = [
    'CheckedCIFAR10',
    'CheckedCIFAR100',
    'CheckedFlowers102',
    'CheckedStanfordCars',
    'CosubImageNet21k',
    'FashionPictures',
    'GuardedImages',
    'INaturalist2018',
    'INaturalist2019',
    'ImageNetValV2',
    'LoadPicture',
    'ShuffleBufferSampler',
    'SimpleRandomCrop',
    'ThreeAugment',
]
