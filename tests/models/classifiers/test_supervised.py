import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import cosub_mm  # noqa: F401


def _build(**kwargs):
    model = MODELS.build(
        dict(
            type='SupervisedClassifier',
            backbone=dict(
                type='CosubViT',
                arch=dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48),
                img_size=32,
            ),
            head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=24),
            **kwargs,
        )
    )
    model.init_weights()
    return model.double()


IMAGES = torch.randn(4, 3, 32, 32, dtype=torch.double, generator=torch.Generator().manual_seed(1))
MIXED = torch.tensor([[0.7, 0.3, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0.1, 0.9, 0], [0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    ('kwargs', 'expected'),
    [
        (dict(), lambda z: F.binary_cross_entropy_with_logits(z, (MIXED > 0).double())),
        (
            dict(bce_target_threshold=0.2, label_smoothing=0.1),
            lambda z: F.binary_cross_entropy_with_logits(z, (MIXED > 0.2).double()),
        ),
        (
            dict(loss='ce', label_smoothing=0.1),
            lambda z: -(z.log_softmax(1) * (MIXED.double() * 0.9 + 0.02)).sum(1).mean(),
        ),
    ],
    ids=['DeiT III', 'RSB', 'ImageNet-21k'],
)
def test_loss_is_the_recipes(kwargs, expected):
    model = _build(**kwargs)
    samples = [DataSample().set_gt_score(score) for score in MIXED]
    losses = model(IMAGES, samples, mode='loss')
    logits = model.head(model.extract_feat(IMAGES))
    assert losses.keys() == {'loss'}
    torch.testing.assert_close(losses['loss'], expected(logits), rtol=1e-6, atol=1e-7)


def test_drop_rate_is_uniform():
    model = _build(drop_path_rate=0.3)
    rates = {m.drop_prob for m in model.modules() if hasattr(m, 'drop_prob')}
    assert rates == {0.3}


def test_labels_without_mixing():
    model = _build(loss='ce')
    labels = torch.tensor([0, 3, 1, 4])
    losses = model(IMAGES, [DataSample().set_gt_label(y) for y in labels], mode='loss')
    expected = F.cross_entropy(model.head(model.extract_feat(IMAGES)), labels)
    torch.testing.assert_close(losses['loss'], expected)


def test_wrong_arguments():
    with pytest.raises(ValueError, match='label_smoothing'):
        _build(label_smoothing=1.0)
    with pytest.raises(ValueError, match='every class'):
        model = _build(label_smoothing=0.1)
        model(IMAGES, [DataSample().set_gt_label(0)] * 4, mode='loss')
