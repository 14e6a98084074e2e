from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from cosub_mm.analysis.step_cost import measure_segmentation_step
from tools.analysis_tools import benchmark_segmentation as tool

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cfg():
    cfg = Config.fromfile(ROOT / 'configs/ade20k/upernet_vit-s_512.py')
    # A backbone that outweighs its decoder, so that what is skipped there can be seen.
    arch = dict(embed_dims=192, num_layers=8, num_heads=3, feedforward_channels=768)
    cfg.model.backbone.update(arch=arch, img_size=160, patch_size=8, out_indices=(1, 3, 5, 7))
    cfg.model.neck = dict(
        type='Feature2Pyramid', embed_dim=192, rescales=[2, 1, 0.5, 0.25], norm_cfg=dict(type='BN')
    )
    cfg.model.decode_head.update(in_channels=[192] * 4, channels=8)
    cfg.model.auxiliary_head.update(in_channels=192, channels=8)
    return cfg


def test_skipping_needs_less_memory_than_masking(cfg):
    larger_than_a_step = np.ones(1 << 27)  # what this process holds is no part of the measurement
    variants = tool.variants(cfg, 0.5)
    assert list(variants)[1:3] == ['masked', 'skipped']
    masked, skipped = (
        measure_segmentation_step(variants[name], batch=4, crop=160, steps=1, device='cpu')
        for name in ('masked', 'skipped')
    )
    assert min(masked.seconds, skipped.seconds) > 0
    assert 0 < skipped.peak_bytes < masked.peak_bytes < larger_than_a_step.nbytes


def test_variants_keep_the_network(cfg):
    variants = tool.variants(cfg, 0.3)
    kinds = [variant.model.type for variant in variants.values()]
    assert kinds == ['EncoderDecoder'] * 3 + ['CosubSegmentor'] * 2
    rates = [variant.model.backbone.drop_path_rate for variant in variants.values()]
    assert rates == [0, 0.3, 0.3, 0.3, 0.3]
    inner = [v.model.backbone.get('backbone', v.model.backbone).arch for v in variants.values()]
    assert all(arch == cfg.model.backbone.arch for arch in inner)
