"""A run that is killed and resumed is, bit by bit, the run that nobody disturbed."""

import json
import math
import multiprocessing
import os
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import DATA_SAMPLERS, DATASETS, METRICS, MODELS
from torch import distributed as dist
from torch import nn
from torch.amp import GradScaler
from torch.utils.data import Dataset, RandomSampler

from cosub_mm.engine.hooks import ValidatedBuffersHook
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.distributed import close_process_group
from cosub_mm.launch.isolation import own_instances
from tests import fresh
from tests.engine.toy import config


@MODELS.register_module(force=True)
class RandomModel(BaseModel):
    """Draws from every source, and has a state of its own: the statistics of a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.last = nn.Linear(8, 2)

    def forward(self, x, mode='loss'):
        if mode == 'predict':
            return self.last(self.net(x)).flatten().tolist()
        y = self.last(self.net(x)) * (1 + random.random() + np.random.rand())
        return dict(loss=y.square().mean() + y.mean())


@MODELS.register_module(force=True)
class CentredModel(RandomModel):
    """Gives itself a new buffer in each step, as DINO's centre of the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('center', torch.zeros(3))

    def forward(self, x, mode='loss'):
        if mode == 'loss':
            self.center = 0.9 * self.center + 0.1 * x.mean(0)
        return super().forward(x, mode)


@DATA_SAMPLERS.register_module(force=True)
class TorchSampler(RandomSampler):
    """Draws its order from torch's global generator, as samplers of torch do."""

    def __init__(self, dataset: Dataset, seed: int | None = None, shuffle: bool = True) -> None:
        super().__init__(dataset)


@DATASETS.register_module(force=True)
class RandomData(Dataset):
    """Pictures with augmentation from every source; counts what this process reads."""

    reads = 0

    def __init__(self, images: int) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> dict:
        RandomData.reads += 1
        return dict(x=torch.rand(3) + index / 9 + random.random() + np.random.rand())


@METRICS.register_module(force=True)
class Outputs(BaseMetric):
    """A score in which every output counts, so also the statistics of the norm."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(score=math.fsum(results))


class Kill(Hook):
    priority = 'LOWEST'

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.steps:
            raise KeyboardInterrupt


def by_iteration(interval: int) -> dict:
    return dict(default_hooks=dict(checkpoint=checkpoints(interval), logger=LOGGER))


def checkpoints(interval: int) -> dict:
    return dict(type='CheckpointHook', by_epoch=False, interval=interval)


LOGGER = dict(type='LoggerHook', interval=1)
ITERATIONS = dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=20)) | by_iteration(4)
WORKERS = dict(num_workers=2)
PERSISTENT = dict(num_workers=2, persistent_workers=True)
FINITE = dict(sampler=dict(type='DefaultSampler', shuffle=True))
TORCH = dict(sampler=dict(type='TorchSampler'))
EMA = dict(custom_hooks=[dict(type='EMAHook', momentum=0.1, update_buffers=True)])
OVER_3 = dict(
    optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1), accumulative_counts=3),
)
# A scale that grows behind every third step of the optimizer.
SCALER = dict(
    optim_wrapper=dict(
        type='AmpOptimWrapper',
        loss_scale=dict(init_scale=8.0, growth_interval=3),
        dtype='bfloat16',
        optimizer=dict(type='Adam', lr=0.1),
        accumulative_counts=2,
    ),
)
# Name: changes of the config, of its loader, the checkpoint, and the step that is the last.
CASES = {
    'epochs': ({}, {}, 'epoch_1', 14),
    'workers': ({}, WORKERS, 'epoch_1', 14),
    'persistent workers': ({}, PERSISTENT, 'epoch_1', 14),
    'middle of an epoch': (by_iteration(7), {}, 'iter_7', 9),
    'end of an epoch by iteration': (by_iteration(5), {}, 'iter_10', 13),
    'middle, persistent workers': (by_iteration(7), PERSISTENT, 'iter_14', 16),
    'average of weights': (EMA, {}, 'epoch_1', 14),
    'iterations': (ITERATIONS, {}, 'iter_8', 10),
    'iterations, workers': (ITERATIONS, PERSISTENT, 'iter_8', 10),
    'iterations, epochs in the sampler': (ITERATIONS, FINITE | WORKERS, 'iter_12', 13),
    'loss scaler': (SCALER, {}, 'epoch_1', 14),
    'gathered, loss scaler': (SCALER | by_iteration(9), {}, 'iter_9', 12),
    'gathered, epoch': (OVER_3 | EMA, {}, 'epoch_1', 14),
    'gathered, middle': (OVER_3 | by_iteration(7), {}, 'iter_7', 9),
    'gathered, middle, two epochs': (OVER_3 | by_iteration(11), PERSISTENT, 'iter_11', 13),
    'gathered, new buffers': (
        OVER_3 | by_iteration(7) | dict(model=dict(type='CentredModel')),
        {},
        'iter_7',
        9,
    ),
    'sampler of torch': (by_iteration(7), TORCH, 'iter_7', 9),
    'iterations, sampler of torch': (ITERATIONS, TORCH, 'iter_8', 10),
    'gathered, iterations': (OVER_3 | ITERATIONS, WORKERS, 'iter_8', 10),
    'gathered, iterations, two passes': (
        OVER_3 | ITERATIONS | by_iteration(11),
        FINITE,
        'iter_11',
        13,
    ),
}


def make(work_dir, changes, loader, **more):
    changes = (
        dict(
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=LOGGER),
            param_scheduler=dict(type='PolyLR', by_epoch=False, end=20),
            custom_hooks=[],
            model=dict(type='RandomModel'),
        )
        | changes
    )
    changes['custom_hooks'] = [dict(type='EpochSeedHook'), *changes['custom_hooks']]
    cfg = config(work_dir, images=20, **changes, **more)
    cfg.train_dataloader.dataset.type = 'RandomData'
    if 'val_evaluator' in cfg:
        cfg.val_evaluator.type = 'Outputs'
        cfg.val_dataloader.dataset.images = 8
    cfg.train_dataloader.sampler.shuffle = True
    cfg.train_dataloader.update(loader)
    return cfg


def train(cfg, steps=None) -> None:
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        runner.register_hook(Kill(steps))
        runner.register_hook(ValidatedBuffersHook())
        try:
            runner.train()
        finally:  # or torch waits five seconds for each when the runner is collected as garbage
            for worker in multiprocessing.active_children():
                worker.terminate()


def history(work_dir) -> dict:
    """Losses, rates and scores of all starts of a run; a later start has the last word."""
    lines = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda f: f.stat().st_mtime):
        for line in map(json.loads, file.read_text().splitlines()):
            if 'score' in line:  # by epoch, and behind the epoch's last step
                lines[f'epoch {line["step"]}'] = line['score']
            else:
                lines[line['step']] = line['loss'], line['lr']
    return lines


def state(work_dir, name: str) -> dict:
    """Everything in a checkpoint that a training has learned, drawn or logged."""
    checkpoint = torch.load(work_dir / f'{name}.pth', weights_only=False)
    kept = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    scalars = checkpoint['message_hub']['log_scalars']
    logged = {k: v.data for k, v in scalars.items() if 'time' not in k}
    return {key: checkpoint[key] for key in kept if key in checkpoint} | dict(logged=logged)


def differences(one, other, path='') -> list[str]:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        return [d for key in one for d in differences(one[key], other[key], f'{path}.{key}')]
    if isinstance(one, list | tuple):
        assert len(one) == len(other), path
        return [d for i in range(len(one)) for d in differences(one[i], other[i], f'{path}.{i}')]
    same = torch.equal(one, other) if torch.is_tensor(one) else np.array_equal(one, other)
    return [] if same else [path]


# Other distributions install a package `tests`; pytest imports this one as its own.
START = """
import pathlib, sys, types
root, rank, folder = sys.argv[1:]
sys.modules['tests'] = package = types.ModuleType('tests')
package.__path__ = [f'{root}/tests']
from tests.engine.test_exact_resume import process_of_two
process_of_two(int(rank), pathlib.Path(folder))
"""


def process_of_two(rank: int, folder: Path) -> None:
    """Undisturbed, killed and resumed; 5 steps an epoch, and a resume between two optimizer steps.

    The processes share the file system, so that each finds the checkpoint of the first.
    """
    dist.init_process_group('gloo', rank=rank, world_size=2, init_method=f'file://{folder}/store')
    changes = OVER_3 | EMA | by_iteration(7) | dict(validate=True, launcher='pytorch')
    straight, run = folder / 'straight', folder / 'run'
    train(make(straight, changes, {}))
    with pytest.raises(KeyboardInterrupt):
        train(make(run, changes, {}), 8)
    train(make(run, changes, {}, resume=True, load_from=str(run / 'iter_7.pth')))
    close_process_group()  # or the one that is left is aborted


def test_two_processes(tmp_path):
    root = Path(__file__).parents[2]
    env = dict(os.environ, PYTHONPATH=str(root), GLOO_SOCKET_IFNAME='lo', LOCAL_RANK='0')
    both = [['-c', START, root, rank, tmp_path] for rank in (0, 1)]
    for process in fresh.run_together(both, env=env):
        assert process.returncode == 0, process.stderr
    straight, run = tmp_path / 'straight', tmp_path / 'run'
    assert not differences(state(straight, 'iter_10'), state(run, 'iter_10'))
    assert len(history(straight)) == 12 and history(run) == history(straight)


@pytest.mark.parametrize('case', CASES)
def test_resumed_is_undisturbed(tmp_path, monkeypatch, case):
    changes, loader, checkpoint, killed_at = CASES[case]
    if 'scaler' in case:  # mmengine's wrapper wants a GPU, torch's scaler does not
        monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
        monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(GradScaler, 'cpu'))
    straight, run = tmp_path / 'straight', tmp_path / 'run'
    train(make(straight, changes, loader))
    with pytest.raises(KeyboardInterrupt):
        train(make(run, changes, loader), killed_at)
    start = str(run / f'{checkpoint}.pth')
    RandomData.reads = 0
    train(make(run, changes, loader, resume=True, load_from=start))
    last = max(straight.glob('*.pth'), key=lambda file: file.stat().st_mtime).stem
    assert last in ('epoch_2', 'iter_20')
    assert not differences(state(straight, last), state(run, last))
    assert len(history(straight)) == 20 and history(run) == history(straight)
    # What is left, and what has to be computed again; nothing else is read.
    steps = 20 - int(checkpoint.split('_')[1]) * (10 if 'epoch' in checkpoint else 1)
    counts = changes.get('optim_wrapper', {}).get('accumulative_counts', 1)
    again = (20 - steps) % counts
    assert bool(again) == ('gathered' in case)
    assert RandomData.reads == (0 if loader.get('num_workers') else 2 * (steps + again))
