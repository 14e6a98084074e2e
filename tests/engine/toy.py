"""A network of one layer and a runner for it, so that a training of epochs costs milliseconds."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset

from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances

BATCH = 2


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)

    def forward(self, x, mode='loss'):
        y = self.norm(self.layer(x))
        return dict(loss=y.square().mean() + y.mean()) if mode == 'loss' else [y]


@DATASETS.register_module(force=True)
class ToyData(Dataset):
    """Numbers. Built from a config, so that a checkpoint records data only."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> dict:
        return dict(x=torch.full((3,), float(index)))


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Worse or better as the test says, by the number of evaluations so far."""

    values: tuple = (1.0,)
    calls = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        value = self.values[min(type(self).calls, len(self.values) - 1)]
        type(self).calls += 1
        return dict(score=value)


def config(work_dir: Path, images: int = 6, **changes) -> Config:
    """A config of a training of ``images`` / 2 steps an epoch."""
    cfg = dict(
        model=dict(type='ToyModel'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type='ToyData', images=images),
            batch_size=BATCH,
            num_workers=0,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=4),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        default_scope='mmengine',
        randomness=dict(seed=0),
    )
    validation = dict(
        val_dataloader=dict(cfg['train_dataloader'], dataset=dict(type='ToyData', images=2)),
        val_cfg=dict(),
        val_evaluator=dict(type='ToyMetric'),
    )
    if changes.pop('validate', False):
        cfg |= validation
    cfg |= changes
    if cfg['train_cfg'].get('type') == 'IterBasedTrainLoop':  # mmengine sleeps between two epochs
        sampler = dict(type='InfiniteSampler', shuffle=False)
        cfg['train_dataloader'] = dict(cfg['train_dataloader'], sampler=sampler)
    return Config(cfg)


def built(cfg: Config) -> CosubRunner:
    """A runner with everything built, as the tools have it before they train."""
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
    runner.train_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.val_loop
    return runner
