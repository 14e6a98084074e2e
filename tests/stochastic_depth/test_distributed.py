"""Two gloo processes: DDP without unused parameters, and FSDP on the CPU."""

import os
import socket
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn

from cosub_mm.stochastic_depth import StochasticDepth, apply_stochastic_depth

RATE = 0.8  # of 3 rows .6 are kept: often none


def _vit(implementation='subset', rate=RATE):
    torch.manual_seed(0)
    model = timm.create_model(
        'vit_tiny_patch16_224', depth=3, embed_dim=24, img_size=32, num_classes=5
    )
    apply_stochastic_depth(model, rate, implementation=implementation)
    return model.train()


def _rows(model, kept):
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.register_forward_hook(
                lambda m, a, out: kept.append(out.flatten(1).abs().sum(1) > 0)
            )


def _main(job, rank, port, folder):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=int(rank), world_size=2)
    torch.save(JOBS[job](int(rank)), f'{folder}/{job}{rank}.pt')
    while not all(Path(folder, f'{job}{other}.pt').exists() for other in (0, 1)):
        time.sleep(0.05)
    # Leave without tearing gloo down: now and then its threads abort a process at exit.
    os._exit(0)


def _spawn(job, folder):
    """Run a job of this file in two processes and return what each of them saves."""
    from tests import fresh  # the jobs run this file without tests

    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = str(sock.getsockname()[1])
    root = Path(__file__).parents[2]
    both = [[__file__, job, rank, port, folder] for rank in range(2)]
    for process in fresh.run_together(both, env={**os.environ, 'PYTHONPATH': str(root)}):
        assert process.returncode == 0, process.stderr
    return [torch.load(folder / f'{job}{rank}.pt') for rank in range(2)]


def _ddp_job(rank):
    model = nn.parallel.DistributedDataParallel(_vit(), find_unused_parameters=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = []
    _rows(model, kept)
    torch.manual_seed(100 + rank)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.ones(3, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    weights = {k: v.clone() for k, v in model.module.state_dict().items()}
    return dict(kept=torch.stack(kept), weights=weights)


def test_ddp_without_unused_parameters_when_few_rows_are_kept(tmp_path):
    first, second = _spawn('ddp', tmp_path)
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
    assert not first['kept'].any(1).all(), 'some branch must have kept no row for this test'
    assert not torch.equal(first['kept'], second['kept']), 'ranks must draw their own rows'


def _fsdp_job(rank, implementation):
    from torch.distributed.fsdp import fully_shard

    model = _vit(implementation, 0.5).double()
    for block in model.blocks:
        fully_shard(block.attn)
        fully_shard(block)
    fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    torch.manual_seed(100 + rank)
    x = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    return {k: v.full_tensor().detach() for k, v in model.named_parameters()}


def test_fsdp_gives_the_weights_of_masking(tmp_path):
    from tests.stochastic_depth.oldest import OLD_TORCH  # the jobs run this file without tests

    if OLD_TORCH:
        pytest.skip('torch 2.6 has no FSDP2 on the CPU')
    results = {job: _spawn(job, tmp_path) for job in ('mask', 'subset')}
    start = dict(_vit().named_parameters())
    moved = 0
    for name, weight in results['mask'][0].items():
        torch.testing.assert_close(
            results['subset'][0][name], weight, rtol=1e-9, atol=1e-9, msg=name
        )
        moved += not torch.allclose(weight.float(), start[name], atol=1e-7)
    assert moved > 30


JOBS = {
    'ddp': _ddp_job,
    'mask': partial(_fsdp_job, implementation='mask'),
    'subset': partial(_fsdp_job, implementation='subset'),
}

if __name__ == '__main__':
    _main(*sys.argv[1:])
