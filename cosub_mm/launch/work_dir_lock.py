"""One training at a time in a folder of checkpoints."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmengine.dist import broadcast_object_list
from torch import distributed as dist

from .distributed import global_rank
from .errors import UserError

__all__ = ['FolderInUse', 'hold_folders']

NAME = '.training.lock'


class FolderInUse(ValueError):
    """Another training writes to the folder."""


@contextmanager
def hold_folders(folders: Iterable[str], take_over: bool = False) -> Iterator[None]:
    """Hold folders for this training, so that no second one overwrites its checkpoints.

    The first process holds them, all others of the run stop with it. The lock is the kernel's and
    ends with the process, however that ends. It reaches other machines where the file system
    passes locks on (NFS does); for those that do not, the file also says who holds it.

    Args:
        folders: local paths, made if absent; addresses of remote stores are left out.
        take_over: take a folder whose holder, on another machine, cannot be asked whether it runs.

    Raises:
        FolderInUse: naming process, machine, start and what to do.
        UserError: a folder cannot be made or written.
    """
    with ExitStack() as held:
        fault = [None]
        if global_rank() == 0:
            try:
                for folder in folders:
                    if '://' not in folder:
                        held.enter_context(_hold(Path(folder), take_over))
            except OSError as error:
                fault[0] = UserError(f'the work dir cannot be written: {error}')
            except Exception as error:  # the others wait for an answer
                fault[0] = error
        if dist.is_available() and dist.is_initialized():
            broadcast_object_list(fault)
        if fault[0] is not None:
            raise fault[0]
        yield


@contextmanager
def _hold(folder: Path, take_over: bool) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with _open_locked(path, folder) as file:
        if not take_over:
            _check_record(_parse(file.read()), folder)
        file.seek(0)
        file.truncate()
        json.dump(_this_process(), file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # still locked: nobody else can have taken it


def _open_locked(path: Path, folder: Path):
    """The lock file, opened and locked; another may delete it between the two."""
    while True:
        file = path.open('a+')
        file.seek(0)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            record = _parse(file.read())
            file.close()
            raise FolderInUse(_message(folder, record)) from None
        except OSError:  # a file system without locks: the record has to do
            return file
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()


def _check_record(record: dict, folder: Path) -> None:
    """Stop unless the holder that a file names is known to be gone."""
    if not record:
        return
    ours = _this_process()
    if record.get('boot') == ours['boot']:  # this machine, or another container on it
        if record.get('started') and _started(record.get('pid')) == record['started']:
            raise FolderInUse(_message(folder, record))
        print(f"the training that wrote to '{folder}' is gone: going on there", flush=True)
    elif not _started_again(record, ours):
        raise FolderInUse(_message(folder, record) + ' If that is gone, give --take-over.')


def _started_again(record: dict, ours: dict) -> bool:
    """Whether slurm runs the job of the record anew; it ends the first run before it does."""
    return ours['job'] is not None and (
        record.get('job') == ours['job'] and record.get('restart') != ours['restart']
    )


def _message(folder: Path, record: dict) -> str:
    holder = f'process {record.get("pid", "?")} on {record.get("host", "another machine")}'
    since = f' since {record["since"]}' if 'since' in record else ''
    return (
        f"another training writes to '{folder}': {holder}{since}. Wait for it or end it, or give "
        'another --work-dir.'
    )


def _parse(text: str) -> dict:
    try:
        record = json.loads(text)
    except ValueError:  # empty, or cut by a crash
        return {}
    return record if isinstance(record, dict) else {}


def _this_process() -> dict:
    return dict(
        host=socket.gethostname(),
        boot=_read('/proc/sys/kernel/random/boot_id'),
        pid=os.getpid(),
        started=_started(os.getpid()),
        since=time.strftime('%Y-%m-%d %H:%M:%S'),
        job=os.environ.get('SLURM_JOB_ID'),
        restart=os.environ.get('SLURM_RESTART_COUNT', '0'),
    )


def _started(pid: int | None) -> str | None:
    """When a process of this machine started, in the kernel's ticks; None if there is none."""
    stat = _read(f'/proc/{pid}/stat')
    return stat and stat.rpartition(')')[2].split()[19]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
