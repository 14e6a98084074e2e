"""A time-out for data that are read in the training's own process, by loaders without workers."""

import os
import signal
import sys
import threading
import time
import weakref

from torch.utils.data import DataLoader, IterableDataset

from cosub_mm.safe_files import shown

__all__ = ['ReadHangs', 'watch_reads']

GRACE = 10.0
"""Seconds in which the main thread may come back by itself once its read has been interrupted."""


class ReadHangs(BaseException):
    """Interrupts a read that hangs; no Exception, or who guards pictures would read it again.

    ``index`` is the sample that was read, ``seconds`` the time-out.
    """

    def __init__(self, dataset: object, index: int, seconds: float) -> None:
        super().__init__(f'sample {index} hangs')
        self.dataset, self.index, self.seconds = dataset, index, seconds


def watch_reads(loader: DataLoader, seconds: float) -> DataLoader:
    """Let :class:`ReadHangs` end a read of a loader without workers that takes longer.

    A signal to the main thread interrupts what waits for a file. Where it does not, as in a decoder
    that never returns, the process says so itself and ends with 2. Reading a sample costs a
    microsecond more.

    Args:
        loader: changed in place; its data set notes what is read.
        seconds: for one sample; 0 waits for ever.
    """
    dataset = loader.dataset
    if not seconds or isinstance(dataset, IterableDataset):
        return loader
    if threading.current_thread() is not threading.main_thread():
        return loader
    if not hasattr(dataset, '__dict__'):  # a list and other built-in types: samples in memory
        return loader
    watch, kind = _Watch(dataset, seconds), type(dataset)

    def read(self: object, index: int) -> object:
        watch.begin(index)
        try:
            return kind.__getitem__(self, index)
        finally:
            watch.reading = None

    # torch looks the method up in the class.
    dataset.__class__ = type(kind.__name__, (kind,), {'__getitem__': read})
    return loader


class _Watch:
    """What is being read, and since when; a thread looks at it once a second."""

    def __init__(self, dataset: object, seconds: float) -> None:
        self.dataset, self.seconds = weakref.ref(dataset), seconds  # it may end before the process
        self.reading: tuple[int, float] | None = None
        self.thread: threading.Thread | None = None

    def begin(self, index: int) -> None:
        if self.thread is None:  # not before the first read: the process may fork until then
            _watches.append(self)
            signal.signal(signal.SIGALRM, _interrupt)
            self.thread = threading.Thread(target=self._look, daemon=True)
            self.thread.start()
        self.reading = (index, time.monotonic() + self.seconds)

    def overdue(self, since: float = 0.0) -> bool:
        now = self.reading
        return now is not None and time.monotonic() > now[1] + since

    def hangs(self) -> ReadHangs:
        return ReadHangs(self.dataset(), self.reading[0], self.seconds)

    def _look(self) -> None:
        while self.dataset() is not None:
            time.sleep(min(1.0, self.seconds / 4))
            if not self.overdue():
                continue
            signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)
            if self.overdue(GRACE):
                print(f'error: {describe(self.hangs())}', file=sys.stderr, flush=True)
                os._exit(2)
        _watches.remove(self)


# A signal has one handler, and training, validation and test have a loader each.
_watches: list[_Watch] = []


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    for watch in _watches:
        if watch.overdue():
            raise watch.hangs()


def describe(hangs: ReadHangs) -> str:
    """One sentence with the file that was read."""
    info = getattr(hangs.dataset, 'get_data_info', lambda _: {})(hangs.index) or {}
    names = [shown(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)]
    return (
        f'Reading {" with ".join(names) or f"sample {hangs.index}"} timed out after '
        f'{hangs.seconds:g} seconds. The disk or the network may hang, or the file may never end '
        f'(a pipe); the timeout of the data loader sets how many seconds are waited, 0 for ever.'
    )
