import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

import cosub_mm  # noqa: F401
from cosub_mm.stochastic_depth import apply_stochastic_depth

register_all_modules(init_default_scope=True)

BACKBONE = dict(
    type='mmpretrain.CosubViT',
    arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
    img_size=32,
    patch_size=8,
    out_type='featmap',
    out_indices=(1, 3),
    final_norm=False,
    layer_scale_init_value=0.5,
)
HEAD = dict(
    type='FCNHead',
    in_channels=32,
    in_index=1,
    channels=16,
    num_convs=1,
    num_classes=5,
    dropout_ratio=0,
    # SyncBN has no CPU kernel; the group norm treats every image alone, as the formula below.
    norm_cfg=dict(type='GN', num_groups=4),
)
AUXILIARY = dict(HEAD, in_index=0, loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4))
MODEL = dict(
    type='CosubSegmentor',
    backbone=BACKBONE,
    decode_head=HEAD,
    auxiliary_head=AUXILIARY,
    drop_path_rate=0.4,
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)


def build(**changes):
    model = MODELS.build(ConfigDict(copy.deepcopy({**MODEL, **changes})))
    model.init_weights()
    return model


def batch(size=(32, 32), ignored=True):
    masks = torch.randint(5, (2, 1, *size))
    if ignored:
        masks[0, :, : size[0] // 2] = 255
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=mask), metainfo=dict(img_shape=size))
        for mask in masks
    ]
    return torch.randn(2, 3, *size), samples


def test_losses_and_gradients_equal_the_formula():
    """Eq. 2 by hand: the copies run one stochastic forward, the rest is torch's cross-entropy."""
    model = build(lam=0.3).double().train()
    inputs, samples = batch()
    inputs = inputs.double()
    torch.manual_seed(1)
    losses = model.loss(inputs, samples)

    torch.manual_seed(1)
    feats = model.backbone(torch.cat((inputs, inputs)))
    target = torch.cat([s.gt_sem_seg.data for s in samples])
    valid = target != 255
    pixels = [
        F.interpolate(z, (32, 32), mode='bilinear').permute(0, 2, 3, 1)[valid]
        for z in model.decode_head(feats).chunk(2)
    ]
    label = sum(F.cross_entropy(z, target[valid]) for z in pixels) / 2
    cosub = sum(
        F.cross_entropy(z, other.detach().softmax(1)) for z, other in (pixels, pixels[::-1])
    )
    auxiliary = F.interpolate(model.auxiliary_head(feats), (32, 32), mode='bilinear')
    auxiliary = F.cross_entropy(auxiliary, torch.cat((target, target)), ignore_index=255)
    expected = {
        'decode.loss_label': 0.3 * label,
        'decode.loss_cosub': 0.7 * cosub / 2,
        # mmseg divides by all pixels, ignored or not
        'aux.loss_ce': 0.4 * auxiliary * valid.double().mean(),
    }
    assert set(losses) == {*expected, 'decode.acc_seg', 'decode.agreement', 'aux.acc_seg'}
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-9, atol=0)
    agree = (pixels[0].argmax(1) == pixels[1].argmax(1)).double().mean()
    assert losses['decode.agreement'].item() == pytest.approx(agree.item())
    assert 0 < agree < 1

    params = list(model.parameters())
    ours = torch.autograd.grad(model.parse_losses(losses)[0], params)
    theirs = torch.autograd.grad(sum(expected.values()), params)
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-14)


def test_checkpoints_load_either_way():
    config = ConfigDict(copy.deepcopy({**MODEL, 'type': 'EncoderDecoder'}))
    del config['drop_path_rate']
    plain = MODELS.build(config)
    model = build()
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    inputs, samples = batch()
    for sample in samples:
        sample.set_metainfo(dict(ori_shape=(32, 32), pad_shape=(32, 32), padding_size=[0] * 4))
    with torch.no_grad():
        ours = model.eval().predict(inputs, samples)
        theirs = plain.eval().predict(inputs, samples)
    for mine, other in zip(ours, theirs):
        assert torch.equal(mine.seg_logits.data, other.seg_logits.data)


def test_lam_one_is_supervised_training_of_both_copies():
    """Without stochastic depth's noise the label loss is mmseg's own."""
    model = build(lam=1.0, implementation='mask').train()
    inputs, samples = batch(ignored=False)
    losses = model.loss(inputs, samples)
    assert losses['decode.loss_cosub'] == 0
    # both copies dropped nothing
    apply_stochastic_depth(model.backbone, 0.0)
    losses = model.loss(inputs, samples)
    expected = model.decode_head.loss(model.backbone(inputs), samples, {})
    torch.testing.assert_close(losses['decode.loss_label'], expected['loss_ce'])
    assert losses['decode.agreement'] == 1


def test_collected_maps_stay_as_they_were():
    """Later blocks must not write into the maps that neck and auxiliary head read."""
    model = build().train()
    seen = []
    hooks = [
        model.backbone.layers[i].register_forward_hook(lambda m, a, out: seen.append(out.clone()))
        for i in (1, 3)
    ]
    maps = model.backbone(torch.randn(4, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    for x, out in zip(maps, seen):
        assert torch.equal(x.flatten(2).transpose(1, 2), out[:, 1:])


@pytest.mark.parametrize('rows', [2, 4])
def test_stochastic_depth_is_unbiased_at_two_images(rows):
    """2 images a GPU are 2 rows, or 4 with copies: rounding would make a rate of .1 to 0 or .5."""
    rate, draws = 0.1, 2000
    block = build(drop_path_rate=rate).backbone.layers[0]
    tokens = torch.randn(rows, 17, 32)
    with torch.no_grad():
        block.eval()
        whole = block.attn(block.ln1(tokens))
        block.train()
        factors = []
        for _ in range(draws):
            residual = block.attn(block.ln1(tokens))
            factors.append((residual * whole).sum((1, 2)) / whole.square().sum((1, 2)))
    factors = torch.stack(factors)
    dropped = factors.abs() < 1e-6
    torch.testing.assert_close(factors[~dropped], torch.full_like(factors[~dropped], 1 / 0.9))
    error = (rate / (1 - rate) / draws) ** 0.5
    assert (factors.mean(0) - 1).abs().max() < 4 * error


@pytest.mark.parametrize('size', [(32, 32), (31, 45)])
def test_all_ignored_masks_leave_finite_gradients(size):
    model = build(backbone=dict(BACKBONE, patch_cfg=dict(padding='corner'))).train()
    inputs, samples = batch(size)
    for sample in samples:
        sample.gt_sem_seg.data.fill_(255)
    loss, _ = model.parse_losses(model.loss(inputs, samples))
    loss.backward()
    assert loss == 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(lam=-0.1), r'lam=-0.1 must lie in \[0, 1\]'),
        (dict(lam=1.5), r'lam=1.5 must lie in \[0, 1\]'),
        (dict(num_submodels=1), 'num_submodels=1 must be an integer of at least 2'),
        (dict(drop_path_rate=None), 'drop rate of every block is 0'),
        (dict(drop_path_rate=0.0), 'drop rate of every block is 0'),
        (dict(drop_path_rate=1.0), r'\[0, 1\)'),
        (dict(decode_head=dict(HEAD, loss_decode=dict(type='DiceLoss'))), 'softmax cross-entropy'),
        (
            dict(decode_head=dict(HEAD, sampler=dict(type='OHEMPixelSampler'))),
            'without sampler',
        ),
        *(
            (dict(decode_head=dict(HEAD, loss_decode=dict(type='CrossEntropyLoss', **loss))), told)
            for loss, told in (
                (dict(class_weight=[1.0] * 5), 'class weights'),
                (dict(reduction='sum'), "reduction='sum'"),
                (dict(loss_name='extra'), "loss_name='extra'.*not trained by mmseg"),
            )
        ),
    ],
)
def test_errors_name_what_is_allowed(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_head_without_pixel_scores_is_named():
    head = {key: value for key, value in HEAD.items() if key != 'num_convs'}
    head.update(type='EncHead', in_channels=[32, 32], in_index=[0, 1], num_codes=4)
    with pytest.raises(ValueError, match='EncHead computes its loss in its own way'):
        build(decode_head=head)

    model = build()
    model.decode_head.forward = lambda feats: feats  # a head of somebody's own
    with pytest.raises(TypeError, match='FCNHead does not return one score a class and pixel'):
        model.loss(*batch())


@pytest.mark.parametrize('counts_ignored', [True, False])
def test_the_mean_over_labelled_pixels_is_said_where_the_head_has_another(
    counts_ignored, monkeypatch
):
    told = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, text, *args: told.append(str(text)))
    loss = dict(type='CrossEntropyLoss', avg_non_ignore=not counts_ignored)
    build(decode_head=dict(HEAD, loss_decode=loss))
    assert any('means over the labelled pixels' in text for text in told) == counts_ignored
