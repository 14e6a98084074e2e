"""Two processes of which only one has the fault: neither takes the step, neither saves."""

import os

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from torch import distributed as dist
from torch import multiprocessing as mp

from cosub_mm.engine.finite import NonFiniteWeightsError
from cosub_mm.engine.hooks import FiniteLossHook
from cosub_mm.engine.runner import CosubRunner
from tests.engine.toy import ToyModel, config


@MODELS.register_module(force=True)
class OneSickRank(ToyModel):
    def forward(self, x, mode='loss'):
        loss = super().forward(x, mode)
        sick = dist.get_rank() == 1 and float(x[0, 0]) == 5
        # No gradient: what DistributedDataParallel sums up stays finite.
        return dict(loss=loss['loss'] + (float('nan') if sick else 0.0))


class Notes(Hook):
    def __init__(self, poison: bool) -> None:
        self.poison, self.moved = poison, []

    def before_train_iter(self, runner, *args, **kwargs):
        self.before = runner.model.module.layer.weight.detach().clone()

    def after_train_iter(self, runner, *args, **kwargs):
        weight = runner.model.module.layer.weight
        self.moved.append(not torch.equal(weight, self.before))
        if self.poison and dist.get_rank() == 1:
            weight.data[0] = float('nan')


def work(rank: int, folder, poison: bool) -> None:
    os.environ['LOCAL_RANK'] = str(rank)
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    cfg = config(folder / 'run', images=12, train_cfg=dict(by_epoch=True, max_epochs=1))
    cfg.model, cfg.launcher = dict(type='OneSickRank'), 'pytorch'
    cfg.env_cfg = dict(dist_cfg=dict(backend='gloo'))
    notes = Notes(poison)
    runner = CosubRunner.from_cfg(cfg)
    runner.register_hook(FiniteLossHook())
    runner.register_hook(notes)
    raised = ''
    try:
        runner.train()
    except NonFiniteWeightsError as error:
        raised = str(error)
    torch.save((notes.moved, raised), folder / f'{rank}.pt')


@pytest.mark.parametrize('poison', [False, True], ids=['loss', 'weights'])
def test_the_fault_of_one_process_is_that_of_both(poison, tmp_path, capfd):
    mp.start_processes(work, args=(tmp_path, poison), nprocs=2, start_method='fork')
    (moved, raised), (other, other_raised) = (torch.load(tmp_path / f'{r}.pt') for r in (0, 1))
    if poison:
        assert 'another process' in raised and 'layer.weight' in other_raised
        assert not list(tmp_path.rglob('*.pth'))
        return
    assert moved == other == [True, False, True]
    assert not raised and not other_raised
    log = ''.join(file.read_text() for file in tmp_path.rglob('*.log'))
    assert 'process 1 has the loss nan' in log
    assert capfd.readouterr().out.count('Iteration 2 is left out') == 1
    names = sorted(file.name for file in tmp_path.rglob('bad_steps/*'))
    assert names == ['iter_2_rank_0.pt', 'iter_2_rank_1.pt']
