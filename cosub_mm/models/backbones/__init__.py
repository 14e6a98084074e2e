from .cosub_vit import CosubViT

__all__ = ['CosubViT']
