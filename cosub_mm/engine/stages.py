"""A job of several commands that is done once, and goes on where it was interrupted."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosub_mm.datasets.manifest import write_atomically

__all__ = ['Stage', 'StageError', 'StageResult', 'run_stages']

STATE = 'stage.json'
OUTPUT = 'output.txt'
# Seconds between two lines of progress.
PROGRESS_INTERVAL = 10.0


class StageError(RuntimeError):
    """A command that failed, or a stage whose results were made otherwise."""


@dataclass(frozen=True)
class Stage:
    """Commands with one result.

    Args:
        name: also the folder, below the work dir of the job, of what the stage writes.
        title: what it does, for the reader.
        commands: command lines without the interpreter. ``{dir}`` stands for the stage's folder,
            ``{work_dir}`` for the job's.
        recipe: everything else that the result depends on, e.g. the text of the config.
        needs: names of earlier stages whose results this one reads.
        writes: files that must exist when it is done, with the same placeholders.
        result: gives the result, as text, from the stage's folder.
        always: run it each time; for commands that themselves see what is done.
    """

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    recipe: str = ''
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    result: Callable[[Path], str] = field(default=lambda folder: '')
    always: bool = False


@dataclass
class StageResult:
    """A row of the job's table."""

    title: str
    seconds: float
    result: str
    written: list[str]
    reused: bool


def run_stages(
    stages: Sequence[Stage],
    work_dir: str | Path,
    cwd: str | Path = '.',
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> list[StageResult]:
    """Run what is not done yet, in order.

    Args:
        stages: the job. A training command may go on by itself: a stage that was begun before is
            run with ``--resume`` added to each call of ``tools/train.py``.
        work_dir: gets a folder for each stage, with the state and the output of its commands.
        cwd: where the commands run.
        overwrite: do every stage again, from the start.
        say: prints a line.

    Returns:
        One row a stage. The time of a stage adds up over interruptions.

    Raises:
        StageError: a command failed, wrote not what it should, or (without ``overwrite``) a stage
            was begun or done by other commands or another config.
    """
    work_dir, rows, fingerprints = Path(work_dir), [], {}
    for number, stage in enumerate(stages, 1):
        say(f'\n[{number}/{len(stages)}] {stage.title}')
        fingerprints[stage.name] = _fingerprint(stage, [fingerprints[n] for n in stage.needs])
        run = _Run(stage, work_dir, Path(cwd), fingerprints[stage.name], say)
        rows.append(run(overwrite))
    return rows


class _Run:
    """One stage in its folder."""

    def __init__(self, stage: Stage, work_dir: Path, cwd: Path, fingerprint: str, say: Callable):
        self.stage, self.cwd, self.fingerprint, self.say = stage, cwd, fingerprint, say
        self.folder = work_dir / stage.name
        self.names = {'dir': str(self.folder), 'work_dir': str(work_dir)}
        self.written = [path.format(**self.names) for path in stage.writes]

    def __call__(self, overwrite: bool) -> StageResult:
        state = {} if overwrite else self._state()
        if not state.get('done') and not self._has_checkpoint():
            state = {}  # nothing is lost by starting anew, with whatever config
        if state and state.get('fingerprint') != self.fingerprint:
            raise StageError(
                f'{self.folder} holds a stage that was {"done" if state.get("done") else "begun"} '
                f'with another config or other commands. Keep it by --work-dir with another '
                f'folder, or do the job again by --overwrite.'
            )
        if state.get('done') and not self._missing() and not self.stage.always:
            self.say(f'  done before, in {duration(state["seconds"])}; {self.folder} is kept')
            return self._row(state['seconds'], reused=True)
        if state and not self.stage.always:
            self.say(f'  going on in {self.folder}')
        seconds = 0.0 if self.stage.always else state.get('seconds', 0.0)
        return self._row(self._run_commands(seconds, bool(state), overwrite), reused=False)

    def _run_commands(self, seconds: float, begun: bool, overwrite: bool) -> float:
        self._save(seconds, done=False)
        start = time.monotonic()
        try:
            for command in self.stage.commands:
                self._run(self._complete(command, begun, overwrite))
        finally:
            seconds += time.monotonic() - start
            self._save(seconds, done=False)
        missing = self._missing()
        if missing:
            raise StageError(f'{self.stage.title}: {", ".join(missing)} has not been written.')
        self._save(seconds, done=True)
        return seconds

    def _complete(self, command: Sequence[str], begun: bool, overwrite: bool) -> list[str]:
        line = [part.format(**self.names) for part in command]
        if line[0].endswith('train.py'):
            line += ['--overwrite'] if overwrite else ['--resume'] if begun else []
        return line

    def _run(self, line: list[str]) -> None:
        self.say(f'  $ python {shlex.join(line)}')
        shown = time.monotonic()
        with open(self.folder / OUTPUT, 'a') as file:
            file.write(f'$ python {shlex.join(line)}\n')
            process = subprocess.Popen(
                [sys.executable, *line],
                cwd=self.cwd,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                for text in process.stdout:
                    file.write(text)
                    if _is_progress(text) and time.monotonic() - shown > PROGRESS_INTERVAL:
                        shown = time.monotonic()
                        self.say('    ' + text.partition('INFO - ')[2].strip()[:150])
                code = process.wait()
            except BaseException:
                # The child has the same signal; it must not outlive us.
                process.terminate()
                process.wait()
                raise
        if code:
            raise StageError(
                f'{self.stage.title}: the command above ended with code {code}.\n{self._end()}\n'
                f'All of its output is in {self.folder / OUTPUT}.'
            )

    def _end(self, lines: int = 15) -> str:
        return '\n'.join((self.folder / OUTPUT).read_text().splitlines()[-lines:])

    def _has_checkpoint(self) -> bool:
        return any(self.folder.glob('*.pth'))

    def _missing(self) -> list[str]:
        return [path for path in self.written if not (self.cwd / path).exists()]

    def _state(self) -> dict:
        try:
            state = json.loads((self.folder / STATE).read_text())
            return state if isinstance(state, dict) else {}
        except (OSError, ValueError):
            return {}

    def _save(self, seconds: float, done: bool) -> None:
        state = {'fingerprint': self.fingerprint, 'seconds': seconds, 'done': done}
        write_atomically(self.folder / STATE, json.dumps(state).encode())

    def _row(self, seconds: float, reused: bool) -> StageResult:
        result = self.stage.result(self.folder)
        if result:
            self.say(f'  {result}')
        return StageResult(self.stage.title, seconds, result, self.written, reused)


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


def _fingerprint(stage: Stage, needs: list[str]) -> str:
    parts = [json.dumps(stage.commands), stage.recipe, *needs]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()


def _environment() -> dict[str, str]:
    """As many threads as there are cores; mmengine would take one as soon as there are workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    # Threads that spin for long while they wait make a step 20 times slower once a core is busy
    # otherwise; threads that never spin give away the second core on a free machine.
    defaults = {'OMP_NUM_THREADS': str(min(cores or 1, 8)), 'GOMP_SPINCOUNT': '10000'}
    return {**defaults, 'PYTHONUNBUFFERED': '1', **os.environ}


def _is_progress(text: str) -> bool:
    return 'INFO - ' in text and any(word in text for word in ('Epoch(', 'Iter('))
