"""CosubClassifier: the step is the paper's, and the rest is ImageClassifier's."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import cosub_mm  # noqa: F401
from cosub_mm.losses import agreement, cosub_loss
from cosub_mm.stochastic_depth import scale_drop_rates

TINY = dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48)


def config(**kwargs) -> dict:
    cfg = dict(
        type='CosubClassifier',
        backbone=dict(type='CosubViT', arch=TINY, img_size=32, layer_scale_init_value=0.5),
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=5,
            in_channels=24,
            init_cfg=dict(type='TruncNormal', layer='Linear', std=0.5),
        ),
        drop_path_rate=0.5,
    )
    cfg.update(kwargs)
    return copy.deepcopy(cfg)


def build(**kwargs):
    model = MODELS.build(config(**kwargs))
    model.init_weights()
    return model.double()


def samples(labels: torch.Tensor) -> list[DataSample]:
    return [DataSample().set_gt_label(label) for label in labels]


def mixed_samples(scores: torch.Tensor) -> list[DataSample]:
    return [DataSample().set_gt_score(score) for score in scores]


@pytest.mark.parametrize('implementation', ['subset', 'mask'])
@pytest.mark.parametrize('lam', [0.5, 0.2])
def test_one_step_is_the_papers_equations(implementation, lam):
    """The same seed, the duplicated batch, eq. 2 by torch's losses: loss and every gradient."""
    model = build(lam=lam, implementation=implementation)
    images = torch.randn(6, 3, 32, 32, dtype=torch.double)
    labels = torch.randint(5, (6,))

    torch.manual_seed(3)
    losses = model(images, samples(labels), mode='loss')
    total = losses['loss_label'] + losses['loss_cosub']
    gradients = torch.autograd.grad(total, list(model.parameters()))

    torch.manual_seed(3)
    z1, z2 = model.head(model.backbone(torch.cat((images, images)))).chunk(2)
    assert (z1 - z2).abs().max() > 0.01, 'both copies went through the same submodel'
    y = F.one_hot(labels, 5).double()
    bce = torch.nn.BCEWithLogitsLoss()
    expected = (
        lam * (bce(z1, y) + bce(z2, y)) / 2
        + (1 - lam) * (bce(z1, z2.detach().sigmoid()) + bce(z2, z1.detach().sigmoid())) / 2
    )
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)
    expected_gradients = torch.autograd.grad(expected, list(model.parameters()))
    for ours, theirs in zip(gradients, expected_gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)


def test_mixed_targets_become_multi_hot():
    """Mixing ratios do not count with BCE; they do with threshold None and with CE."""
    model = build()
    images = torch.randn(2, 3, 32, 32, dtype=torch.double)
    scores = torch.tensor([[0.3, 0.7, 0, 0, 0], [0, 0, 0.9, 0, 0.1]])
    hard = torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 1, 0, 1]])

    def label_loss(model, target) -> float:
        torch.manual_seed(1)
        return model.loss(images, mixed_samples(target))['loss_label'].item()

    assert label_loss(model, scores) == label_loss(model, hard)
    keeps_ratios = build(bce_target_threshold=None)
    keeps_ratios.load_state_dict(model.state_dict())
    assert label_loss(keeps_ratios, hard) == label_loss(model, hard)
    assert label_loss(keeps_ratios, scores) != label_loss(model, hard)


def test_smoothed_targets_with_bce_are_an_error():
    model = build()
    smoothed = torch.eye(5) * 0.9 + 0.02
    images = torch.randn(5, 3, 32, 32, dtype=torch.double)
    with pytest.raises(ValueError, match='every class of every image would be a positive'):
        model.loss(images, mixed_samples(smoothed))
    with pytest.raises(ValueError, match='every class of every image would be a positive'):
        build(label_smoothing=0.1).loss(images, mixed_samples(torch.eye(5)))
    # timm's threshold undoes the smoothing instead.
    losses = build(label_smoothing=0.1, bce_target_threshold=0.2).loss(
        images, mixed_samples(torch.eye(5))
    )
    assert torch.isfinite(losses['loss_label'])


def test_three_submodels():
    model = build(num_submodels=3, loss='ce', teacher='hard')
    losses = model.loss(torch.randn(4, 3, 32, 32, dtype=torch.double), samples(torch.arange(4)))
    (losses['loss_label'] + losses['loss_cosub']).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_consistency_is_r_drops():
    """The symmetric divergence in place of eq. 2's second term, and a gradient on both sides."""
    model = build(loss='ce', consistency='kl', lam=0.2)
    images, labels = torch.randn(6, 3, 32, 32, dtype=torch.double), torch.randint(5, (6,))
    torch.manual_seed(3)
    losses = model(images, samples(labels), mode='loss')
    gradients = torch.autograd.grad(losses['loss_cosub'], list(model.parameters()))
    torch.manual_seed(3)
    p, q = model.head(model.backbone(torch.cat((images, images)))).log_softmax(1).chunk(2)
    one, other = (
        F.kl_div(a, b, reduction='batchmean', log_target=True) for a, b in ((p, q), (q, p))
    )
    expected = 0.8 * (one + other) / 2
    torch.testing.assert_close(losses['loss_cosub'], expected, rtol=1e-12, atol=0)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, list(model.parameters()))):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)


def passes(model) -> list[int]:
    """Rows that the backbone is called with from now on, one number a call."""
    rows = []
    model.backbone.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    return rows


@pytest.mark.parametrize('submodels', [2, 3])
def test_where_nothing_is_dropped_one_copy_stands_for_all(submodels):
    """A late or early schedule: the loss and all gradients of several copies, for one pass."""
    model = build(num_submodels=submodels)
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.double), torch.randint(5, (4,))
    scale_drop_rates(model.backbone, 0.0)
    rows = passes(model)
    losses = model(images, samples(labels), mode='loss')
    assert rows == [4] and losses['agreement'] == 1
    total = losses['loss_label'] + losses['loss_cosub']
    z = model.head(model.backbone(images.repeat(submodels, 1, 1, 1))).unflatten(0, (submodels, 4))
    expected = sum(cosub_loss(z, labels).values())
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(total, parameters), torch.autograd.grad(expected, parameters)
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)


def test_copies_that_dropout_tells_apart_are_all_computed():
    """At a drop rate of 0 that is what is left of randomness."""
    cfg = config(num_submodels=3)
    cfg['backbone']['drop_rate'] = 0.3
    model = MODELS.build(cfg).double()
    scale_drop_rates(model.backbone, 0.0)
    rows = passes(model)
    losses = model(
        torch.randn(4, 3, 32, 32, dtype=torch.double), samples(torch.arange(4)), mode='loss'
    )
    assert rows == [4, 8] and torch.isfinite(losses['loss_cosub'])


def test_agreement_counts_pairs():
    logits = torch.zeros(3, 2, 4)
    logits[0, :, 0] = logits[1, :, 0] = 1  # two of three agree on both images
    logits[2, :, 1] = 1
    assert agreement(logits) == pytest.approx(2 / 6)
    assert agreement(logits[:2]) == 1


def test_state_dict_and_prediction_are_image_classifiers():
    cosub = build()
    plain_config = config(type='ImageClassifier')
    del plain_config['drop_path_rate']
    plain = MODELS.build(plain_config).double()
    assert isinstance(cosub, ImageClassifier)
    plain.load_state_dict(cosub.state_dict(), strict=True)
    cosub.load_state_dict(plain.state_dict(), strict=True)
    cosub.eval()
    plain.eval()
    images = torch.randn(3, 3, 32, 32, dtype=torch.double)
    for ours, theirs in zip(cosub.predict(images), plain.predict(images)):
        assert torch.equal(ours.pred_score, theirs.pred_score)


STOCK = {
    'resnet': dict(
        backbone=dict(type='ResNet', depth=18, num_stages=4, out_indices=(3,), base_channels=8),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=5,
            in_channels=64,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        ),
    ),
    'swin with label smoothing': dict(
        backbone=dict(
            type='SwinTransformer',
            arch=dict(embed_dims=12, depths=[1, 1], num_heads=[2, 2]),
            img_size=32,
            window_size=4,
            out_indices=(1,),
            drop_path_rate=0.2,
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=5,
            in_channels=24,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        ),
        train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
        data_preprocessor=dict(num_classes=5),
    ),
}


@pytest.mark.parametrize('name', STOCK)
def test_model_type_and_a_rate_turn_a_stock_config_into_cosub(name):
    """What ``--cfg-options model.type=CosubClassifier model.drop_path_rate=.1`` does."""
    cfg = Config(dict(model=dict(type='ImageClassifier', **copy.deepcopy(STOCK[name]))))
    cfg.merge_from_dict({'model.type': 'CosubClassifier', 'model.drop_path_rate': 0.1})
    if 'smoothing' in name:  # refused, with what to set
        with pytest.raises(ValueError, match=r'model.head.loss.label_smooth_val=0.0'):
            MODELS.build(copy.deepcopy(cfg.model))
        cfg.merge_from_dict({'model.head.loss.label_smooth_val': 0.0})
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = dict(inputs=torch.rand(4, 3, 32, 32), data_samples=samples(torch.randint(5, (4,))))
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    assert set(losses) == {'loss_label', 'loss_cosub', 'agreement'}
    model.parse_losses(losses)[0].backward()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (
            dict(drop_path_rate=None),
            'needs stochastic depth, and the drop rate of every block is 0',
        ),
        (dict(drop_path_rate=0.0), 'needs stochastic depth'),
        (dict(drop_path_rate=1.0), r'\[0, 1\)'),
        (dict(num_submodels=1), 'num_submodels=1 must be an integer of at least 2'),
        (dict(lam=2), r'lam=2 must lie in \[0, 1\]'),
        (dict(loss='l2'), "choose 'bce' or 'ce'"),
        (dict(teacher='ema'), "choose 'soft' or 'hard'"),
        (dict(consistency='l2'), "choose 'cosub' or 'kl'"),
        (dict(label_smoothing=1.0), 'label_smoothing=1.0'),
        (dict(implementation='fast'), "'auto', 'subset', 'mask'"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(**kwargs))


def test_a_rate_of_the_backbone_is_enough():
    cfg = config(drop_path_rate=None)
    cfg['backbone']['drop_path_rate'] = 0.5
    model = MODELS.build(cfg).train()
    scores = []
    model.head.register_forward_hook(lambda module, args, output: scores.append(output))
    images = torch.randn(8, 3, 32, 32, dtype=torch.double)
    model.double()(images, samples(torch.zeros(8, dtype=torch.long)), mode='loss')
    one, other = scores[0].unflatten(0, (2, 8))
    assert (one - other).abs().max() > 0
