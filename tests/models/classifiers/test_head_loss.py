"""What a head's own loss says is kept or refused, never dropped without a word."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import cosub_mm  # noqa: F401

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16)
BACKBONE = dict(type='CosubViT', arch=ARCH, img_size=16, patch_size=8, drop_path_rate=0.5)
WEIGHTS = [0.5, 2.0, 1.0]
KINDS = ['CosubClassifier', 'SupervisedClassifier']


@MODELS.register_module()
class OwnHead(LinearClsHead):
    """A user's head with a loss of its own."""

    def loss(self, feats, data_samples, **kwargs):
        return dict(loss=self(feats).square().mean())


def build(kind: str, head: dict | None = None, **kwargs):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16) | (head or {})
    cfg = dict(type=kind, backbone=BACKBONE, head=head, **kwargs)
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg))
    torch.nn.init.normal_(model.head.fc.weight)
    return model.double().train()


def samples(labels) -> list[DataSample]:
    return [DataSample().set_gt_label(label) for label in labels]


def step(model, labels=(0, 1, 2, 1)) -> dict:
    images = torch.randn(len(labels), 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(3)
    return model(images.double(), samples(labels), mode='loss')


def logits_of(model, copies: int) -> torch.Tensor:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    torch.manual_seed(3)
    return model.head(model.backbone(images.repeat(copies, 1, 1, 1)))


@pytest.mark.parametrize('loss', ['bce', 'ce'])
@pytest.mark.parametrize('kind', KINDS)
def test_class_weights_and_loss_weight_are_kept(kind, loss):
    """The label loss is mmpretrain's own weighted one, over the classes' number for BCE."""
    own = dict(type='CrossEntropyLoss', use_sigmoid=loss == 'bce', class_weight=WEIGHTS)
    model = build(kind, dict(loss=dict(own, loss_weight=0.3)), loss=loss)
    plain = build(kind, loss=loss)
    plain.load_state_dict(model.state_dict())
    losses, unweighted = step(model), step(plain)
    copies = 2 if kind == 'CosubClassifier' else 1
    logits, labels = logits_of(model, copies), torch.tensor([0, 1, 2, 1]).repeat(copies)
    target = F.one_hot(labels, 3) if loss == 'bce' else labels
    expected = 0.3 * MODELS.build(own)(logits, target, avg_factor=len(logits)).double()
    expected = expected / (3 if loss == 'bce' else 1)
    if kind == 'SupervisedClassifier':
        torch.testing.assert_close(losses['loss'], expected)
        return
    torch.testing.assert_close(losses['loss_label'], 0.5 * expected)
    torch.testing.assert_close(losses['loss_cosub'], 0.3 * unweighted['loss_cosub'])


@pytest.mark.parametrize('kind', KINDS)
def test_accuracies_are_logged_where_the_head_asks(kind):
    model = build(kind, dict(cal_acc=True, topk=(1, 2)))
    losses = step(model)
    copies = 2 if kind == 'CosubClassifier' else 1
    logits, labels = logits_of(model, copies), torch.tensor([0, 1, 2, 1]).repeat(copies)
    for k in (1, 2):
        right = (logits.topk(k).indices == labels[:, None]).any(1).double().mean() * 100
        assert losses[f'accuracy_top-{k}'].item() == pytest.approx(right.item())
    assert not any('accuracy' in name for name in step(build(kind)))


SMOOTH = dict(type='LabelSmoothLoss', label_smooth_val=0.1)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('head', 'kwargs', 'told'),
    [
        (dict(loss=dict(type='FocalLoss')), {}, 'FocalLoss of LinearClsHead would be dropped'),
        (dict(loss=dict(type='AsymmetricLoss')), {}, 'AsymmetricLoss'),
        (dict(loss=SMOOTH), {}, r'smooths labels by 0.1.*label_smooth_val=0.0.*threshold=0.2'),
        (dict(loss=dict(SMOOTH, mode='classy_vision')), dict(label_smoothing=0.1), '0.0909'),
        (dict(loss=dict(SMOOTH, mode='multi_label')), {}, "mode='multi_label'"),
        (
            dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True, pos_weight=WEIGHTS)),
            {},
            'does not honour pos_weight',
        ),
        (dict(loss=dict(type='CrossEntropyLoss', reduction='sum')), {}, "reduction='sum'"),
        (
            dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True)),
            dict(loss='ce'),
            'use_sigmoid=True of the head contradict',
        ),
        (
            dict(loss=dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])),
            {},
            'has 2 values for 3 classes',
        ),
        (dict(type='OwnHead'), {}, 'OwnHead computes its loss in its own way'),
        (dict(type='ArcFaceClsHead'), {}, 'ArcFaceClsHead computes its loss in its own way'),
        (dict(type='MultiLabelLinearClsHead'), {}, 'MultiLabelLinearClsHead computes its loss'),
        (
            dict(cal_acc=True),
            dict(
                train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]),
                data_preprocessor=dict(num_classes=3),
            ),
            'cal_acc=True of the head: mixed images',
        ),
    ],
)
def test_what_would_be_dropped_is_refused(kind, head, kwargs, told):
    with pytest.raises(ValueError, match=told):
        build(kind, head, **kwargs)


@pytest.mark.parametrize('kind', KINDS)
def test_smoothing_that_both_agree_on_is_one_smoothing(kind):
    model = build(kind, dict(loss=SMOOTH), loss='ce', label_smoothing=0.1)
    plain = build(kind, loss='ce', label_smoothing=0.1)
    plain.load_state_dict(model.state_dict())
    for name, value in step(model).items():
        torch.testing.assert_close(value, step(plain)[name])


@pytest.mark.parametrize('kind', KINDS)
def test_several_labels_are_refused(kind):
    """Also where their number would fit by luck: two labels, none, and one twice."""
    model = build(kind)
    for labels in ([[0, 1], [], [2], [1]], [[0, 1], [1], [2], [1]]):
        labels = [torch.tensor(label, dtype=torch.long) for label in labels]
        with pytest.raises(ValueError, match=r'has 2 labels \(\[0, 1\]\).*MultiLabelLinear'):
            step(model, labels)


@pytest.mark.parametrize('kind', KINDS)
def test_another_formula_than_the_heads_is_said(kind, monkeypatch):
    told = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, text, *args: told.append(text))
    build(kind)
    assert any("(model.loss='bce') in place of the softmax" in text for text in told)
    told.clear()
    build(kind, loss='ce')
    build(kind, dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True)))
    assert not any('in place of' in str(text) for text in told)
