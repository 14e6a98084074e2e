"""The preprocessor of the classifiers gives mmpretrain's values, as one tensor a batch."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cosub_mm.models.classifiers import (
    CosubClassifier,
    CosubClsDataPreprocessor,
    SupervisedClassifier,
)
from cosub_mm.models.classifiers.targets import recipe_target

CLASSES, IMAGES = 5, 8
SETTINGS = dict(
    num_classes=CLASSES, mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True, pad_size_divisor=16
)
MIXING = dict(
    augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
)
TINY = dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48)


def batch(size=24, **kwargs):
    inputs = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8)
    labels = [DataSample(**kwargs).set_gt_label(i % CLASSES) for i in range(IMAGES)]
    return dict(inputs=inputs, data_samples=labels)


def run(kind, data, training=True, seed=0, **settings):
    np.random.seed(seed)
    torch.manual_seed(seed)
    return kind(**{**SETTINGS, **settings})(data, training)


@pytest.mark.parametrize('seed', range(4))  # mixup and cutmix
@pytest.mark.parametrize('threshold', [0.0, None])
def test_mixed_batches_are_mmpretrains(seed, threshold):
    data = batch()
    ours = run(
        CosubClsDataPreprocessor, dict(data), seed=seed, batch_augments=copy.deepcopy(MIXING)
    )
    plain = run(ClsDataPreprocessor, dict(data), seed=seed, batch_augments=copy.deepcopy(MIXING))
    assert torch.equal(ours['inputs'], plain['inputs'])
    assert ours['inputs'].shape[-1] == 32
    targets = [recipe_target(d['data_samples'], CLASSES, 0.0, threshold) for d in (ours, plain)]
    assert torch.equal(*targets) and targets[0].dtype == targets[1].dtype
    assert (targets[0] > 0).sum() > IMAGES


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_plain_batches_are_mmpretrains(smoothing):
    data = batch()
    ours, plain = (run(k, dict(data)) for k in (CosubClsDataPreprocessor, ClsDataPreprocessor))
    assert torch.equal(ours['inputs'], plain['inputs'])
    targets = [recipe_target(d['data_samples'], CLASSES, smoothing) for d in (ours, plain)]
    assert torch.equal(*targets)


def test_evaluation_and_other_batches_go_mmpretrains_way():
    several = batch()
    several['data_samples'][2].set_gt_label([1, 3])
    scored = batch()
    for sample in scored['data_samples']:
        sample.set_gt_score(torch.full((CLASSES,), 1 / CLASSES))
    listed = batch()
    listed['inputs'] = list(listed['inputs'])
    for data, training in ((batch(), False), (several, True), (scored, True), (listed, True)):
        result = run(CosubClsDataPreprocessor, data, training)
        assert type(result['data_samples']) is list
        assert 'gt_label' in result['data_samples'][0]
    assert 'data_samples' in run(CosubClsDataPreprocessor, dict(inputs=batch()['inputs']))


class Brought(TorchDispatchMode):
    """Copies between host and device that the host waits for, and indices from the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found, self.copies = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name, first = func.name(), args[0] if args else None
        if name == 'aten::_to_copy' and out.device.type != first.device.type:
            self.copies += 1
            if out.device.type == 'cpu' or not kwargs.get('non_blocking'):
                self.found.append((name, tuple(out.shape)))
        if name == 'aten::copy_' and first.device.type != args[1].device.type:
            self.found.append((name, tuple(first.shape)))
        if name.startswith('aten::index'):
            indices = [i for i in torch.utils._pytree.tree_leaves(args[1:]) if torch.is_tensor(i)]
            if any(i.device.type != first.device.type for i in indices):
                self.found.append((name, 'an index of the host'))
        return out


@pytest.mark.parametrize('kind', [CosubClassifier, SupervisedClassifier])
def test_nothing_is_waited_for_on_a_gpu(kind):
    """On tensors that only say that they are there: each look at a value is an error."""
    np.random.seed(0)
    with FakeTensorMode():
        with torch.device('cuda'):
            model = kind(
                backbone=dict(type='CosubViT', arch=TINY, img_size=32),
                head=dict(type='VisionTransformerClsHead', num_classes=CLASSES, in_channels=24),
                drop_path_rate=0.5,
                data_preprocessor=dict(SETTINGS),
                train_cfg=copy.deepcopy(MIXING),
            )
        model.data_preprocessor.to('cuda')
        for _ in range(4):
            data = batch(32)
            with Brought() as brought:
                inputs = model.train().data_preprocessor(data, True)
                loss, logs = model.parse_losses(model(**inputs, mode='loss'))
            assert loss.device.type == 'cuda' and all(v.is_cuda for v in logs.values())
            assert brought.copies == 2 and not brought.found


def test_mmpretrains_waits_there():
    """What the test above would find: otherwise it could not fail."""
    np.random.seed(0)
    with FakeTensorMode(), Brought() as brought:
        preprocessor = ClsDataPreprocessor(**SETTINGS, batch_augments=copy.deepcopy(MIXING))
        preprocessor.to('cuda')
        preprocessor(batch(32), True)
    assert {name for name, _ in brought.found} >= {'aten::_to_copy', 'aten::index.Tensor'}
