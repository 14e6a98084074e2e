"""mmengine's CheckpointHook, deleting last and in its own folder only."""

from contextlib import suppress
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ..failed_save import CheckpointNotSaved, going_on

__all__ = ['CosubCheckpointHook']

STOPPED_CHECKPOINT = 'stopped_ckpt'


@HOOKS.register_module()
class CosubCheckpointHook(CheckpointHook):
    """A drop-in for mmengine's CheckpointHook that never leaves a run without a checkpoint.

    mmengine deletes the outdated file before the new one is written, so that a kill or a full disk
    between the two leaves none; and it deletes the best checkpoint that a resumed file names, also
    where that belongs to the run from which this one was branched. Here a deletion waits until the
    new file is whole, and only files in this run's own folder are deleted.

    Args:
        *args: of mmengine's CheckpointHook.
        **kwargs: of mmengine's CheckpointHook.
    """

    def before_train(self, runner) -> None:
        """Find the folder, and of the best checkpoint so far whether it is this run's."""
        super().before_train(runner)
        self.file_backend = LateDeletions(self.file_backend)
        self.unsaved: dict[str, str] = {}  # what could not be saved: 'regular', 'best'
        # Of a run that was stopped in the middle of an epoch; goes with the next regular one.
        path = runner.message_hub.runtime_info.get(STOPPED_CHECKPOINT)
        self.stopped_ckpt = path and self._own(runner, path)
        if self.save_best is None:
            return
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = self._own(runner, self.best_ckpt_path)
        else:
            for name, path in self.best_ckpt_path_dict.items():
                self.best_ckpt_path_dict[name] = self._own(runner, path)

    def after_train_epoch(self, runner) -> None:
        """Save, then delete what is outdated."""
        super().after_train_epoch(runner)
        self._settle(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save, then delete what is outdated."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._settle(runner)

    def after_val_epoch(self, runner, metrics: dict) -> None:
        """Save the best, then delete the one that was."""
        if not isinstance(getattr(self, 'file_backend', None), LateDeletions):
            super().after_val_epoch(runner, metrics)  # no training
            return
        with going_on(self, runner, 'best'):
            super().after_val_epoch(runner, metrics)
        self._settle(runner)

    def after_train(self, runner) -> None:
        """Publish as mmengine does, and do not end well without the last checkpoint.

        Raises:
            CheckpointNotSaved: the last save failed.
        """
        if self.unsaved:
            raise CheckpointNotSaved(
                f'{" ".join(self.unsaved.values())} The training is at its end. Make room and give '
                '--resume: it goes on from the last checkpoint that could be written.'
            )
        super().after_train(runner)

    def save_now(self, runner) -> str:
        """Save behind a training step, for a run that has to stop; returns the path.

        Raises:
            CheckpointNotSaved: that was not possible.
        """
        self._save_now(runner)
        if 'regular' in self.unsaved:
            raise CheckpointNotSaved(self.unsaved['regular'])
        return self.last_ckpt

    def _save_now(self, runner) -> None:
        """Save a regular checkpoint by iteration, or one of its own in the middle of an epoch.

        In the middle of an epoch the file is named by its iteration, and says how many steps of
        the epoch are done.
        """
        step = runner.iter + 1
        if not self.by_epoch:
            if self.last_ckpt is None or not self.last_ckpt.endswith(f'_{step}.pth'):
                self._save_checkpoint(runner)
            self._settle(runner)
            return
        with going_on(self, runner, 'regular'):
            self._save_in_epoch(runner, step)
        self._settle(runner)

    def _save_in_epoch(self, runner, step: int) -> None:
        name = f'iter_{step}.pth'
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info(STOPPED_CHECKPOINT, self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            meta=dict(epoch=runner.epoch, iter=step),
            by_epoch=False,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            (Path(runner.work_dir) / 'last_checkpoint').write_text(self.last_ckpt)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        # mmengine has no other seam that regular saves and those behind a new best share.
        with going_on(self, runner, 'regular'):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _settle(self, runner) -> None:
        """Behind a save: delete what is outdated, and say in a folder of its own what is newest."""
        stopped = self.stopped_ckpt
        if stopped and self.last_ckpt not in (None, stopped):
            self.stopped_ckpt = None
            if is_main_process() and self.file_backend.isfile(stopped):
                self.file_backend.remove(stopped)
        self.file_backend.delete()
        elsewhere = self.out_dir != runner.work_dir and '://' not in self.out_dir
        if elsewhere and self.last_ckpt and is_main_process():
            with suppress(OSError):  # full: the checkpoint of the highest number counts
                (Path(self.out_dir) / 'last_checkpoint').write_text(self.last_ckpt)

    def _own(self, runner, path: str | None) -> str | None:
        """The best checkpoint so far, where it lies in this run's folder (which may have moved)."""
        if path is None or Path(path).parent == Path(self.out_dir):
            return path
        here = self.file_backend.join_path(self.out_dir, Path(path).name)
        if self.file_backend.isfile(here):
            return here
        runner.logger.info(f'The best checkpoint so far, {path}, is of another run and stays.')
        return None


class LateDeletions:
    """A file backend that deletes when told so, and only what nobody has written meanwhile.

    Args:
        backend: a storage backend of mmengine; everything but deleting is its own.
    """

    def __init__(self, backend) -> None:
        self.backend = backend
        self.outdated: list[tuple[str, bool, float | None]] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Delete a file later."""
        self.outdated.append((path, False, _written(path)))

    def rmtree(self, path: str) -> None:
        """Delete a folder later."""
        self.outdated.append((path, True, _written(path)))

    def delete(self) -> None:
        """Delete what waits for it."""
        outdated, self.outdated = self.outdated, []
        for path, is_folder, written in outdated:
            if _written(path) != written:  # a new file under the old name
                continue
            if is_folder:
                self.backend.rmtree(path)
            else:
                self.backend.remove(path)


def _written(path: str) -> float | None:
    """When a local file was written; None for what is gone or lies on a remote store."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None
