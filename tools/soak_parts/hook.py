"""What runs inside the training of the soak: it notes each step, and does two kinds of harm."""

import gc
import hashlib
import json
import os
import resource
import time
import zlib
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from .family import measure_family

__all__ = ['PLAN_VARIABLE', 'SoakHook']

PLAN_VARIABLE = 'COSUB_SOAK_PLAN'
FILE_LIMIT = 256 * 1024
"""Bytes of the largest file on a "full disk": more than the notes need, less than a checkpoint."""


@HOOKS.register_module()
class SoakHook(Hook):
    """Note each step of this process, and do what the plan of this start says.

    The plan is a JSON file named by :data:`PLAN_VARIABLE`: ``trace`` (the folder of the notes),
    ``step_seconds`` (no step is shorter, so that a soak takes as long on every machine),
    ``full_disk`` (first and last iteration between which the first process cannot write large
    files: the kernel refuses, as on a disk that is full) and ``nan`` (iterations whose pictures
    are not a number in the last process).
    """

    priority = 'NORMAL'  # before checkpoints: what is noted happened

    def before_train(self, runner) -> None:
        """Read the plan, and open the file of notes."""
        self.plan = json.loads(Path(os.environ[PLAN_VARIABLE]).read_text())
        path = Path(self.plan['trace']) / f'rank{runner.rank}.jsonl'
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.began = time.monotonic()
        self._note(start=runner.iter)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Do the harm of this step."""
        inputs = data_batch['inputs']
        self.pictures = zlib.crc32(inputs.numpy().tobytes())
        if runner.iter in self.plan['nan'] and runner.rank == runner.world_size - 1:
            data_batch['inputs'] = torch.full_like(inputs, torch.nan, dtype=torch.float32)
        if runner.rank == 0 and self.plan['full_disk']:
            first, last = self.plan['full_disk']
            full = first <= runner.iter < last
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            limit = FILE_LIMIT if full else most
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Note the step."""
        loss = float((outputs or {}).get('loss', torch.nan))
        self._note(iter=runner.iter, pictures=self.pictures, loss=loss.hex())
        time.sleep(max(0.0, self.began + self.plan['step_seconds'] - time.monotonic()))
        self.began = time.monotonic()

    def after_train_epoch(self, runner) -> None:
        """Note the weights, and what this process and its workers hold."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        digest = hashlib.sha256()
        for value in model.state_dict().values():
            digest.update(value.detach().contiguous().numpy().tobytes())
        self._note(epoch=runner.epoch, weights=digest.hexdigest())
        # At the same place of each epoch: its workers wait, none of a validation lives.
        # The first collection writes to all pages that this process has in common with its workers,
        # which gives each a copy of its own: 100 MiB, once, at whatever time Python thinks of it.
        gc.collect()
        memory, descriptors = measure_family(os.getpid())
        self._note(behind=runner.epoch, memory=memory, descriptors=descriptors)

    def _note(self, **entry: object) -> None:
        os.write(self.file, json.dumps(entry).encode() + b'\n')
