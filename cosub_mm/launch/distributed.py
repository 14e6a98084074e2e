"""Process groups for machines with and without GPUs.

mmengine's own set-up calls ``torch.cuda.set_device`` for every launcher, so on a machine without a
GPU the group has to exist before the Runner asks for it.
"""

import gc
import os
import re
import subprocess
from datetime import timedelta

import torch
from torch import distributed as dist

from cosub_mm.processes import end_with_parent

from .rendezvous import network_errors

__all__ = [
    'LAUNCHERS',
    'check_gpus',
    'close_process_group',
    'global_rank',
    'open_process_group',
]

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

# launcher -> our names -> the names under which the launcher gives them
_LAUNCHER_ENV = {
    'pytorch': {'RANK': 'RANK', 'WORLD_SIZE': 'WORLD_SIZE', 'LOCAL_RANK': 'LOCAL_RANK'},
    'slurm': {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'},
    'mpi': {
        'RANK': 'OMPI_COMM_WORLD_RANK',
        'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
        'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
    },
}
_STARTED_BY = {
    'pytorch': 'tools/dist_train.sh CONFIG GPUS (torchrun)',
    'slurm': 'tools/slurm_train.sh (srun)',
    'mpi': 'mpirun',
}


def open_process_group(launcher: str, timeout: float | None = None) -> None:
    """Export the launcher's environment and, without GPUs, open a gloo group.

    With GPUs the Runner opens the group itself (NCCL, or what ``env_cfg.dist_cfg`` names).

    Args:
        launcher: one of :data:`LAUNCHERS`.
        timeout: seconds that a process of the gloo group waits for the others; None for torch's
            own (1,800).

    Raises:
        ValueError: the launcher's environment is missing, it started more processes on this machine
            than there are GPUs or than on another machine, or the processes do not meet.
    """
    if launcher == 'none':
        return
    if launcher not in _LAUNCHER_ENV:
        raise ValueError(f"launcher='{launcher}' is unknown; use one of {', '.join(LAUNCHERS)}.")
    _export_environment(launcher)
    if launcher == 'pytorch':
        end_with_parent()
    _check_equal_machines()
    check_gpus(int(os.environ.get('LOCAL_WORLD_SIZE', int(os.environ['LOCAL_RANK']) + 1)))
    if not torch.cuda.is_available() and not dist.is_initialized():
        options = {} if timeout is None else dict(timeout=timedelta(seconds=timeout))
        with network_errors():
            dist.init_process_group('gloo', **options)


def check_gpus(processes: int) -> None:
    """Refuse more processes on this machine than GPUs; one without any trains on the CPU.

    Raises:
        ValueError: there are fewer, or none although ``CUDA_VISIBLE_DEVICES`` names some.
    """
    gpus, named = torch.cuda.device_count(), os.environ.get('CUDA_VISIBLE_DEVICES')
    of = '' if named is None else f' that CUDA_VISIBLE_DEVICES={named} leaves'
    if 0 < gpus < processes:
        raise ValueError(
            f'{processes} processes were asked for on this machine, which has {gpus} GPU(s){of}: '
            f'start at most {gpus}.'
        )
    if gpus == 0 and named and named != '-1':
        raise ValueError(
            f'CUDA_VISIBLE_DEVICES={named} names GPUs, but torch finds none of them on this '
            f'machine (nvidia-smi shows what there is). Unset it to train on the CPU.'
        )


def _check_equal_machines() -> None:
    """Every machine has to run as many processes as the others.

    Raises:
        ValueError: saying how many this one runs, or what slurm gave.
    """
    names = ('WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'GROUP_WORLD_SIZE')
    world, local, machines = (int(os.environ.get(name, 0)) for name in names)
    if local and machines and local * machines != world:
        raise ValueError(
            f'this machine runs {local} process(es), all {machines} machines together {world}: '
            f'start as many on each, so that each takes its share of the batch.'
        )
    tasks = os.environ.get('SLURM_STEP_TASKS_PER_NODE', '')
    if ',' in tasks:
        raise ValueError(
            f'slurm gave the machines unequal numbers of processes ({tasks}): ask for a multiple '
            f'of GPUS_PER_NODE.'
        )


def _export_environment(launcher: str) -> None:
    names = _LAUNCHER_ENV[launcher]
    missing = [name for name in names.values() if name not in os.environ]
    if missing:
        raise ValueError(
            f"launcher '{launcher}' needs {', '.join(missing)} in the environment: start by "
            f'{_STARTED_BY[launcher]}, or leave --launcher out for a single process.'
        )
    for ours, theirs in names.items():
        os.environ[ours] = os.environ[theirs]
    # Jobs that share a machine take ports of their own.
    job = os.environ.get('SLURM_JOB_ID', '0')
    os.environ.setdefault('MASTER_PORT', str(29500 + int(job) % 1000))
    if 'MASTER_ADDR' not in os.environ:
        one_host = os.environ['WORLD_SIZE'] == '1' or launcher != 'slurm'
        os.environ['MASTER_ADDR'] = '127.0.0.1' if one_host else _first_slurm_host()


def _first_slurm_host() -> str:
    """The first machine of the job, where rank 0 runs."""
    nodes = os.environ.get('SLURM_JOB_NODELIST') or os.environ.get('SLURM_NODELIST', '')
    if re.fullmatch(r'[\w.-]+', nodes):
        return nodes
    hosts = subprocess.run(
        ['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True
    )
    return hosts.stdout.split()[0]


def close_process_group() -> None:
    """Destroy the process group, if there is one; torch complains of groups left open at exit.

    All processes wait for each other: gloo's threads abort a process whose peer is already gone.
    The models wrapped for the group go first; they sit in reference cycles of the Runner.
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.barrier()
        dist.destroy_process_group()


def global_rank() -> int:
    """Rank of this process, before and after the group exists; 0 for a single process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get('RANK', 0))
