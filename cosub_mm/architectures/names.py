"""How mmpretrain and timm call the same parameters, a table for each family."""

import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ['FAMILIES', 'Family', 'Rule']


def _same(number: int) -> int:
    return number


@dataclass(frozen=True)
class Rule:
    """Beginnings of a name in both libraries; each ``{}`` stands for a number.

    Args:
        mm: mmpretrain's, with the prefix of the part of the classifier.
        timm: timm's.
        first: what mmpretrain's first number is in timm.
        first_back: the inverse.
    """

    mm: str
    timm: str
    first: Callable[[int], int] = _same
    first_back: Callable[[int], int] = _same

    def rename(self, name: str, to_timm: bool) -> str | None:
        """The name in the other library, or None if the rule is not about it."""
        source, target = (self.mm, self.timm) if to_timm else (self.timm, self.mm)
        pattern = re.escape(source).replace(r'\{\}', r'(\d+)')
        match = re.match(rf'{pattern}(?=\.|$)', name)
        if match is None:
            return None
        numbers = [int(number) for number in match.groups()]
        if numbers:
            numbers[0] = (self.first if to_timm else self.first_back)(numbers[0])
        return target.format(*numbers) + name[match.end() :]


@dataclass(frozen=True)
class Family:
    """Rules of an architecture, and a key by which either library's weights are known.

    Args:
        rules: tried in order; a name without a rule is an error.
        mm_key: a parameter that only this family has in mmpretrain.
        timm_key: the same in timm.
    """

    rules: tuple[Rule, ...]
    mm_key: str
    timm_key: str


def _block(mm: str, timm: str, *parts: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple(Rule(f'{mm}.{a}', f'{timm}.{b}') for a, b in parts)


_MLP = (('ffn.layers.0.0', 'mlp.fc1'), ('ffn.layers.1', 'mlp.fc2'))

VIT = (
    Rule('backbone.cls_token', 'cls_token'),
    Rule('backbone.pos_embed', 'pos_embed'),
    Rule('backbone.patch_embed.projection', 'patch_embed.proj'),
    *_block(
        'backbone.layers.{}',
        'blocks.{}',
        ('ln1', 'norm1'),
        ('ln2', 'norm2'),
        ('attn.gamma1.weight', 'ls1.gamma'),
        ('ffn.gamma2.weight', 'ls2.gamma'),
        ('attn.qkv', 'attn.qkv'),
        ('attn.proj', 'attn.proj'),
        *_MLP,
    ),
    Rule('backbone.ln1', 'norm'),
    Rule('head.layers.head', 'head'),
)

SWIN = (
    Rule('backbone.patch_embed.projection', 'patch_embed.proj'),
    Rule('backbone.patch_embed.norm', 'patch_embed.norm'),
    *_block(
        'backbone.stages.{}.blocks.{}',
        'layers.{}.blocks.{}',
        ('norm1', 'norm1'),
        ('norm2', 'norm2'),
        ('attn.w_msa', 'attn'),
        *_MLP,
    ),
    # mmpretrain merges patches at the end of a stage, timm at the start of the next one.
    Rule(
        'backbone.stages.{}.downsample',
        'layers.{}.downsample',
        lambda stage: stage + 1,
        lambda stage: stage - 1,
    ),
    Rule('backbone.norm3', 'norm'),
    Rule('head.fc', 'head.fc'),
)

CONVNEXT = (
    Rule('backbone.downsample_layers.0.{}', 'stem.{}'),
    Rule('backbone.downsample_layers.{}.{}', 'stages.{}.downsample.{}'),
    *_block(
        'backbone.stages.{}.{}',
        'stages.{}.blocks.{}',
        ('gamma', 'gamma'),
        ('depthwise_conv', 'conv_dw'),
        ('norm', 'norm'),
        ('pointwise_conv1', 'mlp.fc1'),
        ('pointwise_conv2', 'mlp.fc2'),
    ),
    Rule('backbone.norm3', 'head.norm'),
    Rule('head.fc', 'head.fc'),
)

RESNET = (
    Rule('backbone.conv1', 'conv1'),
    Rule('backbone.bn1', 'bn1'),
    *(Rule(f'backbone.layer{i}', f'layer{i}') for i in range(1, 5)),
    Rule('head.fc', 'fc'),
)

XCIT = (
    Rule('backbone.cls_token', 'cls_token'),
    # timm counts the activations between the convolutions.
    *(
        Rule(
            f'backbone.patch_embed.proj.{{}}.{mm}',
            f'patch_embed.proj.{{}}.{timm}',
            lambda layer: 2 * layer,
            lambda layer: layer // 2,
        )
        for mm, timm in (('conv', '0'), ('bn', '1'))
    ),
    Rule('backbone.pos_embed.token_projection.conv', 'pos_embed.token_projection'),
    *_block(
        'backbone.xca_layers.{}',
        'blocks.{}',
        ('local_mp.conv1.conv', 'local_mp.conv1'),
        ('local_mp.conv1.bn', 'local_mp.bn'),
        ('local_mp.conv2.conv', 'local_mp.conv2'),
        *_MLP,
    ),
    Rule('backbone.xca_layers.{}', 'blocks.{}'),
    *_block('backbone.ca_layers.{}', 'cls_attn_blocks.{}', *_MLP),
    Rule('backbone.ca_layers.{}', 'cls_attn_blocks.{}'),
    Rule('backbone.norm', 'norm'),
    Rule('head.fc', 'head'),
)

FAMILIES: dict[str, Family] = {
    'xcit': Family(XCIT, 'backbone.xca_layers.0.norm1.weight', 'cls_attn_blocks.0.norm1.weight'),
    'swin': Family(
        SWIN,
        'backbone.stages.0.blocks.0.attn.w_msa.qkv.weight',
        'layers.0.blocks.0.attn.relative_position_bias_table',
    ),
    'convnext': Family(
        CONVNEXT, 'backbone.stages.0.0.depthwise_conv.weight', 'stages.0.blocks.0.conv_dw.weight'
    ),
    'resnet': Family(RESNET, 'backbone.layer1.0.conv1.weight', 'layer1.0.conv1.weight'),
    'vit': Family(VIT, 'backbone.layers.0.attn.qkv.weight', 'blocks.0.attn.qkv.weight'),
}
