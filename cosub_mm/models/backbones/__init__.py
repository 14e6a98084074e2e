from .cosub_vit import CosubViT
from .timm_backbone import CosubTIMMBackbone

__all__ = ['CosubTIMMBackbone', 'CosubViT']
