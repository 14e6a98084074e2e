"""A worker that hangs or dies names its file; full shared memory is named with its cure."""

import gc
import os
import signal
import threading
import time

import pytest
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from cosub_mm.engine import read_watch
from cosub_mm.engine.worker_watch import WorkerError, naming_files
from tests.engine.toy import ToyData, built, config


@DATASETS.register_module(force=True)
class FaultyData(ToyData):
    fault = ''

    def __getitem__(self, index):
        if index == 3 and self.fault == 'hang':
            time.sleep(60)
        if index == 3 and self.fault == 'die':
            os._exit(9)
        return super().__getitem__(index)

    def get_data_info(self, index):
        return dict(img_path=f'pictures/{index}.png')


@pytest.mark.parametrize(
    ('fault', 'said'), [('hang', 'timed out after 2'), ('die', 'exited unexpectedly')]
)
def test_the_file_of_a_worker_is_named(fault, said, tmp_path, monkeypatch):
    monkeypatch.setattr(FaultyData, 'fault', fault)
    cfg = config(tmp_path)
    cfg.train_dataloader.update(dataset=dict(type='FaultyData', images=6), num_workers=1, timeout=2)
    runner = built(cfg)
    with pytest.raises(WorkerError, match=rf'{said}.*reading pictures/3\.png\.'):
        runner.train()


def test_a_read_that_hangs_is_named(tmp_path, monkeypatch):
    """Of a pipe that nobody writes to, which no signal of torch's ends."""
    os.mkfifo(tmp_path / 'pipe')

    def read(self, index):
        return open(tmp_path / 'pipe').read() if index == 3 else ToyData.__getitem__(self, index)

    monkeypatch.setattr(FaultyData, '__getitem__', read)
    cfg = config(tmp_path / 'run')
    cfg.train_dataloader.update(dataset=dict(type='FaultyData', images=6), timeout=1)
    with pytest.raises(WorkerError, match=r'Reading pictures/3\.png timed out after 1 '):
        built(cfg).train()


def test_each_of_two_loaders_is_watched(tmp_path, monkeypatch):
    """They share the signal; the one that read first is still heard behind the other's read."""
    monkeypatch.setattr(FaultyData, 'fault', 'hang')
    data = [ToyData(2), FaultyData(6), ToyData(2)]
    first, hanging, last = (read_watch.watch_reads(DataLoader(d), 1) for d in data)
    loaded = iter(hanging)
    assert len(next(loaded)['x']) == len(next(iter(first))['x']) == len(next(iter(last))['x']) == 1
    with pytest.raises(read_watch.ReadHangs, match='sample 3'):
        list(loaded)


def test_a_watch_ends_with_its_data():
    data = ToyData(2)
    before = set(threading.enumerate())
    list(read_watch.watch_reads(DataLoader(data), 0.1))
    (thread,) = set(threading.enumerate()) - before
    del data
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_who_guards_pictures_does_not_take_it_for_one(tmp_path, monkeypatch):
    """An Exception in a read would be caught there, and the file read again."""

    def read(self, index):
        for _ in range(2):
            try:
                time.sleep(60)
            except Exception:
                continue

    monkeypatch.setattr(FaultyData, '__getitem__', read)
    cfg = config(tmp_path)
    cfg.train_dataloader.update(dataset=dict(type='FaultyData', images=6), timeout=0.4)
    with pytest.raises(WorkerError, match=r'pictures/0\.png timed out after 0.4'):
        built(cfg).train()


def test_what_no_signal_ends_ends_the_process(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(read_watch, 'GRACE', 0.2)
    child = os.fork()
    if not child:

        def read(self, index):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as code of C may
            time.sleep(60)

        FaultyData.__getitem__ = read
        cfg = config(tmp_path)
        cfg.train_dataloader.update(dataset=dict(type='FaultyData', images=6), timeout=0.4)
        try:
            built(cfg).train()
        finally:
            os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    assert 'error: Reading pictures/0.png timed out' in capfd.readouterr().err


@pytest.mark.parametrize(
    'text',
    [
        'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that '
        "dataloader's workers are out of shared memory.",
        'Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call '
        'last):\nRuntimeError: unable to write to </torch_7_1_0>: No space left on device',
    ],
)
def test_full_shared_memory_is_named(text):
    match = 'Shared memory.*is full.*--shm-size'
    with pytest.raises(WorkerError, match=match), naming_files(list):
        raise RuntimeError(text)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match='^shapes'), naming_files(list):
        raise RuntimeError('shapes do not fit')
