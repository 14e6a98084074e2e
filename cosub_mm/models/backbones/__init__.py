from .cosub_backbone import CosubBackbone
from .cosub_vit import CosubViT
from .cosub_xcit import CosubXCiT
from .timm_backbone import CosubTIMMBackbone

__all__ = ['CosubBackbone', 'CosubTIMMBackbone', 'CosubViT', 'CosubXCiT']
