"""Weights of timm, of the official DeiT repository and of mmpretrain into one another."""

from .state_dict import ConversionError, family_of, to_deit, to_mmpretrain, to_timm

__all__ = ['ConversionError', 'family_of', 'to_deit', 'to_mmpretrain', 'to_timm']
