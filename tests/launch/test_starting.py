"""A signal to a training that has not begun ends it with 75, and leaves nothing half done."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cosub_mm.launch import run as launch
from cosub_mm.launch.arguments import train_arguments
from cosub_mm.launch.errors import run_tool
from cosub_mm.launch.starting import stop_while_starting
from cosub_mm.launch.work_dir_lock import hold_folders

ROOT = Path(__file__).parents[2]
CONFIG = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=2))
train_dataloader = dict(
    dataset=dict(type='CustomDataset', data_root='{root}', pipeline=[]), batch_size=2,
    num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_during_the_imports(number, tmp_path):
    """torch is what takes seconds; here it sends the signal instead."""
    (tmp_path / 'torch.py').write_text(f'import os\nos.kill(os.getpid(), {int(number)})\n')
    env = {k: v for k, v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE')}
    env['PYTHONPATH'] = f'{tmp_path}:{ROOT}'
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'config.py']
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 75, done.stderr
    assert done.stderr.startswith(f'stopped by {number.name} outside of the steps')
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize('step', ['find_resume_point', '_check_data', '_build'])
def test_before_the_first_step(step, tmp_path):
    config, work_dir = tmp_path / 'config.py', tmp_path / 'run'
    for i in range(2):
        (tmp_path / f'data/{i}').mkdir(parents=True)
        (tmp_path / f'data/{i}/a.png').touch()
    config.write_text(CONFIG.format(root=tmp_path / 'data'))
    child = os.fork()
    if not child:
        code = 1
        try:
            os.environ.pop('RANK', None)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            stop_while_starting()
            setattr(launch, step, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
            arguments = [str(config), '--work-dir', str(work_dir)]
            run_tool(lambda argv: launch.train(train_arguments(argv)), arguments)
        except SystemExit as error:
            code = error.code
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    left = [path for path in work_dir.rglob('*') if path.suffix in ('.pth', '.part')]
    assert not left
    with hold_folders([str(work_dir)]):  # nobody holds it any more
        pass


def test_processes_of_torchrun_are_its_own_affair(monkeypatch):
    monkeypatch.setenv('RANK', '0')
    taken = []
    monkeypatch.setattr(signal, 'getsignal', lambda number: signal.SIG_DFL)
    monkeypatch.setattr(signal, 'signal', lambda number, handler: taken.append(number))
    stop_while_starting()
    assert not taken
    monkeypatch.delenv('RANK')
    stop_while_starting()
    assert taken == [signal.SIGTERM, signal.SIGUSR1]
