"""What a launcher ends with, by the signal that stopped it."""

import os
import signal

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
