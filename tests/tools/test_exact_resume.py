"""Real models and pipelines, resumed in the middle: every tensor is that of the undisturbed run."""

import shutil

import pytest
import torch
from mmengine.config import Config

from tools import train

RANDOM_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(48, 32), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
UPERNET = dict(
    _delete_=True,
    type='UPerHead',
    in_channels=[32, 32],
    in_index=[0, 1],
    channels=8,
    pool_scales=(1, 2),
    num_classes=3,
    dropout_ratio=0.1,
    loss_decode=dict(type='CrossEntropyLoss'),
)
SEGMENTOR = {
    'model.decode_head': UPERNET,
    'model.backbone.out_indices': (0, 1),
    'train_dataloader.dataset.pipeline': RANDOM_PIPELINE,
    'train_dataloader.num_workers': 2,
    'train_dataloader.persistent_workers': True,
    'train_cfg.max_iters': 5,
    'train_cfg.val_interval': 5,
    'default_hooks.checkpoint.interval': 3,
    'default_hooks.logger.interval': 1,
}
CLASSIFIER = {
    'model.train_cfg': dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
    'model.type': 'CosubClassifier',
    'train_dataloader.num_workers': 2,
    'train_dataloader.persistent_workers': True,
    'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=4),
    'optim_wrapper.accumulative_counts': 3,
    'auto_scale_lr': None,
}
CASES = {
    'UperNet': ('segmentation', SEGMENTOR, 'iter_3', 'iter_5', ()),
    'CosubSegmentor': (
        'segmentation',
        SEGMENTOR | {'model.type': 'mmseg.CosubSegmentor'},
        'iter_3',
        'iter_5',
        (),
    ),
    'CosubClassifier': ('classification', CLASSIFIER, 'iter_4', 'iter_6', ()),
    'bf16': ('classification', CLASSIFIER, 'iter_4', 'iter_6', ('--amp', 'bf16')),
}


def tensors(value, path='') -> dict:
    if isinstance(value, dict):
        return {k: v for key in value for k, v in tensors(value[key], f'{path}.{key}').items()}
    return {path: value} if torch.is_tensor(value) else {}


@pytest.mark.parametrize('case', CASES)
def test_resumed_is_undisturbed(request, tmp_path, case):
    name, changes, middle, last, options = CASES[case]
    cfg = Config.fromfile(request.getfixturevalue(name))
    cfg.merge_from_dict(changes)
    path = tmp_path / 'random.py'
    cfg.dump(path)
    straight, run = tmp_path / 'straight', tmp_path / 'run'
    assert train.main([str(path), '--work-dir', str(straight), *options]) == 0
    run.mkdir()
    shutil.copy(straight / f'{middle}.pth', run)
    assert train.main([str(path), '--work-dir', str(run), '--resume', *options]) == 0
    one, other = (
        torch.load(folder / f'{last}.pth', weights_only=False) for folder in (straight, run)
    )
    for part in ('state_dict', 'optimizer'):
        here, there = tensors(one[part]), tensors(other[part])
        assert here and here.keys() == there.keys()
        assert not [key for key in here if not torch.equal(here[key], there[key])]
