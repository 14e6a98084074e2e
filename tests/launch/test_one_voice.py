"""Several processes that fail say it once, in words, and end with a code that means it."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from torch.distributed import DistStoreError

from cosub_mm.launch import torchrun
from cosub_mm.launch.distributed import open_process_group
from cosub_mm.launch.errors import UserError, run_tool

# A tool in a process of its own, which loads torch and two of our modules instead of everything.
TOOL = """
import atexit, os, signal, sys, time, types
for name, folder in (('cosub_mm', '{package}'), ('cosub_mm.engine', '{package}/engine')):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
import torch
from torch import distributed as dist
from cosub_mm.launch.errors import UserError, run_tool

class Slow(UserError):
    def __str__(self):
        time.sleep(2)
        return 'a long story'

def main(argv):
    case, rank = argv[0], int(os.environ['RANK'])
    if case == 'user':
        raise UserError('there is no such file')
    if case == 'slow':
        while rank and not os.listdir(os.environ['COSUB_ERRORS_FOLDER']).count('spoken'):
            time.sleep(.01)
        raise UserError('another') if rank else Slow
    dist.init_process_group('gloo')
    if case.startswith('torn'):
        atexit.register(tear, rank)
    dist.barrier()
    if rank == 1:
        if case == 'torn by an error':
            raise UserError('no such class')
        if case.startswith('killed'):
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError(case)
    if case == 'killed beside an abort':  # gloo's, before Python hears of the loss
        time.sleep(.02)
        os.abort()
    dist.all_reduce(torch.ones(1))

def tear(rank):
    # Process 1 fails, but process 0 is the first to be gone: gloo aborts it.
    if rank == 1:
        dist.destroy_process_group()
        time.sleep(2)
    os.abort()

sys.exit(run_tool(main, sys.argv[1:]))
"""


@pytest.fixture
def launch(tmp_path, monkeypatch, capfd):
    """torchrun in this process; what it leaves behind in one is undone."""
    before, handlers = dict(os.environ), {s: signal.getsignal(s) for s in signal.valid_signals()}
    for name in ('COSUB_DEBUG', 'RANK', 'WORLD_SIZE', 'CUDA_VISIBLE_DEVICES'):
        monkeypatch.delenv(name, raising=False)
    tool = tmp_path / 'tool.py'
    tool.write_text(TOOL.format(package=Path(torchrun.__file__).parents[1]))

    def run(*arguments: str, case: str = 'user') -> tuple[int, str]:
        code = torchrun.main([*arguments, str(tool), case])
        return code, capfd.readouterr().err

    yield run
    os.environ.clear()
    os.environ.update(before)
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def test_an_error_of_all_processes_is_one_line(launch):
    code, error = launch('--nproc-per-node=3', '--standalone')
    assert code == 2
    (line,) = error.splitlines()
    assert line.startswith('error') and line.endswith(': there is no such file')


def test_the_process_that_fails_prints_the_only_traceback(launch):
    start = time.monotonic()
    code, error = launch('--nproc-per-node=2', '--standalone', case='fault')
    assert code == 1 and time.monotonic() - start < 60
    assert error.count('Traceback') == 1 and 'ZeroDivisionError: fault' in error
    assert error.splitlines()[-1].startswith('error: process 1 failed, as it says above')


@pytest.mark.parametrize(('case', 'expected'), [('torn', 1), ('torn by an error', 2)])
def test_who_has_failed_is_blamed_though_another_ended_first(launch, case, expected):
    code, error = launch('--nproc-per-node=2', '--standalone', case=case)
    assert code == expected
    if expected == 1:
        assert error.count('Traceback') == 1 and 'ZeroDivisionError: torn' in error
        assert error.splitlines()[-1].startswith('error: process 1 failed, as it says above')
    else:
        assert error == 'error (process 1): no such class\n'


def test_who_speaks_is_let_finish(launch):
    assert launch('--nproc-per-node=2', '--standalone', case='slow') == (2, 'error: a long story\n')


@pytest.mark.parametrize('case', ['killed', 'killed beside an abort'])
def test_a_process_that_is_killed_is_named(launch, case):
    start = time.monotonic()
    code, error = launch('--nproc-per-node=2', '--standalone', case=case)
    assert code == 1 and time.monotonic() - start < 60
    (line,) = error.splitlines()
    assert line.startswith('error: process 1 was killed by SIGKILL, as the kernel does when memory')


def test_a_port_in_use(launch):
    with socket.create_server(('', 0)) as taken:
        port = taken.getsockname()[1]
        address = ('--master-addr=127.0.0.1', f'--master-port={port}')
        code, error = launch('--nnodes=1', '--nproc-per-node=2', '--node-rank=0', *address)
    assert code == 2
    (line,) = error.splitlines()
    assert line.startswith(f'error: port {port} of this machine is in use')


@pytest.mark.parametrize(
    ('node', 'said'), [(0, 'only 1 of 2 machines came within'), (1, 'the first machine did not')]
)
def test_a_machine_that_never_comes(launch, node, said):
    with socket.create_server(('', 0)) as free:
        port = free.getsockname()[1]
    where = ('--master-addr=127.0.0.1', f'--master-port={port}', '--rdzv-conf=timeout=1')
    code, error = launch('--nnodes=2', '--nproc-per-node=1', f'--node-rank={node}', *where)
    assert code == 2
    line = error.splitlines()[-1]
    assert line.startswith(f'error: {said}') and 'Traceback' not in error


@pytest.mark.parametrize(
    ('gpus', 'visible', 'said'),
    [
        (2, None, '4 processes were asked for on this machine, which has 2 GPU(s): start at most'),
        (1, '0,9', 'which has 1 GPU(s) that CUDA_VISIBLE_DEVICES=0,9 leaves: start at most 1'),
        (0, '0,1', 'CUDA_VISIBLE_DEVICES=0,1 names GPUs, but torch finds none'),
    ],
)
def test_too_few_gpus(launch, monkeypatch, gpus, visible, said):
    monkeypatch.setattr('torch.cuda.device_count', lambda: gpus)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    code, error = launch('--nproc-per-node=4', '--standalone')
    assert code == 2
    (line,) = error.splitlines()
    assert said in line


UNEQUAL = [
    ('pytorch', dict(RANK=4, WORLD_SIZE=12, LOCAL_RANK=0, LOCAL_WORLD_SIZE=8, GROUP_WORLD_SIZE=2)),
    (
        'slurm',
        dict(SLURM_PROCID=0, SLURM_NTASKS=12, SLURM_LOCALID=0, SLURM_STEP_TASKS_PER_NODE='8,4'),
    ),
]


@pytest.mark.parametrize(('launcher', 'environment'), UNEQUAL)
def test_machines_with_unequal_numbers_of_processes(launch, monkeypatch, launcher, environment):
    monkeypatch.setattr('cosub_mm.launch.distributed.end_with_parent', lambda: None)
    monkeypatch.setattr('torch.distributed.init_process_group', lambda backend: None)
    for name, value in dict(environment, MASTER_ADDR='head', MASTER_PORT=1).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match=r'runs 8 process.*together 12|unequal numbers .*8,4'):
        open_process_group(launcher)


def test_processes_that_do_not_meet_are_told_so(launch, monkeypatch):
    def wait(backend):
        raise DistStoreError('Timed out after 9 seconds waiting for clients. 3/4 clients joined.')

    monkeypatch.setattr('torch.distributed.init_process_group', wait)
    monkeypatch.setattr('cosub_mm.launch.distributed.end_with_parent', lambda: None)
    for name, value in dict(RANK=0, WORLD_SIZE=4, LOCAL_RANK=0).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match='only 3 of 4 processes came within 9 s'):
        open_process_group('pytorch')


@pytest.mark.parametrize('rank', [0, 3])
def test_without_our_launcher_the_others_wait_for_the_first(launch, monkeypatch, capfd, rank):
    """srun and mpirun end all when one has failed: whoever waits does not come to speak."""
    waited, sleep = [], time.sleep
    here = threading.get_ident()  # threads that other tests have left wait, too
    monkeypatch.setattr(
        time, 'sleep', lambda s: waited.append(s) if threading.get_ident() == here else sleep(s)
    )
    for name, value in dict(RANK=rank, WORLD_SIZE=4).items():
        monkeypatch.setenv(name, str(value))

    def wrong(argv):
        raise UserError('no such thing')

    assert run_tool(wrong) == 2
    assert sum(waited) == (6.5 if rank else 0)
    assert capfd.readouterr().err == f'error{" (process 3)" if rank else ""}: no such thing\n'
