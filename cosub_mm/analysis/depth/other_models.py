"""One small model of each family of torchvision, transformers, mmdet, open_clip and smp.

Each library is imported when its candidates are asked for, where it is installed.
"""

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator

from torch import nn

from .timm_models import Candidate

__all__ = ['OTHER_SOURCES', 'stand_in_for_operations']

_VIT = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=32,
    patch_size=8,
)
_SWIN = dict(image_size=32, patch_size=2, embed_dim=16, depths=[2, 1], num_heads=[2, 2])
_STAGES = dict(hidden_sizes=[8, 16, 24, 32], depths=[2, 1, 1, 1])
_TRANSFORMERS: dict[str, dict] = {
    'Beit': _VIT,
    'CLIPVision': _VIT,
    'ConvNext': _STAGES,
    'ConvNextV2': _STAGES,
    'DINOv3ViT': _VIT,
    'Data2VecVision': _VIT,
    'DeiT': _VIT,
    'Dinov2': dict(_VIT, mlp_ratio=2),
    'Dinov2WithRegisters': dict(_VIT, mlp_ratio=2),
    'IJepa': _VIT,
    'Levit': dict(
        image_size=64,
        hidden_sizes=[16, 24, 32],
        num_attention_heads=[2, 3, 4],
        depths=[2, 1, 1],
        key_dim=[8, 8, 8],
    ),
    'ResNet': dict(embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[2, 1, 1, 1]),
    'Segformer': dict(_STAGES, num_attention_heads=[1, 2, 3, 4]),
    'SiglipVision': _VIT,
    'Swin': dict(_SWIN, window_size=4),
    'Swin2SR': dict(_SWIN, patch_size=1, window_size=4),
    'Swinv2': dict(_SWIN, window_size=4),
    'ViT': _VIT,
    'ViTMAE': dict(_VIT, mask_ratio=0.0),
    'ViTMSN': _VIT,
}
_MMDET: dict[str, dict] = {
    'CSPDarknet': dict(deepen_factor=0.33, widen_factor=0.25),
    'CSPNeXt': dict(deepen_factor=0.33, widen_factor=0.25),
    'Darknet': dict(),
    'RegNet': dict(arch='regnetx_400mf'),
    'Res2Net': dict(depth=50, scales=4, base_width=26),
    'ResNeSt': dict(depth=50),
    'ResNeXt': dict(depth=50, groups=32, base_width=4),
    'ResNet': dict(depth=18),
}
_TORCHVISION = {
    'convnext': 'convnext_tiny',
    'efficientnet': 'efficientnet_b0',
    'mnasnet': 'mnasnet0_5',
    'mobilenetv2': 'mobilenet_v2',
    'mobilenetv3': 'mobilenet_v3_small',
    'regnet': 'regnet_y_400mf',
    'resnet': 'resnet18',
}
_SMP = ('resnet18', 'mobilenet_v2', 'efficientnet-b0', 'mit_b0', 'timm-regnetx_002')


def torchvision_candidates() -> Iterator[Candidate]:
    """A model of each family that adds to its stream."""
    import torchvision.models as library
    from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlockV2
    from torchvision.models.vision_transformer import VisionTransformer

    def swin(**options) -> nn.Module:
        return SwinTransformer([4, 4], 16, [2, 1], [2, 2], [4, 4], **options)

    small: dict[str, Callable[[int], nn.Module]] = {
        'swin_transformer': lambda side: swin(),
        'swin_transformer_v2': lambda side: swin(block=SwinTransformerBlockV2),
        'vision_transformer': lambda side: VisionTransformer(side, 8, 2, 2, 32, 64),
    }
    for family, name in _TORCHVISION.items():
        small[family] = lambda side, name=name: getattr(library, name)()
    small['resnet50'] = lambda side: library.resnet.ResNet(library.resnet.Bottleneck, [2, 1, 1, 1])
    for family in sorted(small):
        yield Candidate(family, _TORCHVISION.get(family, family), small[family], (64,))


def transformers_candidates() -> Iterator[Candidate]:
    """A model of each family that has blocks of its own."""
    import transformers

    for name, options in _TRANSFORMERS.items():

        def build(side: int, name: str = name, options: dict = options) -> nn.Module:
            config = getattr(transformers, f'{name}Config')(**options)
            return getattr(transformers, f'{name}Model')(config)

        yield Candidate(name, f'{name}Model', build, (options.get('image_size', 64),))


def mmdet_candidates() -> Iterator[Candidate]:
    """Its backbones without a drop path rate."""
    import mmdet.models.backbones as library

    for name, options in _MMDET.items():

        def build(side: int, name: str = name, options: dict = options) -> nn.Module:
            return getattr(library, name)(**options)

        yield Candidate(name, name, build, (64,))


def open_clip_candidates() -> Iterator[Candidate]:
    """Its image towers."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    def vit(side: int) -> nn.Module:
        return VisionTransformer(side, 8, 32, 2, 2, 2.0, ls_init_value=0.1, output_dim=16)

    def resnet(side: int) -> nn.Module:
        return ModifiedResNet([2, 1, 1, 1], 16, 2, side, 8)

    yield Candidate('ModifiedResNet', 'ModifiedResNet', resnet, (64,))
    yield Candidate('VisionTransformer', 'VisionTransformer', vit, (32,))


def smp_candidates() -> Iterator[Candidate]:
    """A U-Net over encoders of each origin."""
    import segmentation_models_pytorch as smp

    for encoder in _SMP:

        def build(side: int, encoder: str = encoder) -> nn.Module:
            return smp.Unet(encoder, encoder_weights=None)

        yield Candidate(encoder, f'Unet({encoder})', build, (64,))


def stand_in_for_operations() -> None:
    """Let mmdet be imported without mmcv's compiled operations, which no model tried calls.

    To be called before mmpretrain or mmseg is imported, which try to import mmdet and leave half.
    """
    if importlib.util.find_spec('mmdet') and not importlib.util.find_spec('mmcv._ext'):
        stand_in = _NoOperations('mmcv._ext')
        stand_in.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', None)
        sys.modules['mmcv._ext'] = stand_in


class _NoOperations(types.ModuleType):
    """In the place of mmcv's compiled operations, whose functions are named at import only."""

    def __getattr__(self, name: str) -> None:
        if name.startswith('__'):
            raise AttributeError(name)


OTHER_SOURCES = {
    'torchvision': ('torchvision', torchvision_candidates),
    'transformers': ('transformers', transformers_candidates),
    'mmdet': ('mmdet', mmdet_candidates),
    'open_clip': ('open_clip', open_clip_candidates),
    'segmentation_models_pytorch': ('segmentation_models_pytorch', smp_candidates),
}
"""By the name of a section: the module to import, and its candidates."""
