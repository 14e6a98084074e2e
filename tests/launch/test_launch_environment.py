"""What each launcher calls the place of a process, and what torch reads."""

import os

import pytest
import torch
from torch import distributed as dist

from cosub_mm.launch.distributed import open_process_group

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """No group is opened, nothing of a launcher is set, and scontrol knows two machines."""
    for name in [*NAMES, *(n for n in os.environ if n.startswith(('SLURM_', 'OMPI_')))]:
        monkeypatch.setenv(name, '')  # so that what is exported goes again
        monkeypatch.delenv(name)
    monkeypatch.setattr(dist, 'is_initialized', lambda: True)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\necho node07\necho node08\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    return monkeypatch


def exported() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in NAMES}


@pytest.mark.parametrize(
    ('nodes', 'first'), [('node[07-08]', 'node07'), ('node-a.cluster', 'node-a.cluster')]
)
def test_slurm(environment, nodes, first):
    """Process 11 of 16 is number 3 on its machine; rank 0 runs on the first machine."""
    for name, value in dict(PROCID='11', NTASKS='16', LOCALID='3', JOB_NODELIST=nodes).items():
        environment.setenv(f'SLURM_{name}', value)
    open_process_group('slurm')
    assert exported() == dict(
        RANK='11', WORLD_SIZE='16', LOCAL_RANK='3', MASTER_ADDR=first, MASTER_PORT='29500'
    )


def test_mpi_and_what_the_user_set(environment):
    for name, value in dict(RANK='5', SIZE='8', LOCAL_RANK='1').items():
        environment.setenv(f'OMPI_COMM_WORLD_{name}', value)
    environment.setenv('MASTER_PORT', '1234')
    environment.setenv('MASTER_ADDR', 'head')
    open_process_group('mpi')
    assert exported() == dict(
        RANK='5', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='head', MASTER_PORT='1234'
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='the Runner opens the group then')
def test_the_time_out_of_the_config_holds_for_gloo(environment):
    asked = {}
    environment.setattr(dist, 'is_initialized', lambda: False)
    environment.setattr(dist, 'init_process_group', lambda *a, **kw: asked.update(kw))
    for name, value in dict(RANK='0', SIZE='1', LOCAL_RANK='0').items():
        environment.setenv(f'OMPI_COMM_WORLD_{name}', value)
    open_process_group('mpi', 5)
    assert asked['timeout'].total_seconds() == 5
