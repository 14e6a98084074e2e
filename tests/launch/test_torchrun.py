"""What a launcher ends with, by the signal that stopped it."""

import os
import signal
import tempfile

import pytest
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException

from cosub_mm.launch import torchrun


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
