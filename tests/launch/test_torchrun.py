"""What a launcher ends with, by the signal that stopped it."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException

from cosub_mm.launch import torchrun
from cosub_mm.launch.one_voice import FOLDER_VARIABLE, who_spoke
from tests import fresh


@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_stopped_before_the_first_step(monkeypatch, number, code):
    """No process has saved, nor needs to: the newest checkpoint is there to go on from."""

    def stop(argv):
        raise SignalException('stopped', number)

    monkeypatch.setattr(os, 'environ', dict(os.environ))  # main sets some for good
    monkeypatch.setattr(run, 'main', stop)
    assert torchrun.main(['train.py']) == code


@pytest.mark.parametrize(
    ('number', 'spoken', 'code', 'said'),
    [
        (signal.SIGTERM, '1 2', 2, ''),
        (signal.SIGTERM, '1 1', 1, 'error: process 1 failed, as it says above'),
        (signal.SIGINT, '0 130', 130, ''),  # 'interrupted' has been said
    ],
)
def test_stopped_while_a_process_fails(monkeypatch, capsys, number, spoken, code, said):
    """A user's error is not to be resumed; whoever has spoken is not repeated."""

    def stop(argv):
        Path(os.environ[FOLDER_VARIABLE], 'spoken').write_text(spoken)
        raise SignalException('stopped', number)

    monkeypatch.setattr(os, 'environ', dict(os.environ))
    monkeypatch.setattr(run, 'main', stop)
    assert torchrun.main(['train.py']) == code
    assert capsys.readouterr().err.startswith(said) if said else not capsys.readouterr().err


def test_wrong_arguments_are_said_once(tmp_path):
    environment = dict(os.environ, WORLD_SIZE='2', **{FOLDER_VARIABLE: str(tmp_path)})
    tool = Path(torchrun.__file__).parents[2] / 'tools/train.py'
    done = fresh.run_together([[tool, '--misspelt']] * 2, env=environment)
    assert [one.returncode for one in done] == [2, 2]
    assert ''.join(one.stderr for one in done).count('error: ') == 1
    assert who_spoke(tmp_path) == (0, 2)


@pytest.mark.parametrize('named', [False, True])
def test_nothing_is_left_in_the_folder_for_temporary_files(named, monkeypatch, tmp_path):
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    (tmp_path / 'tmp').mkdir()
    script = tmp_path / 'script.py'
    script.write_text('print("done")')
    logs = [f'--log-dir={tmp_path}/logs', '--redirects=3'] if named else []
    assert torchrun.main([*logs, '--nproc-per-node=1', '--master-port=0', str(script)]) == 0
    assert not list((tmp_path / 'tmp').iterdir())
    assert bool(list(tmp_path.rglob('logs/**/stdout.log'))) == named
