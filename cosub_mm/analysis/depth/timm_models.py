"""One small model of every family of timm, and one for every further class of block."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import timm
import torch
from timm.models import _registry as timm_registry
from torch import nn

from cosub_mm.stochastic_depth.places.table import class_name, owner_of_forward
from cosub_mm.stochastic_depth.search.find import drop_path_slots

__all__ = ['BATCH', 'Candidate', 'timm_block_candidates', 'timm_candidates']

BATCH = 4
"""Images that each model is tried on."""

# The smallest with random weights; fewer blocks where even that one is large.
_SMALL: dict[str, tuple[str, dict]] = {
    'beit': ('beit_base_patch16_224', dict(depth=2, embed_dim=96, num_heads=4)),
    'byoanet': ('botnet26t_256', {}),
    'byobnet': ('test_byobnet', {}),
    'cait': ('cait_xxs24_224', dict(depth=3)),
    'coat': ('coat_lite_tiny', {}),
    'convit': ('convit_tiny', dict(depth=4, local_up_to_layer=2)),
    'convnext': ('test_convnext', {}),
    'cpubone': ('cpubone_nano', {}),
    'crossvit': ('crossvit_tiny_240', dict(depth=((1, 1, 0), (1, 1, 0), (1, 1, 0)))),
    'csatv2': ('csatv2', {}),
    'cspnet': ('cs3darknet_focus_s', {}),
    'cspnext': ('cspnext_tiny', {}),
    'davit': (
        'davit_tiny',
        dict(depths=(1, 1, 1, 1), embed_dims=(32, 64, 96, 128), num_heads=(1, 2, 3, 4)),
    ),
    'deepseek_vit': ('deepseek_vit_412m', dict(depth=2, embed_dim=96, num_heads=4)),
    'deit': ('deit_tiny_patch16_224', dict(depth=3)),
    'edgenext': ('edgenext_xx_small', {}),
    'efficientformer': ('efficientformer_l1', {}),
    'efficientformer_v2': ('efficientformerv2_s0', {}),
    'efficientnet': ('mobilenetv2_035', {}),
    'efficientvim': ('efficientvim_m1', {}),
    'eva': ('eva02_tiny_patch14_224', dict(depth=3)),
    'fasternet': ('fasternet_t0', {}),
    'fastvit': ('fastvit_t8', {}),
    'focalnet': ('focalnet_tiny_srf', {}),
    'gcvit': ('gcvit_xxtiny', {}),
    'gemma4_vit': ('gemma4_vit_167m', dict(depth=2, embed_dim=96, num_heads=4)),
    'hgnet': ('hgnetv2_b0', {}),
    'hiera': ('hiera_tiny_224', dict(stages=(1, 1, 2, 1))),
    'hieradet_sam2': ('sam2_hiera_tiny', dict(stages=(1, 1, 2, 1), global_att_blocks=(3,))),
    'iformer': ('iformer_t', {}),
    'inception_next': ('inception_next_atto', {}),
    'levit': ('levit_128s', {}),
    'lowformer': ('lowformer_b0', {}),
    'mambaout': ('test_mambaout', {}),
    'maxxvit': ('test_coatnet', {}),
    'metaformer': ('poolformerv2_s12', {}),
    'mlp_mixer': ('gmlp_ti16_224', {}),
    'mobilenetv3': ('mobilenetv3_small_050', {}),
    'mobilenetv5': ('mobilenetv5_base', {}),
    'mobilevit': ('mobilevit_xxs', {}),
    'mvitv2': ('mvitv2_tiny', {}),
    'naflexvit': ('naflexvit_base_patch16_parfac_gap', dict(depth=2, embed_dim=96, num_heads=4)),
    'nest': ('jx_nest_tiny', {}),
    'nextvit': ('nextvit_small', {}),
    'nfnet': ('test_nfnet', {}),
    'pit': ('pit_ti_224', {}),
    'pvt_v2': ('pvt_v2_b0', {}),
    'qwen3_vit': ('qwen3_vit_88m', dict(depth=2, embed_dim=96, num_heads=4)),
    'rdnet': ('rdnet_tiny', {}),
    'regnet': ('regnety_002', {}),
    'res2net': ('res2next50', dict(layers=(1, 1, 1, 1))),
    'resnest': ('resnest14d', {}),
    'resnet': ('test_resnet', {}),
    'resnetv2': ('resnetv2_18', {}),
    'rexnet': ('rexnet_100', {}),
    'sequencer': ('sequencer2d_s', dict(layers=(1, 1, 1, 1))),
    'sknet': ('skresnet18', {}),
    'starnet': ('starnet_s050', {}),
    'swiftformer': ('swiftformer_xs', {}),
    'swin_transformer': ('swin_tiny_patch4_window7_224', dict(depths=(2, 1, 1, 1))),
    'swin_transformer_v2': ('swinv2_tiny_window8_256', dict(depths=(2, 1, 1, 1))),
    'swin_transformer_v2_cr': ('swinv2_cr_tiny_ns_224', dict(depths=(2, 1, 1, 1))),
    'tiny_vit': ('tiny_vit_5m_224', {}),
    'tnt': ('tnt_s_patch16_224', dict(depth=3)),
    'tresnet': ('tresnet_m', dict(layers=(1, 1, 2, 1))),
    'twins': ('twins_svt_small', dict(depths=(2, 2, 2, 2))),
    'visformer': ('visformer_tiny', {}),
    'vision_transformer': ('test_vit', {}),
    'vision_transformer_hybrid': ('vit_tiny_r_s16_p8_224', dict(depth=3)),
    'vision_transformer_relpos': ('test_vit_relpos', {}),
    'vision_transformer_sam': ('samvit_base_patch16_224', dict(depth=2, embed_dim=96, num_heads=4)),
    'vitamin': ('vitamin_small_224', {}),
    'volo': ('volo_d1_224', {}),
    'vovnet': ('ese_vovnet39b', {}),
    'xception_aligned': ('xception41p', {}),
    'xcit': ('xcit_nano_12_p16_224', {}),
}

_SMALL_WITH_BLOCK = {
    'eva02_enormous_patch14_clip_224': dict(depth=2, embed_dim=96, num_heads=4),
    'vit_base_patch16_rpn_224': dict(depth=2, embed_dim=96, num_heads=4),
}


class Candidate(NamedTuple):
    """A model to try.

    Attributes:
        family: module of timm, class of block there, or backbone class of mmpretrain or mmseg.
        model: its name there.
        build: makes it with random weights and drop paths, float32.
        sides: heights and widths of a square input, smallest first, of which one fits.
    """

    family: str
    model: str
    build: Callable[[int], nn.Module]
    sides: tuple[int, ...]


def timm_candidates() -> Iterator[Candidate | str]:
    """A candidate for each family, or its name where no model takes ``drop_path_rate``."""
    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        families.setdefault(timm_registry._model_to_module[name], []).append(name)
    for family, names in sorted(families.items()):
        name, options = _SMALL.get(family) or (_smallest(names), {})
        yield family if name is None else _candidate(family, name, options)


def timm_block_candidates() -> Iterator[Candidate]:
    """The smallest model with each class of block that holds a DropPath, beyond the families'."""
    with torch.device('meta'):
        families = [c.build(c.sides[-1]) for c in timm_candidates() if isinstance(c, Candidate)]
    seen = {cls for model in families for cls in _block_classes(model)}
    smallest: dict[type, tuple[int, str]] = {}
    names = timm.list_models()
    start = time.perf_counter()
    for number, name in enumerate(names):
        if number % 100 == 0:  # minutes pass before the first candidate is known
            minutes = (time.perf_counter() - start) / 60
            left = f', {minutes / number * (len(names) - number):.0f} min left' if number else ''
            print(
                f'classes of block: looked through {number} of {len(names)} models{left}',
                flush=True,
            )
        model = _on_meta(name)
        if model is None:
            continue
        size = sum(p.numel() for p in model.parameters())
        for cls in _block_classes(model) - seen:
            smallest[cls] = min(smallest.get(cls, (size, name)), (size, name))
    for cls, (_, name) in sorted(smallest.items(), key=lambda item: class_name(item[0])):
        label = class_name(cls).removeprefix('timm.models.')
        yield _candidate(label, name, _SMALL_WITH_BLOCK.get(name, {}))


def _block_classes(model: nn.Module) -> set[type]:
    """Classes that define the forward of modules with a DropPath."""
    return {owner_of_forward(type(module)) for module in model.modules() if drop_path_slots(module)}


def _on_meta(name: str) -> nn.Module | None:
    """A model without memory, or None if it takes no drop path rate."""
    try:
        with torch.device('meta'):
            return timm.create_model(name, drop_path_rate=0.1)
    except TypeError:  # of a family without drop paths
        return None


def _smallest(names: list[str]) -> str | None:
    """Model with the fewest parameters among those that take ``drop_path_rate``."""
    models = {name: _on_meta(name) for name in names}
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in models.items() if m is not None}
    return min(sizes, key=sizes.get, default=None)


def _candidate(family: str, name: str, options: dict) -> Candidate:
    options = {'drop_path_rate': 0.1, **options}

    def build(side: int) -> nn.Module:
        try:
            return timm.create_model(name, img_size=side, **options)
        except TypeError:  # most convnets take any size and no img_size
            return timm.create_model(name, **options)

    config = timm.get_pretrained_cfg(name)  # None for models without weights
    largest = config.input_size[-1] if config else 224
    return Candidate(family, name, build, (64, 128, largest))
