"""tools/dist_train.sh and dist_test.sh with two real processes on the CPU."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from tools import test as test_tool
from tools.model_converters import publish_model

ROOT = Path(__file__).parents[2]

# Writes what each process ends with, so that the test can compare them.
DUMP = """
import os
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DumpRank(Hook):
    def after_train(self, runner):
        state = {{k: v.clone() for k, v in runner.model.module.named_parameters()}}
        norms = [type(m).__name__ for m in runner.model.modules()]
        torch.save(dict(state=state, modules=norms, world=runner.world_size,
                        draw=torch.rand(1)),
                   os.path.join({folder!r}, f'rank{{runner.rank}}.pt'))
"""


def script(name: str, *args: str, path: Path | str = '') -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')}
    env.update(PYTHON=sys.executable, OMP_NUM_THREADS='1', PYTHONPATH=str(path))
    command = [str(ROOT / 'tools' / name), *args]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_two_processes_train_and_agree(segmentation, tmp_path):
    """A model with SyncBN, which exists on GPUs only, trains by gloo; both ranks end equal."""
    (tmp_path / 'dump_rank.py').write_text(DUMP.format(folder=str(tmp_path)))
    config = tmp_path / 'tiny_seg.py'
    text = segmentation.read_text().replace("['cosub_mm']", "['cosub_mm', 'dump_rank']")
    config.write_text(text + "custom_hooks = [dict(type='mmengine.DumpRank')]\n")
    work_dir = str(tmp_path / 'run')
    run = script('dist_train.sh', str(config), '2', '--work-dir', work_dir, path=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    assert 'destroy_process_group() was not called' not in run.stderr
    ranks = [torch.load(tmp_path / f'rank{rank}.pt') for rank in (0, 1)]
    assert [rank['world'] for rank in ranks] == [2, 2]
    for name, value in ranks[0]['state'].items():
        assert torch.equal(value, ranks[1]['state'][name]), f'{name} differs between the ranks'
    assert '_BatchNormXd' in ranks[0]['modules'] and 'SyncBatchNorm' not in ranks[0]['modules']
    # Each process draws its own submodels.
    assert not torch.equal(ranks[0]['draw'], ranks[1]['draw'])
    saved = CheckpointLoader.load_checkpoint(str(tmp_path / 'run/iter_30.pth'), 'cpu')
    for name, value in ranks[0]['state'].items():
        assert torch.equal(value, saved['state_dict'][name])
    checkpoint, out = str(tmp_path / 'run/iter_30.pth'), str(tmp_path / 'metrics.json')
    args = ['--work-dir', str(tmp_path / 'test'), '--out', out]
    run = script('dist_test.sh', str(config), checkpoint, '2', *args, path=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    assert json.loads(Path(out).read_text())['mIoU'] > 30


def test_a_stopped_launcher_says_that_the_training_can_be_resumed(segmentation, tmp_path):
    """SIGTERM to torchrun alone: both processes save behind one step, and the code is 75."""
    command = [str(ROOT / 'tools' / 'dist_train.sh'), str(segmentation), '2', '--work-dir']
    options = ['--cfg-options', 'train_cfg.max_iters=100000', 'param_scheduler=[]']
    env = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1')
    command += [str(tmp_path / 'run'), *options, 'train_cfg.val_interval=100000']
    with subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        try:
            end = time.monotonic() + 200
            while not any('Iter(train)' in log.read_text() for log in tmp_path.rglob('*.log')):
                assert run.poll() is None and time.monotonic() < end
                time.sleep(0.2)
            run.send_signal(signal.SIGTERM)
            _, error = run.communicate(timeout=100)
        finally:
            run.kill()
    assert run.returncode == 75, error[-3000:]
    told = re.search(r'stopped by SIGTERM behind iteration (\d+); saved to (\S+)', error)
    saved = CheckpointLoader.load_checkpoint(told[2].rstrip('.'), 'cpu')
    assert saved['meta']['iter'] == int(told[1])
    assert not list((tmp_path / 'run').glob('.*'))  # neither a lock nor half a file


def test_spread_over_processes(classification, tmp_path):
    """By FSDP2 in bf16, from its middle by ZeRO-1, tested and published as if trained alone."""
    runs = dict(fsdp2=['--amp', 'bf16'], zero1=['--resume', str(tmp_path / 'fsdp2/epoch_1.pth')])
    for way, options in runs.items():
        config = tmp_path / f'by_{way}.py'
        bases = [str(classification), str(ROOT / f'configs/_base_/parallel/{way}.py')]
        config.write_text(
            f"_base_ = {bases}\nactivation_checkpointing = ['backbone.layers']\n"
            "optim_wrapper = dict(optimizer=dict(type='mmengine.CosubLamb'))\n"
            'train_dataloader = dict(batch_size=3)\n'
        )
        options = [*options, '--on-config-change', 'new', '--work-dir', str(tmp_path / way)]
        run = script('dist_train.sh', str(config), '2', *options)
        assert run.returncode == 0, run.stderr[-3000:]
    assert 'ZeRO-1: each of 2 process(es)' in run.stdout + run.stderr
    epochs = [sorted(path.name for path in (tmp_path / way).glob('*.pth')) for way in runs]
    assert epochs == [['epoch_1.pth', 'epoch_2.pth'], ['epoch_2.pth']]
    for way in runs:
        last, out = str(tmp_path / way / 'epoch_2.pth'), tmp_path / f'{way}.json'
        args = [str(classification), last, '--work-dir', str(tmp_path / 'test'), '--out', str(out)]
        assert test_tool.main(args) == 0
        (log,) = (tmp_path / way).rglob('*.log')
        validated = re.findall(r'Epoch\(val\) \[2\].*top1: ([\d.]+)', log.read_text())[-1]
        assert json.loads(out.read_text())['accuracy/top1'] == pytest.approx(float(validated))
        publish_model.main([last, str(tmp_path / f'{way}.pth')])
        assert list(tmp_path.glob(f'{way}-*.pth'))


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh'])
def test_usage_when_arguments_are_missing(name):
    run = script(name, 'config.py')
    assert run.returncode == 2
    assert f'usage: tools/{name} CONFIG' in run.stderr


@pytest.mark.parametrize(
    'name, args, tool',
    [
        ('slurm_train.sh', ['part', 'job', 'c.py', 'wd', '--amp'], 'train.py c.py --work-dir=wd'),
        ('slurm_test.sh', ['part', 'job', 'c.py', 'm.pth', '--tta'], 'test.py c.py m.pth --tta'),
    ],
)
def test_slurm_scripts_call_srun(tmp_path, name, args, tool):
    """srun is replaced by a script that prints its arguments."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    env = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='16', SRUN_ARGS='-t 9:00')
    command = [str(ROOT / 'tools' / name), *args]
    printed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert '--partition=part --job-name=job --gres=gpu:8 --ntasks=16' in printed
    assert '--kill-on-bad-exit=1 -t 9:00' in printed and '--signal=USR1@120' in printed
    assert tool in printed and printed.strip().endswith('--launcher slurm')


@pytest.mark.parametrize('code, job, queued', [(75, '7', True), (75, None, False), (2, '7', False)])
def test_slurm_queues_a_stopped_batch_job_again(tmp_path, code, job, queued):
    for name, text in (('srun', f'echo "$@"; exit {code}'), ('scontrol', 'echo scontrol "$@"')):
        (tmp_path / name).write_text(f'#!/bin/sh\n{text}\n')
        (tmp_path / name).chmod(0o755)
    env = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}')
    env |= dict(SLURM_JOB_ID=job, SLURM_RESTART_COUNT='1') if job else {}
    command = [str(ROOT / 'tools' / 'slurm_train.sh'), 'part', 'job', 'c.py', 'wd']
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == code
    assert ('scontrol requeue 7' in run.stdout) == queued
    assert ('--resume' in run.stdout) == bool(job)  # the job's second start goes on
