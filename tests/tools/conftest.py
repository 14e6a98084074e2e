"""Tiny data sets, configs and runs that the tests of the tools share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSIFICATION = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['cosub_mm'], allow_failed_imports=False)
model = dict(
    type='CosubClassifier',
    backbone=dict(
        type='CosubViT', img_size=32, patch_size=8, drop_path_rate=0.3,
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32,
              loss=dict(type='CrossEntropyLoss')),
    data_preprocessor=dict(
        num_classes=3, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True, to_onehot=True))
pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=6, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='{data}', data_prefix='train',
                 pipeline=pipeline))
val_dataloader = dict(
    batch_size=6, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='{data}', data_prefix='val',
                 pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='Lamb', lr=2e-2, weight_decay=0.05, eps=1e-8))
param_scheduler = dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=6)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', interval=1))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
randomness = dict(seed=3)
"""

SEGMENTATION = """
default_scope = 'mmseg'
custom_imports = dict(imports=['cosub_mm'], allow_failed_imports=False)
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[64.0] * 3,
                           bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size=(32, 32)),
    backbone=dict(
        type='mmpretrain.CosubViT', img_size=32, patch_size=8, out_type='featmap',
        drop_path_rate=0.3,
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    decode_head=dict(type='FCNHead', in_channels=32, channels=16, num_convs=1, num_classes=3,
                     norm_cfg=norm_cfg, loss_decode=dict(type='CrossEntropyLoss')),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
meta = dict(classes=('left', 'right', 'dot'), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
            dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)),
                 dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
dataset = dict(type='BaseSegDataset', data_root='{data}', metainfo=meta, img_suffix='.png',
               data_prefix=dict(img_path='images', seg_map_path='labels'))
train_dataloader = dict(batch_size=4, num_workers=0,
                        sampler=dict(type='InfiniteSampler', shuffle=True),
                        dataset=dict(dataset, pipeline=pipeline))
val_dataloader = dict(batch_size=1, num_workers=0,
                      sampler=dict(type='DefaultSampler', shuffle=False),
                      dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.01))
param_scheduler = dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False)
custom_hooks = [dict(type='EmptyCacheHook')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=30, val_interval=30)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(logger=dict(type='LoggerHook', interval=10, log_metric_by_epoch=False),
                     checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=30))
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')],
                  name='visualizer')
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
randomness = dict(seed=3)
"""

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def _write_classes(root: Path, per_class: int, rng: np.random.Generator) -> None:
    for name, colour in zip('abc', COLOURS):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            noise = rng.integers(-30, 30, (32, 32, 3))
            picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / name / f'{i}.png')


@pytest.fixture(scope='session')
def classes_root(tmp_path_factory) -> Path:
    """Three classes of noisy colours, told apart by a few steps of training."""
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    _write_classes(root / 'train', 6, rng)
    _write_classes(root / 'val', 2, rng)
    return root


@pytest.fixture(scope='session')
def scenes_root(tmp_path_factory) -> Path:
    """Pictures of a left and a right half in two colours, with a dot."""
    root = tmp_path_factory.mktemp('scenes')
    (root / 'images').mkdir()
    (root / 'labels').mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        labels = np.zeros((32, 32), np.uint8)
        labels[:, rng.integers(8, 24) :] = 1
        row, column = rng.integers(4, 24, 2)
        labels[row : row + 8, column : column + 8] = 2
        noise = rng.integers(-30, 30, (32, 32, 3))
        picture = np.clip(np.array(COLOURS)[labels] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(root / 'images' / f'{i}.png')
        Image.fromarray(labels).save(root / 'labels' / f'{i}.png')
    return root


@pytest.fixture(scope='session')
def classification(tmp_path_factory, classes_root) -> Path:
    """A config file of a tiny cosub classifier."""
    path = tmp_path_factory.mktemp('configs') / 'tiny_cls.py'
    path.write_text(CLASSIFICATION.replace('{data}', str(classes_root)))
    return path


@pytest.fixture(scope='session')
def segmentation(tmp_path_factory, scenes_root) -> Path:
    """A config file of a tiny segmentor."""
    path = tmp_path_factory.mktemp('configs') / 'tiny_seg.py'
    path.write_text(SEGMENTATION.replace('{data}', str(scenes_root)))
    return path


@pytest.fixture(scope='session')
def trained_classifier(tmp_path_factory, classification) -> Path:
    """The work dir of the classifier after its two epochs."""
    from tools import train

    work_dir = tmp_path_factory.mktemp('runs') / 'cls'
    assert train.main([str(classification), '--work-dir', str(work_dir), '--tensorboard']) == 0
    return work_dir


@pytest.fixture(scope='session')
def trained_segmentor(tmp_path_factory, segmentation) -> Path:
    """The work dir of the segmentor after its thirty steps."""
    from tools import train

    work_dir = tmp_path_factory.mktemp('runs') / 'seg'
    assert train.main([str(segmentation), '--work-dir', str(work_dir)]) == 0
    return work_dir
