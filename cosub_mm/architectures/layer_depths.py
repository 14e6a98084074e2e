"""Which layer a parameter belongs to, for every backbone of the paper.

Where an architecture's authors have fine-tuned with layer decay, the layers are theirs: ViT (one a
block, as BEiT and MAE), Swin (one a block, as SimMIM), ConvNeXt (12 groups, three blocks of the
third stage in each). Elsewhere a layer is what timm calls a group: the stem, each residual block,
and at last the head. A rule maps a parameter name to a sort key; keys sorted and numbered give the
depths, so that stages with any number of blocks count through.
"""

import math
import re
from collections.abc import Callable, Iterable
from types import SimpleNamespace

from torch import nn

__all__ = ['layer_depths']

Key = tuple[float, ...]
Rule = tuple[str, Callable[..., Key]]

STEM: Key = (-1,)
HEAD: Key = (math.inf,)
# A key that ends so joins the layer before it: the final norm and the last block, as in timm.
_JOIN = math.inf
_LAST_STAGE = 10**6


def _const(key: Key) -> Callable[..., Key]:
    return lambda: key


def _same(*numbers: float) -> Key:
    return numbers


def _columnar(stem: str, blocks: str, norm: str) -> list[Rule]:
    """Rules of a network that is one column of blocks."""
    return [(stem, _const(STEM)), (blocks, _same), (norm, _const((_LAST_STAGE, _JOIN)))]


def _convnext_block(stage: int, block: int) -> Key:
    """The stages of 3 blocks are one layer each, three blocks of the deep third one are one."""
    return stage, block // 3 if stage == 2 else 0


# Class name -> (pattern of the name's start, key of its numbers). Names of mmpretrain and of mmseg,
# which agree; timm's models bring their own matcher, except PiT.
_FAMILIES: dict[str, list[Rule]] = {
    'VisionTransformer': _columnar(
        r'cls_token|dist_token|pos_embed|patch_embed|pre_norm', r'layers\.(\d+)', r'ln1|ln2|norm'
    ),
    'XCiT': [
        (r'cls_token|pos_embed|patch_embed', _const(STEM)),
        (r'xca_layers\.(\d+)', lambda block: (0, block)),
        (r'ca_layers\.(\d+)', lambda block: (1, block)),
        (r'norm', _const((1, _JOIN))),
    ],
    'SwinTransformer': [
        (r'patch_embed|absolute_pos_embed', _const(STEM)),
        (r'stages\.(\d+)\.blocks\.(\d+)', _same),
        (r'stages\.(\d+)\.downsample', lambda stage: (stage, _JOIN)),
        # The norms of the outputs are at the head's rate, as in SimMIM: no rule.
    ],
    # The last norm is at the head's rate: no rule.
    'ConvNeXt': [
        (r'downsample_layers\.0\.', _const(STEM)),
        (r'downsample_layers\.(\d+)', lambda stage: (stage, 0)),
        (r'stages\.(\d+)\.(\d+)', _convnext_block),
    ],
    'ResNet': [(r'conv1|bn1|norm1|stem', _const(STEM)), (r'layer(\d+)\.(\d+)', _same)],
    'PoolingVisionTransformer': [
        (r'cls_token|pos_embed|patch_embed', _const(STEM)),
        (r'transformers\.(\d+)\.blocks\.(\d+)', _same),
        (r'transformers\.(\d+)\.pool', lambda stage: (stage, 0)),
        (r'norm', _const((_LAST_STAGE, _JOIN))),
    ],
}


def layer_depths(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Depth of each parameter of a backbone.

    Args:
        backbone: a backbone of mmpretrain, mmseg or timm, or a module that holds nothing but one.

    Returns:
        The depth of each parameter name, 0 for the stem, and the depth of the head, which is also
        that of every parameter outside the backbone.

    Raises:
        ValueError: the class of the backbone is unknown and it has neither timm's ``group_matcher``
            nor mmpretrain's ``get_layer_depth``.
    """
    names = [name for name, _ in backbone.named_parameters()]
    if hasattr(backbone, 'group_matcher'):
        return _timm_depths(backbone, names)
    rules = _rules(backbone)
    if rules is not None:
        return _number({name: _key(name, rules) for name in names})
    if hasattr(backbone, 'get_layer_depth'):
        return _own_depths(backbone, names)
    return _wrapped_depths(backbone)


def _rules(backbone: nn.Module) -> list[Rule] | None:
    """Rules of the nearest known base class, unless a class nearer defines its own depths."""
    for cls in type(backbone).__mro__:
        if cls.__name__ in _FAMILIES:
            return _FAMILIES[cls.__name__]
        if 'get_layer_depth' in vars(cls):
            return None
    return None


def _key(name: str, rules: Iterable[Rule]) -> Key:
    for pattern, key in rules:
        match = re.match(pattern, name)
        if match:
            return key(*map(int, match.groups()))
    return HEAD


def _number(keys: dict[str, Key]) -> tuple[dict[str, int], int]:
    """Consecutive depths in the order of the keys; a joining key takes the depth before it."""
    numbers, depth = {}, -1
    for key in sorted({*keys.values(), HEAD}):
        if depth < 0 or len(key) == 1 or key[-1] != _JOIN:
            depth += 1
        numbers[key] = depth
    return {name: numbers[key] for name, key in keys.items()}, numbers[HEAD]


def _timm_depths(model: nn.Module, names: list[str]) -> tuple[dict[str, int], int]:
    from timm.models import group_parameters

    # A name that nothing matches stands for the head, which the backbone may lack.
    head = '<head>'
    named = SimpleNamespace(named_parameters=lambda: [(name, None) for name in [*names, head]])
    depths = group_parameters(named, model.group_matcher(coarse=False), reverse=True)
    return {name: depths[name] for name in names}, depths[head]


def _own_depths(backbone: nn.Module, names: list[str]) -> tuple[dict[str, int], int]:
    pairs = {name: backbone.get_layer_depth(name, '') for name in names}
    depths = {name: depth for name, (depth, _) in pairs.items()}
    return depths, max(total for _, total in pairs.values()) - 1


def _wrapped_depths(wrapper: nn.Module) -> tuple[dict[str, int], int]:
    """Depths of the one child that has all the parameters."""
    children = [(n, m) for n, m in wrapper.named_children() if any(True for _ in m.parameters())]
    own = any(True for _ in wrapper.parameters(recurse=False))
    if own or len(children) != 1:
        raise ValueError(
            f'Layer decay does not know the layers of {type(wrapper).__name__}. Known are '
            f"{', '.join(sorted(_FAMILIES))}, timm's models with a group_matcher, and every "
            f'backbone with a method get_layer_depth(param_name, prefix) -> (depth, number of '
            f'depths); give yours one.'
        )
    name, child = children[0]
    depths, head = layer_depths(child)
    return {f'{name}.{key}': depth for key, depth in depths.items()}, head
