"""One training step of every ADE20k config, with a small backbone of the same kind."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import cosub_mm  # noqa: F401
from cosub_mm.stochastic_depth import describe
from tests.configs.recipe_table import paper_configs

VIT = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
# What makes a backbone small, and the channels of its four maps.
SMALL = {
    'CosubViT': (dict(arch=VIT, img_size=64, out_indices=(0, 1, 2, 3)), [32] * 4),
    'SwinTransformer': (
        dict(arch=dict(embed_dims=12, depths=[1] * 4, num_heads=[1, 2, 3, 4]), window_size=4),
        [12, 24, 48, 96],
    ),
    'ConvNeXt': (dict(arch=dict(depths=[1] * 4, channels=[8, 16, 32, 64])), [8, 16, 32, 64]),
    'CosubXCiT': (dict(embed_dims=32, depth=4, num_heads=2, out_indices=(0, 1, 2, 3)), [32] * 4),
    'CosubTIMMBackbone': (dict(model_name='regnety_002'), [24, 56, 152, 368]),
}
# DeepLabV3+ and Segmenter have heads of their own: tests/models/segmentors/test_heads.py.
CONFIGS = [file for file in paper_configs('ade20k') if file.stem.startswith('upernet_')]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_one_step(path):
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    model_cfg = cfg.model
    change, channels = SMALL[model_cfg.backbone.type.rpartition('.')[2]]
    model_cfg.backbone.update(change, init_cfg=None, drop_path_rate=0.3)
    model_cfg.data_preprocessor.size = (64, 64)
    if model_cfg.get('neck'):
        model_cfg.neck.embed_dim = channels[0]
    model_cfg.decode_head.update(in_channels=channels, channels=16)
    model_cfg.auxiliary_head.update(in_channels=channels[2], channels=8)
    model = revert_sync_batchnorm(MODELS.build(model_cfg))
    model.init_weights()
    report = describe(model.backbone)  # in the model, not by a hook that a list could lose
    assert report is not None
    assert {round(branch.rate, 6) for branch in report.blocks} - {0.0}, 'nothing is dropped'

    samples = []
    for _ in range(2):
        mask = torch.randint(150, (1, 64, 64))
        mask[:, :8] = 255
        sample = SegDataSample(gt_sem_seg=PixelData(data=mask))
        sample.set_metainfo(dict(img_shape=(64, 64)))
        samples.append(sample)
    images = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in samples]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    log = model.train().train_step(dict(inputs=images, data_samples=samples), wrapper)
    losses = [value.item() for name, value in log.items() if 'loss' in name]
    assert all(0 < value < 20 for value in losses)
    # RegNetY begins with zeros at the end of each branch, whose inside learns from step 2 on.
    changed = sum(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert changed > 0.6 * len(before)
