"""The undisturbed training, then the same one hit at random until the time is over."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cosub_mm.engine.checkpoints.files import CheckpointError, load_checkpoint
from cosub_mm.engine.checkpoints.integrity import DamagedCheckpoint, verify_checksums

from .job import HITS, Job, Process, Sample
from .training import Training

__all__ = ['Campaign', 'Start']

END_SECONDS = 60.0
"""In this time every process of a job has to be gone once one of them was hit."""
FEWEST_HITS = 5
"""So many there are however slow the machine is."""
HARMS = ('a bit flipped', 'cut', 'zeros')


@dataclass
class Start:
    """What happened in one start of the training.

    Attributes:
        round: 0 for the undisturbed training, then the number of the disturbed one.
        begins: iteration from which it should go on, from the newest whole checkpoint.
        hit: one of :data:`.job.HITS`, or '' for none.
        trained_from: time of the soak at which its first step was seen; None before.
        trained_to: the same of its last step.
        gone_after: seconds from the hit until every process was gone.
        lived_on: processes that were not.
        whole: checkpoints found whole behind it.
        torn: those that were not, and why.
        harm: what was done to the newest checkpoint behind it.
        told: whether the next start said that it put the harmed checkpoint aside.
    """

    job: Job
    round: int
    begins: int
    began: float
    hit: str = ''
    trained_from: float | None = None
    trained_to: float = 0.0
    seconds: float = 0.0
    code: int | None = None
    gone_after: float = 0.0
    lived_on: list[Process] = field(default_factory=list)
    whole: int = 0
    torn: list[str] = field(default_factory=list)
    harm: str = ''
    told: bool = True

    @property
    def completed(self) -> bool:
        """Whether it came to the end of the training."""
        return self.code == 0


class Campaign:
    """All starts of a soak.

    Args:
        training: what is trained.
        folder: gets a folder for each training and each start.
        seconds: how long to go on; a training that has begun is brought to its end.
        say: prints a line.
        seed: of what is random here.
        step_seconds: how long a step takes at least.
        steps_between: steps from one hit to the next, on average.
        nan: iterations with pictures that are not a number.
    """

    def __init__(
        self,
        training: Training,
        folder: Path,
        seconds: float,
        say: Callable[[str], None],
        seed: int = 0,
        step_seconds: float = 0.05,
        steps_between: int = 150,
        nan: tuple[int, ...] = (),
    ) -> None:
        self.training, self.folder, self.seconds, self.say = training, folder, seconds, say
        self.random, self.step_seconds = random.Random(seed), step_seconds
        self.steps_between, self.nan = steps_between, nan
        self.clock, self.starts = time.monotonic(), []
        self.hits: list[str] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the soak began."""
        return time.monotonic() - self.clock

    @property
    def samples(self) -> list[Sample]:
        """Memory and descriptors of all processes."""
        return [sample for start in self.starts for sample in start.job.samples]

    def run(self) -> list[Start]:
        """Train undisturbed, then disturbed until the time is over."""
        self._train(0)
        longest = self.elapsed
        for number in count(1):
            if not self.starts[-1].completed:
                break
            if number > 1 and self.elapsed + longest > self.seconds:
                break
            self._train(number)
        return self.starts

    def _train(self, number: int) -> None:
        """One training, start by start, until it is complete or makes no progress any more."""
        work_dir, failures = self.folder / f'training_{number}', 0
        while failures < 3:
            start = self._start(number, work_dir)
            if start.completed:
                return
            failures = 0 if start.hit else failures + 1

    def _start(self, number: int, work_dir: Path) -> Start:
        done = _newest(work_dir)
        disturbed = bool(number) and self._may_be_hit(done)
        hit = self._next_hit() if disturbed else ''
        job = Job(
            self.training,
            work_dir,
            self.folder / f'start_{len(self.starts)}',
            len(self.starts),
            bool(number),
            self.step_seconds,
            self.nan,
            self._full_disk(done) if disturbed else None,
        )
        start = Start(job, number, done, self.elapsed)
        self.starts.append(start)
        job.start()
        try:
            self._watch(start, hit)
        finally:
            job.end()
        start.code, start.seconds = job.launcher.returncode, self.elapsed - start.began
        self._inspect(start, work_dir)
        self._report(start)
        return start

    def _may_be_hit(self, done: int) -> bool:
        """Whether the time left is more than the rest of this training needs."""
        first = self.starts[0]
        pace = (first.seconds - self._start_up()) / self.training.iterations
        rest = self._start_up() + pace * (self.training.iterations - done)
        few = sum(bool(start.hit) for start in self.starts) < FEWEST_HITS
        return few or self.elapsed + 1.3 * rest < self.seconds

    def _start_up(self) -> float:
        """How long the undisturbed training took to its first step."""
        return self.starts[0].trained_from or self.starts[0].seconds

    def _next_hit(self) -> str:
        """All kinds in random order, then again."""
        if not self.hits:
            self.hits = self.random.sample(sorted(HITS), len(HITS))
        return self.hits.pop()

    def _full_disk(self, done: int) -> tuple[int, int] | None:
        """Every third start finds the disk full at the end of its first epoch."""
        steps = self.training.steps
        last = (done // steps + 1) * steps + 2
        fits = done and last < self.training.iterations - steps
        return (last - 6, last) if fits and len(self.starts) % 3 == 2 else None

    def _watch(self, start: Start, hit: str) -> None:
        """Wait for the end, or for the moment of the hit."""
        early = hit and len(self.starts) % 6 == 5
        seconds = self.random.uniform(0, self._start_up())
        steps = self.random.randint(1, 2 * self.steps_between)
        if start.job.full_disk:
            steps = max(steps, start.job.full_disk[1] - start.begins + 4)
        told, last = self.elapsed, None
        for _ in start.job.watch(self.clock):
            place = start.job.last_iteration()
            if place != last:
                last, start.trained_to = place, self.elapsed
                start.trained_from = start.trained_from or self.elapsed
            if self.elapsed - told > 10:
                told = self.elapsed
                self._tell(f'start {start.job.number}: {_place(place, self.training)}')
            due = time.monotonic() - start.job.began > seconds
            if not early:
                due = place is not None and place + 1 - start.begins >= steps
            if hit and due and start.job.hit(hit):
                start.hit = hit
                break
        start.gone_after, start.lived_on = start.job.wait_until_gone(END_SECONDS)

    def _inspect(self, start: Start, work_dir: Path) -> None:
        """Verify what the start left, and sometimes damage the newest of it."""
        for path in sorted(work_dir.glob('*.pth')):
            problem = _problem(path)
            start.whole += not problem
            start.torn += [f'{path.name}: {problem}'] if problem else []
        if self.starts[-2:-1] and self.starts[-2].harm:
            self.starts[-2].told = 'It is kept as' in start.job.output or not start.job.notes()
            if not start.job.notes():  # hit before it could look: the next one will
                start.harm, self.starts[-2].harm = self.starts[-2].harm, ''
                return
        resumable = sorted(_resumable(work_dir), key=lambda path: path.stat().st_mtime_ns)
        if start.hit and len(resumable) > 1 and len(self.starts) % 4 == 3:
            start.harm = self.random.choice(HARMS)
            _damage(resumable[-1], start.harm, self.random)

    def _report(self, start: Start) -> None:
        steps = len(start.job.iterations())
        text = f'start {start.job.number}: from iteration {start.begins}, {steps} steps'
        if start.job.full_disk:
            text += ', disk full at iterations {} to {}'.format(*start.job.full_disk)
        if start.hit:
            text += f', {start.hit}, all gone after {start.gone_after:.1f} s'
        text += f', code {start.code}'
        text += f'; then the newest checkpoint damaged ({start.harm})' if start.harm else ''
        self._tell(text)

    def _tell(self, text: str) -> None:
        left = max(0.0, self.seconds - self.elapsed)
        self.say(f'[{_clock(self.elapsed)}, {_clock(left)} left] {text}')


def _place(iteration: int | None, training: Training) -> str:
    return 'starting' if iteration is None else f'iteration {iteration} of {training.iterations}'


def _clock(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


def _problem(path: Path) -> str:
    try:
        verify_checksums(path)
        load_checkpoint(str(path), peek=True)
    except (CheckpointError, DamagedCheckpoint) as error:
        return str(error)
    return ''


def _newest(work_dir: Path) -> int:
    """Iterations that the newest whole checkpoint has behind it."""
    numbers = [0]
    for path in _resumable(work_dir):
        if not _problem(path):
            numbers.append(load_checkpoint(str(path), peek=True)['meta']['iter'])
    return max(numbers)


def _resumable(work_dir: Path) -> list[Path]:
    """Checkpoints that a training can go on from: those behind an epoch, or in one."""
    return [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]


def _damage(path: Path, harm: str, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if harm == 'cut':
        content = content[: len(content) // 2]
    elif harm == 'zeros':
        content = bytes(len(content))
    else:
        content[chance.randrange(len(content) // 4, len(content) // 2)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
