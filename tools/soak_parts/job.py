"""One start of a training, watched and hit from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cosub_mm.processes import end_with_parent

from .hook import PLAN_VARIABLE
from .training import PROCESSES, Training

__all__ = ['HITS', 'Job', 'Process', 'Sample']

ROOT = Path(__file__).resolve().parents[2]
TOKEN_VARIABLE = 'COSUB_SOAK_JOB'
POLL_SECONDS, SAMPLE_SECONDS = 0.1, 1.0
# What is hit, and by which signal.
HITS = {
    'SIGKILL to rank 0': ('rank 0', signal.SIGKILL),
    'SIGKILL to rank 1': ('rank 1', signal.SIGKILL),
    'SIGKILL to the launcher': ('launcher', signal.SIGKILL),
    'SIGKILL to a worker': ('worker', signal.SIGKILL),
    'SIGKILL to all': ('all', signal.SIGKILL),
    'SIGTERM to the launcher': ('launcher', signal.SIGTERM),
    'SIGINT to all': ('all', signal.SIGINT),
}


@dataclass(frozen=True)
class Process:
    """A process of the job: ``role`` is launcher, worker or rank N."""

    pid: int
    role: str


@dataclass(frozen=True)
class Sample:
    """Memory (bytes, resident) and open descriptors of a process, at a time of the soak."""

    time: float
    start: int
    pid: int
    role: str
    memory: int
    descriptors: int


@dataclass
class Job:
    """A start of the training, in processes of its own.

    Args:
        training: what is trained.
        work_dir: of the training.
        folder: gets the notes, the output and the plan of this start.
        number: of the start.
        resume: go on from the newest checkpoint.
        step_seconds: see :class:`.hook.SoakHook`; so the next two.
        nan: iterations with pictures that are not a number.
        full_disk: first and last iteration with a full disk, or None.
    """

    training: Training
    work_dir: Path
    folder: Path
    number: int
    resume: bool
    step_seconds: float
    nan: tuple[int, ...] = ()
    full_disk: tuple[int, int] | None = None
    samples: list[Sample] = field(default_factory=list)

    def start(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True)
        (self.folder / 'tmp').mkdir()
        plan = dict(trace=str(self.folder), step_seconds=self.step_seconds)
        plan |= dict(nan=self.nan, full_disk=self.full_disk)
        (self.folder / 'plan.json').write_text(json.dumps(plan))
        self.token = f'{os.getpid()}-{self.folder}'
        env = {k: v for k, v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')}
        env |= {TOKEN_VARIABLE: self.token, PLAN_VARIABLE: str(self.folder / 'plan.json')}
        env |= dict(PYTHON=sys.executable, OMP_NUM_THREADS='1', TMPDIR=str(self.folder / 'tmp'))
        command = [str(ROOT / 'tools' / 'dist_train.sh'), str(self.training.config)]
        command += [str(PROCESSES), '--work-dir', str(self.work_dir), '--on-bad-image', 'skip']
        command += ['--resume'] if self.resume else []
        with open(self.folder / 'output.txt', 'w') as output:
            self.launcher = subprocess.Popen(
                command,
                env=env,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.began = self.sampled = time.monotonic()

    @property
    def output(self) -> str:
        """All that it has printed."""
        return (self.folder / 'output.txt').read_text(errors='replace')

    def notes(self, rank: int = 0) -> list[dict]:
        """What a process has noted; a last line that a kill has cut is left out."""
        path = self.folder / f'rank{rank}.jsonl'
        lines = path.read_text().split('\n')[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def iterations(self, rank: int = 0) -> list[int]:
        """Iterations that a process has done."""
        return [note['iter'] for note in self.notes(rank) if 'iter' in note]

    def last_iteration(self) -> int | None:
        """The last one that the first process has noted, from the end of its notes."""
        path = self.folder / 'rank0.jsonl'
        if not path.exists():
            return None
        with open(path, 'rb') as file:
            file.seek(max(0, path.stat().st_size - 1000))
            lines = file.read().split(b'\n')[1:-1]
        notes = [json.loads(line) for line in lines]
        return max((note['iter'] for note in notes if 'iter' in note), default=None)

    def processes(self) -> list[Process]:
        """All processes of the job that live, found by a mark in their environment."""
        mark = f'{TOKEN_VARIABLE}={self.token}'.encode()
        found = {}
        for entry in os.scandir('/proc'):
            if entry.name.isdecimal():
                state = _state_of(entry.name)
                if state and mark in state[1]:
                    found[int(entry.name)] = state
        return [Process(pid, _role(found, pid)) for pid in found]

    def watch(self, clock: float) -> Iterator[list[Process]]:
        """Give the processes again and again while the launcher lives, and measure them.

        Args:
            clock: when the soak began.
        """
        while self.launcher.poll() is None:
            processes = self.processes()
            if time.monotonic() - self.sampled >= SAMPLE_SECONDS:
                self.sampled = time.monotonic()
                for process in processes:
                    measured = _measure(process.pid)
                    if measured:
                        self.samples.append(
                            Sample(
                                self.sampled - clock,
                                self.number,
                                process.pid,
                                process.role,
                                *measured,
                            )
                        )
            yield processes
            time.sleep(POLL_SECONDS)

    def hit(self, name: str) -> bool:
        """Send one of :data:`HITS`; False where there is no such process."""
        role, number = HITS[name]
        targets = [p.pid for p in self.processes() if role in ('all', p.role)]
        for pid in targets if role == 'all' else targets[:1]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return bool(targets)

    def wait_until_gone(self, seconds: float) -> tuple[float, list[Process]]:
        """Wait for every process to end.

        Returns:
            How long that took, and what lived on; that is ended now.
        """
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.launcher.poll()
            if not self.processes():
                break
            time.sleep(POLL_SECONDS)
        took, left = time.monotonic() - began, self.processes()
        self.end()
        return took, left

    def end(self) -> None:
        """End what lives, at once."""
        for process in self.processes():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.launcher.wait()


def _state_of(pid: str) -> tuple[int, list[bytes]] | None:
    """Parent and environment of a process; None if it is gone, a zombie or somebody else's."""
    try:
        environment = Path('/proc', pid, 'environ').read_bytes().split(b'\0')
        state, parent = Path('/proc', pid, 'stat').read_text().rpartition(')')[2].split()[:2]
    except OSError:
        return None
    return None if state == 'Z' else (int(parent), environment)


def _role(found: dict[int, tuple[int, list[bytes]]], pid: int) -> str:
    parent, environment = found[pid]
    rank = next((v[5:].decode() for v in environment if v.startswith(b'RANK=')), None)
    if rank is None:
        return 'launcher'
    of_rank = parent in found and any(v.startswith(b'RANK=') for v in found[parent][1])
    return 'worker' if of_rank else f'rank {rank}'


def _measure(pid: int) -> tuple[int, int] | None:
    try:
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE'), len(os.listdir(f'/proc/{pid}/fd'))
    except OSError:
        return None
