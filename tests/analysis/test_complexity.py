"""Table 13 of the paper: parameters and FLOPs of every ViT and Swin row."""

from pathlib import Path

import pytest
from mmengine.config import Config

from cosub_mm.analysis.complexity import complexity, default_shape
from tests import fresh

ROOT = Path(__file__).parents[2]
# config, parameters and FLOPs of the paper
VIT = [
    ('upernet_vit-s_512', 41.7, 588),
    ('upernet_vit-s_deit3_512', 41.7, 588),
    ('upernet_vit-b_512', 127.7, 1283),
    ('upernet_vit-b_deit3_512', 127.7, 1283),
    ('upernet_vit-b_in21k_512', 127.7, 1283),
    ('upernet_vit-b_deit3-in21k_512', 127.7, 1283),
    ('upernet_vit-l_512', 353.6, 2231),
    ('upernet_vit-l_deit3_512', 353.6, 2231),
    ('upernet_vit-l_in21k_512', 353.6, 2231),
    ('upernet_vit-l_deit3-in21k_512', 353.6, 2231),
]
SWIN = [('upernet_swin-t_512', 59.9, 945), ('upernet_swin-b_512', 121.0, 1188)]
SWIN_640 = [('upernet_swin-b_in21k_640', 121.0, 1841), ('upernet_swin-l_in21k_640', 234.0, 3230)]


COUNTED = {}


def count(name):
    """Equal models are counted once."""
    cfg = Config.fromfile(ROOT / f'configs/ade20k/{name}.py')
    for key in ('init_cfg', 'drop_path_rate'):
        cfg.model.backbone.pop(key, None)
    model = repr(sorted(cfg.model.items()))
    if model not in COUNTED:
        COUNTED[model] = complexity(cfg, default_shape(cfg))
    return COUNTED[model]


@pytest.mark.parametrize(('name', 'params', 'flops'), VIT + SWIN)
def test_rows_at_512(name, params, flops):
    counted = count(name)
    assert counted.params / 1e6 == pytest.approx(params, rel=0.005)
    assert counted.flops_without_attention / 1e9 == pytest.approx(flops, rel=0.01)
    # what the paper's convention leaves out: a quarter of ViT-B, nothing much of Swin
    share = counted.flops / counted.flops_without_attention - 1
    assert 0.2 < share < 0.4 if 'vit' in name else share < 0.01


def test_swin_at_640_follows_no_single_convention():
    """Swin-B is what torch counts with attention; Swin-L is printed 30% above either count."""
    (name, params, flops), (large, large_params, large_flops) = SWIN_640
    base = count(name)
    assert base.params / 1e6 == pytest.approx(params, rel=0.005)
    assert base.flops / 1e9 == pytest.approx(flops, rel=0.002)
    counted = count(large)
    assert counted.params / 1e6 == pytest.approx(large_params, rel=0.005)
    assert counted.flops / 1e9 == pytest.approx(2482, rel=0.002)
    assert large_flops / (counted.flops / 1e9) == pytest.approx(1.30, abs=0.01)


def test_classifier_is_counted_with_attention():
    """ViT-B at 224: 86.6 M and 17.5 GFLOPs (Table 2), here with attention."""
    cfg = Config.fromfile(ROOT / 'configs/cosub/vit-b_in1k.py')
    counted = complexity(cfg, default_shape(cfg))
    assert counted.params / 1e6 == pytest.approx(86.6, rel=0.005)
    assert counted.flops / 1e9 == pytest.approx(17.5, rel=0.01)
    assert default_shape(cfg) == (224, 224)


def test_every_product_is_counted_once():
    """A convolution by hand: 8x8 outputs, 3x3 kernel, 3 -> 4 channels, then 4 -> 5."""
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                backbone=dict(
                    type='mmpretrain.CosubViT',
                    arch=dict(embed_dims=4, num_layers=1, num_heads=1, feedforward_channels=8),
                    img_size=32,
                    patch_size=4,
                    out_type='featmap',
                ),
                decode_head=dict(
                    type='FCNHead',
                    in_channels=4,
                    in_index=0,
                    channels=4,
                    num_convs=1,
                    concat_input=False,
                    num_classes=5,
                ),
                test_cfg=dict(mode='whole'),
            ),
        )
    )
    tokens, dim, mlp = 65, 4, 8
    patches = 64 * (3 * 4 * 4) * dim
    linear = tokens * (dim * 3 * dim + dim * dim + 2 * dim * mlp)
    head = 64 * (9 * dim * dim + dim * 5)
    counted = complexity(cfg, (32, 32))
    assert counted.flops_without_attention == patches + linear + head
    assert counted.flops == counted.flops_without_attention + 2 * tokens * tokens * dim


def test_command_prints_both_conventions():
    command = ['tools/analysis_tools/get_flops.py']
    command += ['configs/ade20k/upernet_vit-s_512.py', '--shape', '512', '1024']
    result = fresh.run(command, cwd=ROOT, env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'})
    assert result.returncode == 0, result.stderr
    row = next(line for line in result.stdout.splitlines() if 'vit-s_512' in line).split()
    assert row[1:4] == ['512x1024', '41.71', 'M']
    assert float(row[4]) == pytest.approx(742.7 / 2, rel=0.15)
    assert float(row[6]) == pytest.approx(588.0 / 2, rel=0.01)
