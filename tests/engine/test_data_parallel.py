"""Two processes take the steps of one with the same global batch."""

import multiprocessing
import os

import pytest
import torch
from mmengine.registry import MODELS
from torch import distributed as dist

from tests.engine.toy import ToyModel, built, config

ADAMW = dict(optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=0.1))
LAMB = dict(optimizer=dict(type='CosubLamb', lr=0.01, weight_decay=0.1, max_grad_norm=0.1))
DATA = torch.arange(36, dtype=torch.float64).sin().view(3, 4, 3)


@MODELS.register_module(force=True)
class ToyDouble(ToyModel):
    def __init__(self) -> None:
        super().__init__()
        self.double()
        for param in self.parameters():
            with torch.no_grad():
                param.copy_(torch.linspace(0.3, 1, param.numel()).view_as(param))

    def forward(self, x, mode='loss'):
        return dict(loss=self.norm(self.layer(x)).exp().mean())


def train(folder, rank: int, world: int, wrapper: dict) -> dict:
    """The weights after three steps on this process's share of each batch."""
    launcher = 'pytorch' if world > 1 else 'none'
    runner = built(
        config(folder, model=dict(type='ToyDouble'), optim_wrapper=wrapper, launcher=launcher)
    )
    share = 4 // world
    for batch in DATA:
        part = batch[rank * share : (rank + 1) * share]
        runner.model.train_step(dict(x=part), runner.optim_wrapper)
    model = runner.model.module if world > 1 else runner.model
    return {name: value.clone() for name, value in model.state_dict().items()}


def job(folder, rank: int, wrapper: dict) -> None:
    os.environ.update(LOCAL_RANK=str(rank), MKL_NUM_THREADS='1')
    store = dist.FileStore(str(folder / 'store'), 2)
    dist.init_process_group('gloo', store=store, rank=rank, world_size=2)
    torch.save(train(folder, rank, 2, wrapper), folder / f'{rank}.pt')
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a forked process that tears them down


@pytest.mark.parametrize('wrapper', [ADAMW, LAMB], ids=['AdamW', 'CosubLamb'])
def test_steps_equal_those_of_one_process(tmp_path, monkeypatch, wrapper):
    """Clipping is active: its norm, and LAMB's trust ratios, are those of the whole batch."""
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    expected = train(tmp_path / 'one', 0, 1, wrapper)
    fork = multiprocessing.get_context('fork')
    jobs = [fork.Process(target=job, args=(tmp_path, rank, wrapper)) for rank in (0, 1)]
    for process in jobs:
        process.start()
    for process in jobs:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in jobs] == [0, 0]
    for rank in (0, 1):
        weights = torch.load(tmp_path / f'{rank}.pt')
        torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-14)
