"""Small models of the paper's architectures, in timm, mmpretrain and mmseg, for float64 tests."""

import timm
import torch
from mmpretrain.models import (
    BEiTViT,
    ConvNeXt,
    DeiT3,
    EdgeNeXt,
    RegNet,
    Res2Net,
    ResNeSt,
    ResNet,
    SEResNet,
    SwinTransformer,
    VisionTransformer,
    XCiT,
)
from mmpretrain.models.backbones.swin_transformer_v2 import SwinTransformerV2
from mmpretrain.models.backbones.twins import GSAEncoderLayer, LSAEncoderLayer
from mmseg.models.backbones import VisionTransformer as MMSegViT
from torch import nn

from cosub_mm.stochastic_depth import StochasticDepth
from cosub_mm.stochastic_depth.step.compare import use_float64

VIT = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
SWIN = dict(embed_dims=24, depths=[1, 1, 2, 1], num_heads=[2, 2, 2, 2])


class MMTwins(nn.Module):
    """Blocks of mmpretrain's Twins, whose branches end in two or three DropPaths."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            (GSAEncoderLayer(32, 2, 64, sr_ratio=2), LSAEncoderLayer(32, 2, 64, window_size=2))
        )

    def forward(self, x):
        shape = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, shape)
        return x


IMAGE = (3, 64, 64)
MODELS = {
    'timm-vit': (
        lambda: timm.create_model('vit_tiny_patch16_224', depth=2, embed_dim=48, img_size=64),
        IMAGE,
    ),
    'timm-pit': (
        lambda: timm.create_model('pit_ti_224', img_size=64, depth=(1, 1, 1)),
        IMAGE,
    ),
    'timm-cait': (
        lambda: timm.create_model('cait_xxs24_224', depth=2, embed_dim=48, img_size=64),
        IMAGE,
    ),
    'timm-xcit': (
        lambda: timm.create_model('xcit_nano_12_p16_224', depth=2, embed_dim=32, num_heads=2),
        IMAGE,
    ),
    'timm-swin': (
        lambda: timm.create_model(
            'swin_tiny_patch4_window7_224',
            img_size=64,
            depths=(1, 1, 2, 1),
            embed_dim=24,
            window_size=2,
            drop_path_rate=0.0,
        ),
        IMAGE,
    ),
    'timm-convnext': (
        lambda: timm.create_model('convnext_atto', depths=(1, 1, 1, 1), dims=(8, 16, 16, 16)),
        IMAGE,
    ),
    'timm-resnet18': (lambda: timm.create_model('resnet18', channels=(8, 8, 16, 16)), IMAGE),
    'timm-resnet26': (lambda: timm.create_model('resnet26', channels=(8, 8, 16, 16)), IMAGE),
    'timm-regnety': (lambda: timm.create_model('regnety_002'), IMAGE),
    'mm-vit': (lambda: VisionTransformer(VIT, img_size=64), IMAGE),
    'mm-deit3': (lambda: DeiT3(VIT, img_size=64), IMAGE),
    'mm-xcit': (lambda: XCiT(16, embed_dims=32, depth=2, num_heads=2), IMAGE),
    'mm-edgenext': (
        lambda: EdgeNeXt(dict(channels=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_heads=[2] * 4)),
        IMAGE,
    ),
    'mm-swin-v2': (
        lambda: SwinTransformerV2(
            dict(SWIN, extra_norm_every_n_blocks=0),
            img_size=64,
            window_size=[2] * 4,
            drop_path_rate=0.0,
        ),
        IMAGE,
    ),
    'mm-seresnet50': (lambda: SEResNet(50, base_channels=16, stem_channels=8), IMAGE),
    'mm-resnest50': (lambda: ResNeSt(50, base_channels=64, stem_channels=8), IMAGE),
    'mm-res2net50': (lambda: Res2Net(depth=50), IMAGE),
    'timm-resnest14': (lambda: timm.create_model('resnest14d'), IMAGE),
    'mm-beit': (lambda: BEiTViT(VIT, img_size=64, final_norm=True), IMAGE),
    'mm-twins': (MMTwins, (32, 4, 4)),
    'mm-swin': (
        lambda: SwinTransformer(SWIN, img_size=64, window_size=2, drop_path_rate=0.0),
        IMAGE,
    ),
    'mm-convnext': (
        lambda: ConvNeXt(dict(depths=[1, 1, 1, 1], channels=[8, 16, 16, 16])),
        IMAGE,
    ),
    'mm-resnet18': (lambda: ResNet(18, base_channels=8, stem_channels=8), IMAGE),
    'mm-resnet50': (lambda: ResNet(50, base_channels=32, stem_channels=8), IMAGE),
    'mm-regnet': (lambda: RegNet('regnetx_400mf'), IMAGE),
    'mmseg-vit': (
        lambda: MMSegViT(64, embed_dims=32, num_layers=2, num_heads=2, out_indices=(0, 1)),
        IMAGE,
    ),
}


def build(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A float64 model with random weights in all its parameters, and the shape of its input."""
    make, shape = MODELS[name]
    model = use_float64(make())
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model, shape


def outputs(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """All tensors a model returns, as one of shape (N, -1)."""
    leaves = torch.utils._pytree.tree_leaves(model(x))
    return torch.cat([leaf.flatten(1) for leaf in leaves], dim=1)


def only_branches_train(model: nn.Module) -> None:
    """Training mode for the ends of branches, evaluation for dropout and batch statistics."""
    for module in model.modules():
        module.training = isinstance(module, StochasticDepth)


def forward_backward(model: nn.Module, x: torch.Tensor, seed: int = 1) -> list[torch.Tensor]:
    """Outputs, input gradient and parameter gradients, with rows drawn after ``seed``."""
    x = x.clone().requires_grad_()
    torch.manual_seed(seed)
    out = outputs(model, x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7), dtype=out.dtype)
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad((out * weights).sum(), [x, *parameters], allow_unused=True)
    return [out.detach(), *(g for g in grads if g is not None)]
