"""The heads' losses are mmseg's, and no step of a segmentor waits for the device."""

import copy
import itertools

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import cosub_mm  # noqa: F401

register_all_modules(init_default_scope=False)

CLASSES, SIDE = 5, 32
NORM = dict(type='GN', num_groups=4)  # SyncBN has no CPU kernel
BACKBONE = dict(
    type='mmpretrain.CosubViT',
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
    img_size=SIDE,
    patch_size=8,
    out_type='featmap',
    out_indices=(0, 1, 2),
    final_norm=False,
)
UPER = dict(
    type='UPerHead',
    in_channels=[16, 16, 16],
    in_index=[0, 1, 2],
    pool_scales=(1, 2),
    channels=8,
    num_classes=CLASSES,
    dropout_ratio=0,
    norm_cfg=NORM,
)
FCN = dict(
    type='FCNHead',
    in_channels=16,
    channels=8,
    num_convs=1,
    num_classes=CLASSES,
    dropout_ratio=0,
    norm_cfg=NORM,
)
MODEL = dict(
    data_preprocessor=dict(
        type='mmseg.SegDataPreProcessor', mean=[127.0] * 3, std=[60.0] * 3, size=(SIDE, SIDE)
    ),
    backbone=BACKBONE,
    decode_head=UPER,
    auxiliary_head=dict(FCN, in_index=1),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
PLAIN = dict(type='CrossEntropyLoss', loss_weight=0.7)
HEADS = {
    'all pixels': dict(loss_decode=PLAIN),
    'labelled pixels': dict(loss_decode=dict(PLAIN, avg_non_ignore=True)),
    'one in a list': dict(loss_decode=[dict(PLAIN, loss_name='loss_pixels')]),
    'summed': dict(loss_decode=dict(PLAIN, reduction='sum')),
    'weighted classes': dict(loss_decode=dict(PLAIN, class_weight=[1.0, 2.0, 0.5, 1.0, 3.0])),
    'two terms': dict(loss_decode=[PLAIN, dict(type='DiceLoss', loss_name='loss_dice')]),
    'sampled pixels': dict(sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=20)),
    'sigmoid': dict(loss_decode=dict(PLAIN, use_sigmoid=True)),
}


def build(kind, **changes):
    return MODELS.build(ConfigDict(copy.deepcopy({**MODEL, **changes, 'type': kind}))).train()


def samples(ignored=True):
    masks = torch.randint(CLASSES, (2, 1, SIDE, SIDE))
    if ignored:
        masks[0, :, : SIDE // 2] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in masks]


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('several', [False, True])
def test_losses_and_gradients_are_mmsegs(head, several):
    settings = HEADS[head]
    auxiliary = dict(FCN, in_index=1, **settings)
    changes = dict(
        decode_head=dict(UPER, **settings),
        auxiliary_head=[auxiliary, dict(auxiliary, in_index=0)] if several else auxiliary,
    )
    ours = build('SupervisedSegmentor', **changes).double()
    ours.init_weights()
    theirs = build('EncoderDecoder', **changes).double()
    theirs.load_state_dict(ours.state_dict())
    inputs, labels = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64), samples()
    found = []
    for model in (ours, theirs):
        losses = model.loss(inputs.clone(), labels)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        found.append((losses, [p.grad for p in model.parameters()]))
    (mine, my_gradients), (their, their_gradients) = found
    assert list(mine) == list(their)
    for name in mine:
        torch.testing.assert_close(
            mine[name].double().squeeze(), their[name].double().squeeze(), rtol=1e-6, atol=1e-6
        )
    assert any(float(g.abs().max()) > 1e-4 for g in my_gradients)
    for mine, their in zip(my_gradients, their_gradients, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-6, atol=1e-9)


def test_a_batch_without_a_label_has_a_loss_of_0():
    labels = samples()
    for sample in labels:
        sample.gt_sem_seg.data.fill_(255)
    head = dict(UPER, loss_decode=dict(PLAIN, avg_non_ignore=True))
    losses = build('SupervisedSegmentor', decode_head=head).loss(
        torch.randn(2, 3, SIDE, SIDE), labels
    )
    assert float(losses['decode.loss_ce']) == 0 and float(losses['decode.acc_seg']) == 0


def losses_of(kind, **changes):
    """From pictures to the losses, on tensors that are not there: each look at one is an error."""
    with FakeTensorMode():
        with torch.device('cuda'):
            model = build(kind, **changes)
        model.data_preprocessor.to('cuda')
        pictures = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
        batch = dict(inputs=list(pictures), data_samples=samples(ignored=False))
        loss, log = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
        assert loss.requires_grad
        assert all(value.device.type == 'cuda' for value in log.values())


KINDS = pytest.mark.parametrize(
    ('kind', 'non_ignore'),
    list(itertools.product(['SupervisedSegmentor', 'CosubSegmentor'], [False, True])),
)


def heads(non_ignore):
    loss = dict(PLAIN, avg_non_ignore=non_ignore)
    return dict(
        decode_head=dict(UPER, loss_decode=loss),
        auxiliary_head=dict(FCN, in_index=1, loss_decode=loss),
    )


@KINDS
def test_nothing_is_waited_for_on_a_gpu(kind, non_ignore):
    losses_of(kind, drop_path_rate=0.5, **heads(non_ignore))


class Waits(TorchDispatchMode):
    """Notes operators that ask a device for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.found = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        if any(name in func.name() for name in ('_local_scalar_dense', 'equal', 'nonzero')):
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


@KINDS
def test_backward_and_the_optimizer_wait_for_nothing(kind, non_ignore):
    """On the CPU, for torch runs no backward pass of a device that is not there."""
    model = build(kind, drop_path_rate=0.5, **heads(non_ignore))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, foreach=True)
    losses = model.loss(torch.randn(2, 3, SIDE, SIDE), samples())
    with Waits() as mode:
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()
    assert mode.seen > 100 and not mode.found


def test_the_mode_sees_the_waits_of_mmseg():
    with pytest.raises(DataDependentOutputException, match='_local_scalar_dense'):
        losses_of('EncoderDecoder', **heads(non_ignore=True))
