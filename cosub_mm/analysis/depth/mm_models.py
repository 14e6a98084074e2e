"""One small model of every backbone of mmpretrain, and of those of mmseg that drop paths."""

import inspect
from collections.abc import Iterator

import mmpretrain.models.backbones as mmpretrain_backbones
import mmseg.models.backbones as mmseg_backbones
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models.utils import SparseHelper
from mmpretrain.registry import MODELS
from torch import nn

from .timm_models import BATCH, Candidate

__all__ = ['mmpretrain_candidates', 'mmseg_candidates']

_VIT = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
_SMALL: dict[str, dict] = {
    'BEiTViT': dict(arch=_VIT, img_size=64),
    'CSPDarkNet': dict(depth=53),
    'CSPResNet': dict(depth=50),
    'CSPResNeXt': dict(depth=50),
    'Conformer': dict(arch='tiny'),
    'ConvNeXt': dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 16, 32])),
    'CosubViT': dict(arch=_VIT, img_size=64),
    'DaViT': dict(arch=dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2])),
    'DeiT3': dict(arch=_VIT, img_size=64),
    'DistilledVisionTransformer': dict(arch=_VIT, img_size=64),
    'EdgeNeXt': dict(arch='xxsmall'),
    'EfficientFormer': dict(arch='l1'),
    'EfficientNet': dict(arch='b0'),
    'EfficientNetV2': dict(arch='b0'),
    'HiViT': dict(arch='tiny', img_size=64),
    'HorNet': dict(arch='tiny'),
    'LeViT': dict(arch='128s', img_size=64),
    'MViT': dict(arch='tiny', img_size=64),
    'MixMIMTransformer': dict(
        arch=dict(embed_dims=16, depths=[2, 1, 1, 1], num_heads=[2, 2, 2, 2]),
        img_size=64,
        window_size=[4, 4, 4, 2],
    ),
    'MlpMixer': dict(arch='b', img_size=64, patch_size=32),
    'PCPVT': dict(arch='small'),
    'PoolFormer': dict(arch='s12'),
    'PyramidVig': dict(arch='tiny', k=4),
    'RegNet': dict(arch='regnetx_400mf'),
    'RepLKNet': dict(
        arch=dict(
            large_kernel_sizes=[7, 7, 7, 7],
            layers=[1, 1, 1, 1],
            channels=[16, 16, 32, 32],
            small_kernel=3,
            dw_ratio=1,
        )
    ),
    'Res2Net': dict(depth=50),
    'ResNeSt': dict(depth=50),
    'ResNeXt': dict(depth=50),
    'ResNet': dict(depth=18),
    'ResNetV1c': dict(depth=50),
    'ResNetV1d': dict(depth=50),
    'ResNet_CIFAR': dict(depth=18),
    'RevVisionTransformer': dict(arch=_VIT, img_size=64),
    'RIFormer': dict(arch='s12'),
    'SEResNeXt': dict(depth=50),
    'SEResNet': dict(depth=50),
    'SVT': dict(arch='small'),
    'SparseConvNeXt': dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 16, 32])),
    'SparseResNet': dict(depth=50),
    'SwinTransformer': dict(
        img_size=64,
        arch=dict(embed_dims=24, depths=[2, 1, 1, 1], num_heads=[2, 2, 2, 2]),
        window_size=2,
    ),
    'SwinTransformerV2': dict(
        arch=dict(
            embed_dims=24,
            depths=[2, 1, 1, 1],
            num_heads=[2, 2, 2, 2],
            extra_norm_every_n_blocks=0,
        ),
        img_size=64,
        window_size=[2, 2, 2, 2],
    ),
    'T2T_ViT': dict(img_size=64, t2t_cfg=dict(token_dims=64, use_performer=False)),
    'TNT': dict(arch='s', img_size=64),
    'TinyViT': dict(arch='5m', img_size=(224, 224)),
    'VAN': dict(arch='tiny'),
    'Vig': dict(arch='tiny'),
    'ViTEVA02': dict(arch=_VIT, img_size=64),
    'ViTSAM': dict(arch='base', img_size=64),
    'VisionTransformer': dict(arch=_VIT, img_size=64),
    'XCiT': dict(patch_size=16, embed_dims=32, depth=2, num_heads=2),
}


_TWINS = dict(
    embed_dims=[16, 32, 32, 64],
    num_heads=[1, 2, 2, 4],
    mlp_ratios=[4] * 4,
    sr_ratios=[8, 4, 2, 1],
    qkv_bias=True,
)
_LAYERS = dict(img_size=64, embed_dims=32, num_layers=3, num_heads=2, out_indices=(2,))
_SMALL_MMSEG: dict[str, dict] = {
    'BEiT': _LAYERS,
    'MAE': _LAYERS,
    'MSCAN': dict(depths=[1] * 4, norm_cfg=dict(type='BN')),
    'MixVisionTransformer': dict(embed_dims=16, num_heads=[1, 2, 2, 4], num_layers=[2, 1, 1, 1]),
    'PCPVT': dict(depths=[2, 1, 1, 1], **_TWINS),
    'SVT': dict(depths=[2] * 4, windiow_sizes=[4, 4, 4, 2], norm_after_stage=True, **_TWINS),
    'SwinTransformer': dict(pretrain_img_size=64, embed_dims=24, depths=(2, 1, 1, 1)),
    'VisionTransformer': _LAYERS,
}


def mmpretrain_candidates() -> Iterator[Candidate | str]:
    """A candidate for each registered backbone, or its name where it takes no drop path rate."""
    classes = {name: MODELS.get(name) for name in (*mmpretrain_backbones.__all__, 'CosubViT')}
    return _candidates(classes, _SMALL, 'mmpretrain')


def mmseg_candidates() -> Iterator[Candidate | str]:
    """The same of mmseg."""
    classes = {name: getattr(mmseg_backbones, name) for name in mmseg_backbones.__all__}
    return _candidates(classes, _SMALL_MMSEG, 'mmseg')


def _candidates(
    classes: dict[str, type[nn.Module] | None], small: dict[str, dict], scope: str
) -> Iterator[Candidate | str]:
    for name, cls in sorted(classes.items()):
        if cls is not None:
            option = _drop_path_option(cls)
            yield name if option is None else _candidate(cls, option, small.get(name, {}), scope)


def _candidate(cls: type[nn.Module], option: str, options: dict, scope: str) -> Candidate:
    def build(side: int) -> nn.Module:
        # Sparse backbones read which patches are there from this variable.
        generator = torch.Generator().manual_seed(0)
        SparseHelper._cur_active = (
            torch.rand(BATCH, 1, side // 32, side // 32, generator=generator) < 0.7
        )
        with DefaultScope.overwrite_default_scope(scope):  # as in a run
            return cls(**options, **{option: 0.1})

    side = options.get('img_size', 64)
    side = side if isinstance(side, int) else max(side)
    return Candidate(cls.__name__, cls.__name__, build, (side, 128, 224))


def _drop_path_option(cls: type[nn.Module]) -> str | None:
    """Name of the argument, which a constructor may hand on to its base class."""
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        for name in ('drop_path_rate', 'drop_path'):
            if name in parameters:
                return name
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return None
