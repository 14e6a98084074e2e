"""The demo's stages, in miniature: killed anywhere, they leave nothing and end in the same."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from cosub_mm.demo.stages import Stage, run_stages
from cosub_mm.launch.errors import run_tool
from tools import demo, train

ROOT = Path(__file__).parents[2]
EPOCHS = 12
OPTIONS = ('--cfg-options', f'train_cfg.max_epochs={EPOCHS}', 'train_cfg.val_interval=6')
OPTIONS += ('train_dataloader.num_workers=1',)


def started(stages: list[Stage], work_dir: Path) -> int:
    """A process, in a group of its own, that runs the stages as the demo does."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        subprocess.Popen = subprocess.Popen.__base__  # Python's own, not that of the tests
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        code = 99
        try:
            code = run_tool(lambda _: run_stages(stages, work_dir, ROOT, say=lambda text: None))
        finally:
            os._exit(code)
    return pid


def group(leader: int) -> dict[int, int]:
    """Processes of the group, with their parents."""
    found = {}
    for entry in os.listdir('/proc'):
        if entry.isdecimal():
            try:
                text = Path('/proc', entry, 'stat').read_text().rpartition(')')[2].split()
            except OSError:
                continue
            if int(text[2]) == leader and text[0] != 'Z':
                found[int(entry)] = int(text[1])
    return found


def wait_for(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def interrupt(leader: int, whom: str) -> None:
    if whom == 'Ctrl-C':
        os.killpg(leader, signal.SIGINT)
    elif whom == 'stages':
        os.kill(leader, signal.SIGKILL)
    else:
        training = next(pid for pid, parent in group(leader).items() if parent == leader)
        os.kill(training, signal.SIGKILL)


def run_until(epoch: int, whom: str | None, stages: list[Stage], work_dir: Path) -> int:
    """Run the stages, hit one of the processes in an epoch, and give the exit code."""
    output, reached = work_dir / 'tiny' / 'output.txt', f'Epoch(train) [{epoch}]'
    leader = started(stages, work_dir)
    try:
        if whom:
            wait_for(
                lambda: output.exists() and reached in ' '.join(output.read_text().split()),
                150,
                f'no {reached}',
            )
            interrupt(leader, whom)
        code = os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1])
        wait_for(lambda: not group(leader), 20, f'{whom} hit, and others live on')
        return code
    finally:
        for pid in group(leader):
            os.kill(pid, signal.SIGKILL)


def test_the_same_weights_after_each_kind_of_kill(tmp_path, classification, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    line = ('tools/train.py', str(classification), '--work-dir', '{dir}', *OPTIONS)
    name = f'epoch_{EPOCHS}.pth'
    stages = [Stage('tiny', 'Tiny', (line,), writes=(f'{{dir}}/{name}',))]
    hits = ((3, 'training'), (6, 'stages'), (9, 'Ctrl-C'), (EPOCHS, None))
    codes = [run_until(epoch, whom, stages, tmp_path) for epoch, whom in hits]
    assert codes == [2, -signal.SIGKILL, 130, 0]
    assert (tmp_path / 'tiny' / 'output.txt').read_text().count('resuming from') == 3
    straight = tmp_path / 'straight'
    assert train.main([str(classification), '--work-dir', str(straight), *OPTIONS]) == 0
    one, other = (
        torch.load(folder / name, weights_only=False) for folder in (straight, tmp_path / 'tiny')
    )
    for key, weight in one['state_dict'].items():
        assert torch.equal(weight, other['state_dict'][key]), key


STAND_IN = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
time.sleep(100)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_no_command_lives_on(tmp_path, number):
    script = tmp_path / 'tool.py'
    script.write_text(STAND_IN)
    mark = tmp_path / 'started'
    leader = started([Stage('one', 'One', ((str(script), str(mark)),))], tmp_path / 'w')
    wait_for(mark.exists, 20, 'it does not start')
    assert len(group(leader)) == 2
    os.kill(leader, number)
    os.waitpid(leader, 0)
    wait_for(lambda: not group(leader), 5, 'it lives on')


@pytest.mark.parametrize('by_make', [True, False])
def test_the_demo_ends_with_make_and_with_nothing_else(tmp_path, monkeypatch, by_make):
    """make is killed at once; a demo that was typed at a terminal goes on."""
    monkeypatch.setattr(demo, 'run_stages', lambda *args: time.sleep(100))
    mark = tmp_path / 'started'
    make = os.fork()
    if make == 0:
        os.setsid()
        if os.fork() == 0:
            os.environ.update(COSUB_END_WITH_PARENT='1' if by_make else '')
            monkeypatch.setattr(demo, 'stages', lambda *args: mark.touch())
            run_tool(demo.run, ['--work-dir', str(tmp_path)])
            os._exit(0)
        time.sleep(100)
    try:
        wait_for(mark.exists, 20, 'it does not start')
        os.kill(make, signal.SIGKILL)
        os.waitpid(make, 0)
        if by_make:
            wait_for(lambda: not group(make), 5, 'it lives on')
        else:
            time.sleep(0.5)
            assert group(make)
    finally:
        for pid in group(make):
            os.kill(pid, signal.SIGKILL)


def test_what_a_test_starts_ends_with_the_process_of_the_tests(tmp_path):
    tests = os.fork()
    if tests == 0:
        os.setsid()
        subprocess.run(['sh', '-c', f'echo > {tmp_path}/started; exec sleep 100'])
        os._exit(0)
    try:
        wait_for((tmp_path / 'started').exists, 20, 'it does not start')
        os.kill(tests, signal.SIGKILL)
        os.waitpid(tests, 0)
        wait_for(lambda: not group(tests), 5, 'it lives on')
    finally:
        for pid in group(tests):
            os.kill(pid, signal.SIGKILL)
