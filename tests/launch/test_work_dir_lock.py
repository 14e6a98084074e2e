"""One training at a time in a folder, and none that outlives its launcher."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from cosub_mm.launch import distributed
from cosub_mm.launch.work_dir_lock import FolderInUse, hold_folders


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def in_a_process(work) -> int:
    """Fork a process that does ``work`` and then waits to be killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            time.sleep(60)
        finally:
            os._exit(1)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def holder(tmp_path):
    """A process that holds ``tmp_path / 'run'``."""

    def hold():
        with hold_folders([str(tmp_path / 'run')]):
            (tmp_path / 'ready').touch()
            time.sleep(60)

    pid = in_a_process(hold)
    wait_for((tmp_path / 'ready').exists)
    yield pid
    with contextlib.suppress(ProcessLookupError):
        kill(pid)


def test_a_second_training_is_refused_and_told_who_holds_the_folder(tmp_path, holder):
    told = f'process {holder} on .* since .* --work-dir'
    with pytest.raises(FolderInUse, match=told), hold_folders([str(tmp_path / 'run')]):
        pass
    # Not even by force: it runs on this machine.
    with pytest.raises(FolderInUse), hold_folders([str(tmp_path / 'run')], take_over=True):
        pass


def test_a_killed_training_is_no_hindrance(tmp_path, holder, capsys):
    kill(holder)
    with hold_folders([str(tmp_path / 'run')]):
        pass
    assert 'is gone' in capsys.readouterr().out
    assert not list((tmp_path / 'run').iterdir())


def test_twice_in_one_process(tmp_path):
    with hold_folders([str(tmp_path)]):
        with pytest.raises(FolderInUse), hold_folders([str(tmp_path)]):
            pass
        with pytest.raises(FolderInUse), hold_folders([str(tmp_path)]):
            pass  # the refused one has not let go of what it did not have
    with pytest.raises(RuntimeError), hold_folders([str(tmp_path)]):
        raise RuntimeError('a training that fails')
    with hold_folders([str(tmp_path), 's3://bucket/run']):
        pass


def test_all_folders_or_none(tmp_path):
    first, second = str(tmp_path / 'first'), str(tmp_path / 'second')
    with hold_folders([second]):
        with pytest.raises(FolderInUse, match='second'), hold_folders([first, second]):
            pass
        with hold_folders([first]):
            pass


def elsewhere(folder: Path) -> Path:
    """A lock that a process of another machine has left."""
    with hold_folders([str(folder)]):
        path = next(folder.iterdir())
        record = json.loads(path.read_text())
    path.write_text(json.dumps(dict(record, boot='another', host='node7', pid=17)))
    return path


def test_another_machine_is_asked_about(tmp_path):
    elsewhere(tmp_path)
    told = 'process 17 on node7 .* --take-over'
    with pytest.raises(FolderInUse, match=told), hold_folders([str(tmp_path)]):
        pass
    with hold_folders([str(tmp_path)], take_over=True):
        pass
    with hold_folders([str(tmp_path)]):
        pass


@pytest.mark.parametrize('restart, refused', [('1', False), ('0', True)])
def test_slurm_has_ended_the_job_that_it_starts_again(tmp_path, monkeypatch, restart, refused):
    monkeypatch.setenv('SLURM_JOB_ID', '5')
    monkeypatch.delenv('SLURM_RESTART_COUNT', raising=False)
    elsewhere(tmp_path)
    monkeypatch.setenv('SLURM_RESTART_COUNT', restart)
    try:
        with hold_folders([str(tmp_path)]):
            assert not refused
    except FolderInUse:
        assert refused


def test_a_process_ends_with_its_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed.dist, 'init_process_group', lambda *args, **kwargs: None)
    monkeypatch.setattr(distributed.torch.cuda, 'is_available', lambda: False)
    for name, value in dict(RANK=0, WORLD_SIZE=2, LOCAL_RANK=0).items():
        monkeypatch.setenv(name, str(value))

    def rank():
        distributed.open_process_group('pytorch')
        part = tmp_path / 'part'
        part.write_text(str(os.getpid()))
        part.rename(tmp_path / 'pid')

    launcher = in_a_process(lambda: in_a_process(rank))
    wait_for((tmp_path / 'pid').exists)
    pid = int((tmp_path / 'pid').read_text())
    kill(launcher)

    def gone() -> bool:
        try:  # who adopts it may leave a zombie
            return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
        except FileNotFoundError:
            return True

    wait_for(gone)
