"""A worker that hangs or dies names its file; full shared memory is named with its cure."""

import os
import time

import pytest
from mmengine.registry import DATASETS

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
