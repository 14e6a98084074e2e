"""Every strategy in real runs: stopped and resumed, and in two processes."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch import distributed as dist
from torch.utils.data import Dataset

from cosub_mm.engine.checkpoints import choose_weights
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.distributed import close_process_group
from cosub_mm.launch.isolation import own_instances
from tests import fresh
from tests.models.classifiers.strategies import CLASSES, NAMES, batch, build, checkpoint, config


@DATASETS.register_module(force=True)
class StrategyData(Dataset):
    """Pictures of noise."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        image = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(index))
        return dict(inputs=image, data_samples=DataSample().set_gt_label(index % CLASSES))


class Kill(Hook):
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            raise KeyboardInterrupt


def run_config(name: str, folder: Path, work_dir: Path, **changes) -> Config:
    return Config(
        dict(
            model=config(name, folder),
            work_dir=str(work_dir),
            train_dataloader=dict(
                dataset=dict(type='StrategyData'),
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
                logger=dict(type='LoggerHook', interval=1),
            ),
            custom_hooks=[dict(type='EpochSeedHook')],
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            visualizer=None,
            **changes,
        )
    )


def train(cfg: Config, *hooks: Hook) -> CosubRunner:
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        for hook in hooks:
            runner.register_hook(hook)
        runner.train()
    return runner


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher')
    checkpoint(path)
    return path


@pytest.mark.parametrize('name', NAMES)
def test_stopped_and_resumed(name, folder, tmp_path):
    """Weights, optimizer and what the strategy keeps, equal to those of an undisturbed run."""
    straight, run = tmp_path / 'straight', tmp_path / 'run'
    train(run_config(name, folder, straight))
    with pytest.raises(KeyboardInterrupt):
        train(run_config(name, folder, run), Kill())
    start = str(run / 'iter_2.pth')
    train(run_config(name, folder, run, resume=True, load_from=start))
    one, other = (torch.load(d / 'iter_4.pth', weights_only=False) for d in (straight, run))
    kept = ['state_dict'] + ['mean_teacher'] * ('MeanTeacher' in name)
    for key in kept:
        assert one[key].keys() == other[key].keys()
        assert all(torch.equal(one[key][k], other[key][k]) for k in one[key]), key
    begun = torch.load(start, weights_only=False)
    assert any(not torch.equal(v, begun['state_dict'][k]) for k, v in one['state_dict'].items())
    assert not any('teacher' in key for key in one['state_dict'])
    if 'MeanTeacher' in name:
        chosen = choose_weights(one, 'file', key='mean_teacher').tensors
        assert chosen.keys() == one['state_dict'].keys() and one['mean_teacher']['steps'] == 4


def test_the_mean_teacher_counts_steps_of_the_optimizer(folder, tmp_path):
    cfg = run_config('MeanTeacherClassifier', folder, tmp_path)
    cfg.optim_wrapper.accumulative_counts = 2
    runner = train(cfg)
    assert runner.iter == 4 and runner.model.updates == 2


def test_a_run_that_goes_on_without_its_mean_teacher(folder, tmp_path):
    cfg = run_config('MeanTeacherClassifier', folder, tmp_path)
    train(cfg)
    file = tmp_path / 'iter_2.pth'
    saved = torch.load(file, weights_only=False)
    del saved['mean_teacher']
    torch.save(saved, file)
    cfg.update(resume=True, load_from=str(file))
    with pytest.raises(ValueError, match="iteration 2, and its checkpoint holds no 'mean_teacher'"):
        train(cfg)


# Other distributions install a package `tests`; pytest imports this one as its own.
START = """
import pathlib, sys, types
root, rank, folder = sys.argv[1:]
sys.modules['tests'] = package = types.ModuleType('tests')
package.__path__ = [f'{root}/tests']
from tests.engine.test_strategy_runs import process_of_two
process_of_two(int(rank), pathlib.Path(folder))
"""


def process_of_two(rank: int, folder: Path) -> None:
    """Two steps of each strategy; an unused parameter would be an error in the second."""
    dist.init_process_group('gloo', rank=rank, world_size=2, init_method=f'file://{folder}/store')
    for name in NAMES:
        model = build(name, folder)
        if hasattr(model, 'start_teacher'):
            model.start_teacher()
        ddp = MMDistributedDataParallel(model, device_ids=None)
        synchronised = []

        def count(_, bucket, synchronised=synchronised):
            synchronised.append(bucket.index())
            work = dist.all_reduce(bucket.buffer().div_(2), async_op=True)
            return work.get_future().then(lambda future: future.value()[0])

        ddp.register_comm_hook(None, count)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        for step in range(2):
            x, _, samples = batch(seed=2 * step + rank)
            torch.manual_seed(step)
            loss = model.parse_losses(ddp(x, samples, mode='loss'))[0]
            wrapper.update_params(loss)
            # Each bucket once in a step, however many backward passes the step has.
            assert len(synchronised) == len(set(synchronised)), name
            synchronised.clear()
        torch.save(model.state_dict(), folder / f'{name}_{rank}.pth')
    close_process_group()


def test_two_processes(tmp_path):
    root = Path(__file__).parents[2]
    checkpoint(tmp_path)
    env = dict(os.environ, PYTHONPATH=str(root), GLOO_SOCKET_IFNAME='lo', LOCAL_RANK='0')
    both = [['-c', START, root, rank, tmp_path] for rank in (0, 1)]
    for process in fresh.run_together(both, env=env):
        assert process.returncode == 0, process.stderr
    for name in NAMES:
        one, other = (torch.load(tmp_path / f'{name}_{rank}.pth') for rank in (0, 1))
        assert all(torch.equal(one[key], other[key]) for key in one), name
        if name == 'MaskSubClassifier':  # nothing but the batches differs: the mean of both
            expected = both_batches(tmp_path)
            for key in one:
                torch.testing.assert_close(one[key], expected[key], rtol=1e-9, atol=1e-12)


def both_batches(folder: Path) -> dict:
    """Two steps of one process on the mean gradient of the two processes' batches."""
    model = build('MaskSubClassifier', folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        for rank in (0, 1):
            x, _, samples = batch(seed=2 * step + rank)
            torch.manual_seed(step)
            (model.parse_losses(model(x, samples, mode='loss'))[0] / 2).backward()
        optimizer.step()
    return model.state_dict()
