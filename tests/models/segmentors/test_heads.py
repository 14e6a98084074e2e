"""CosubSegmentor with heads and backbones of other kinds, from the repository's configs."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import cosub_mm  # noqa: F401
from cosub_mm.analysis.complexity import complexity
from cosub_mm.stochastic_depth import max_drop_rate

CONFIGS = Path(__file__).parents[3] / 'configs/ade20k'


def small_deeplab(model):
    model.backbone.update(base_channels=4, stem_channels=8, drop_path_rate=0.3)
    model.decode_head.update(in_channels=128, c1_in_channels=16, channels=8, c1_channels=4)
    model.auxiliary_head.update(in_channels=64, channels=8)
    model.decode_head.dilations = (1, 2, 3, 4)


def small_segmenter(model):
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    model.backbone.update(arch=arch, img_size=64)
    model.decode_head.update(in_channels=32, channels=32, embed_dims=32, num_heads=2)


HEADS = {
    'deeplabv3plus_r50_cosub_512': small_deeplab,
    'segmenter_vit-b_cosub_512': small_segmenter,
}


@pytest.fixture(params=HEADS)
def cfg(request):
    cfg = Config.fromfile(CONFIGS / f'{request.param}.py')
    init_default_scope('mmseg')
    HEADS[request.param](cfg.model)
    cfg.model.backbone.init_cfg = None
    cfg.model.drop_path_rate = 0.4
    cfg.model.data_preprocessor.size = (64, 64)
    cfg.model.decode_head.dropout_ratio = 0
    return cfg


def build(cfg):
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model


def data():
    masks = torch.randint(150, (2, 1, 64, 64))
    masks[1, :, 20:50] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in masks]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(64, 64)))
    return masks.squeeze(1), samples


def test_one_training_step(cfg):
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    inputs = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    log = model.train().train_step(dict(inputs=inputs, data_samples=data()[1]), wrapper)
    assert 0 < log['decode.loss_label'] < 10 and 0 < log['decode.loss_cosub'] < 10
    params = dict(model.named_parameters())
    assert all(p.isfinite().all() for p in params.values())
    assert sum(not torch.equal(p, before[name]) for name, p in params.items()) > len(params) * 0.8


def test_losses_and_gradients_equal_the_formula(cfg):
    model = build(cfg).double().train()
    with torch.no_grad():  # residual branches begin at 0: without them all submodels are equal
        for name, param in model.backbone.named_parameters():
            if 'gamma' in name or name.endswith('bn3.weight'):
                param.fill_(0.5)
    target, samples = data()
    inputs = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.manual_seed(1)
    losses = model.loss(inputs, samples)

    torch.manual_seed(1)
    logits = model.decode_head(model.extract_feat(torch.cat((inputs, inputs))))
    logits = F.interpolate(logits, (64, 64), mode='bilinear')
    valid = target != 255
    first, second = (z.permute(0, 2, 3, 1)[valid] for z in logits.chunk(2))
    ce = F.cross_entropy
    label = (ce(first, target[valid]) + ce(second, target[valid])) / 4
    cosub = (ce(first, second.detach().softmax(1)) + ce(second, first.detach().softmax(1))) / 4
    torch.testing.assert_close(losses['decode.loss_label'], label, rtol=1e-9, atol=0)
    torch.testing.assert_close(losses['decode.loss_cosub'], cosub, rtol=1e-9, atol=0)
    assert (first - second).abs().max() > 1e-3

    params = [*model.backbone.parameters(), *model.decode_head.parameters()]
    ours = torch.autograd.grad(
        losses['decode.loss_label'] + losses['decode.loss_cosub'], params, allow_unused=True
    )
    theirs = torch.autograd.grad(label + cosub, params, allow_unused=True)
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ('name', 'rate'),
    [
        ('upernet_convnext-b_512', 0.4),
        ('upernet_xcit-m24_512', 0.15),
        ('upernet_regnety-16gf_512', 0.3),
        ('deeplabv3plus_r50_cosub_512', 0.1),
        ('segmenter_vit-b_cosub_512', 0.2),
    ],
)
def test_other_backbones_fit_their_decoders(name, rate):
    """Maps have the channels that the heads expect, at the paper's size; blocks can be dropped."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    counted = complexity(cfg, (512, 512))
    assert 4e7 < counted.params < 2e8
    init_default_scope('mmseg')
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        blocks = MODELS.build(cfg.model.backbone) if 'regnet' in name else None
    if blocks is not None:
        assert max_drop_rate(blocks) == pytest.approx(rate)
    else:
        assert cfg.model.get('drop_path_rate', cfg.model.backbone.get('drop_path_rate')) == rate
