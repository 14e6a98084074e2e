"""Names of mmpretrain's parameters as timm has them: pairs of a pattern and its replacement."""

import re

VIT = [
    (r'^layers', 'blocks'),
    (r'patch_embed.projection', 'patch_embed.proj'),
    (r'(attn|ffn)\.gamma(\d)\.weight', r'ls\2.gamma'),
    (r'\.ln', '.norm'),
    (r'^ln1', 'norm'),
    (r'ffn.layers.0.0', 'mlp.fc1'),
    (r'ffn.layers.1', 'mlp.fc2'),
]
SWIN = [
    # timm has the merging at the start of the next stage
    (r'^stages\.(\d)\.downsample', lambda m: f'layers.{int(m[1]) + 1}.downsample'),
    (r'^stages', 'layers'),
    (r'^norm3', 'norm'),
    (r'attn.w_msa', 'attn'),
    (r'patch_embed.projection', 'patch_embed.proj'),
    (r'ffn.layers.0.0', 'mlp.fc1'),
    (r'ffn.layers.1', 'mlp.fc2'),
]
CONVNEXT = [
    (r'^downsample_layers.0', 'stem'),
    (r'^stages\.(\d)\.(\d)', r'stages.\1.blocks.\2'),
    (r'^downsample_layers\.(\d)', r'stages.\1.downsample'),
    (r'^norm3', 'head.norm'),
    (r'depthwise_conv', 'conv_dw'),
    (r'pointwise_conv', 'mlp.fc'),
]
XCIT = [
    (r'xca_layers', 'blocks'),
    (r'^ca_layers', 'cls_attn_blocks'),
    (r'ffn.layers.0.0', 'mlp.fc1'),
    (r'ffn.layers.1', 'mlp.fc2'),
    # timm counts the activations between the convolutions, too
    (r'patch_embed.proj.(\d)', lambda m: f'patch_embed.proj.{2 * int(m[1])}'),
    (r'(patch_embed.proj.\d).conv', r'\1.0'),
    (r'(patch_embed.proj.\d).bn', r'\1.1'),
    (r'token_projection.conv', 'token_projection'),
    (r'local_mp.conv1.bn', 'local_mp.bn'),
    (r'local_mp.conv(\d).conv', r'local_mp.conv\1'),
]
RESNET: list = []


def rename(rules: list, name: str) -> str:
    """Name of timm for a parameter of a backbone of mmpretrain."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
