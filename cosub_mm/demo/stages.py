"""A job of several commands that is done once, and goes on where it was interrupted."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from cosub_mm.processes import end_with_parent
from cosub_mm.whole_files import write_atomically

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
    work_dir, rows, recipes = Path(work_dir), [], {}
    for number, stage in enumerate(stages, 1):
        say(f'\n[{number}/{len(stages)}] {stage.title}')
        parts = [json.dumps(stage.commands), stage.recipe, *(recipes[name] for name in stage.needs)]
        recipes[stage.name] = hashlib.sha256('\0'.join(parts).encode()).hexdigest()
        rows.append(_Run(stage, work_dir, Path(cwd), recipes[stage.name], say)(overwrite))
    return rows


class _Run:
    """One stage in its folder, where ``stage.json`` says what was begun or done, and how long."""

    def __init__(self, stage: Stage, work_dir: Path, cwd: Path, recipe: str, say: Callable) -> None:
        self.stage, self.cwd, self.recipe, self.say = stage, cwd, recipe, say
        self.folder = work_dir / stage.name
        self.names = {'dir': str(self.folder), 'work_dir': str(work_dir)}
        self.written = [path.format(**self.names) for path in stage.writes]

    def __call__(self, overwrite: bool) -> StageResult:
        state = {} if overwrite else self._state()
        done = bool(state.get('done'))
        if not done and not any(self.folder.glob('*.pth')):
            state = {}  # nothing is lost by starting anew, with whatever config
        if state and state.get('fingerprint') != self.recipe:
            raise StageError(
                f'{self.folder} holds a stage that was {"done" if done else "begun"} with another '
                f'config or other commands. Keep it by --work-dir with another folder, or do the '
                f'job again by --overwrite.'
            )
        reused = done and not self._missing() and not self.stage.always
        if reused:
            self.say(f'  done before, in {duration(state["seconds"])}; {self.folder} is kept')
        else:
            if state and not self.stage.always:
                self.say(f'  going on in {self.folder}')
            option = '--overwrite' if overwrite else '--resume' if state else ''
            self._do(0.0 if self.stage.always else state.get('seconds', 0.0), option)
        result = self.stage.result(self.folder)
        if result:
            self.say(f'  {result}')
        seconds = self._state()['seconds']
        return StageResult(self.stage.title, seconds, result, self.written, reused)

    def _do(self, seconds: float, option: str) -> None:
        """Run the commands, after ``seconds`` of earlier starts; trainings get the option."""
        self._save(seconds, done=False)
        start = time.monotonic()
        try:
            for command in self.stage.commands:
                line = [part.format(**self.names) for part in command]
                train = line[0].endswith('train.py') and option
                self._run([*line, option] if train else line)
        finally:
            seconds += time.monotonic() - start
            self._save(seconds, done=False)
        if self._missing():
            names = ', '.join(self._missing())
            raise StageError(f'{self.stage.title}: {names} has not been written.')
        self._save(seconds, done=True)

    def _run(self, line: list[str]) -> None:
        self.say(f'  $ python {shlex.join(line)}')
        output = self.folder / OUTPUT
        with open(output, 'a', buffering=1) as file:  # by lines: a kill loses none
            file.write(f'$ python {shlex.join(line)}\n')
            with subprocess.Popen(
                [sys.executable, *line],
                cwd=self.cwd,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=end_with_parent,  # or it would train on when this process is killed
            ) as process:
                try:
                    self._follow(process, file)
                except BaseException:
                    # By Ctrl-C it has the same signal. A training saves behind its step and ends.
                    process.terminate()
                    process.wait()
                    raise
        if process.returncode:
            end = '\n'.join(output.read_text().splitlines()[-15:])
            raise StageError(
                f'{self.stage.title}: the command above ended with code {process.returncode}.\n'
                f'{end}\nAll of its output is in {output}.'
            )

    def _follow(self, process: subprocess.Popen, file: TextIO) -> None:
        """Keep all that a command prints, and show its progress now and then."""
        shown = time.monotonic()
        for text in process.stdout:
            file.write(text)
            progress = re.search(r'INFO - (.*(?:Epoch|Iter)\(.*)', text)
            if progress and time.monotonic() - shown > PROGRESS_INTERVAL:
                shown = time.monotonic()
                self.say('    ' + progress[1][:150])

    def _missing(self) -> list[str]:
        return [path for path in self.written if not (self.cwd / path).exists()]

    def _state(self) -> dict:
        try:
            state = json.loads((self.folder / STATE).read_text())
            return state if isinstance(state, dict) else {}
        except (OSError, ValueError):
            return {}

    def _save(self, seconds: float, done: bool) -> None:
        state = {'fingerprint': self.recipe, 'seconds': seconds, 'done': done}
        write_atomically(self.folder / STATE, json.dumps(state).encode())


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


def _environment() -> dict[str, str]:
    """As many threads as there are cores; mmengine would take one as soon as there are workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    # Threads that spin for long while they wait make a step 20 times slower once a core is busy
    # otherwise; threads that never spin give away the second core on a free machine.
    defaults = {'OMP_NUM_THREADS': str(min(cores or 1, 8)), 'GOMP_SPINCOUNT': '10000'}
    return {**defaults, 'PYTHONUNBUFFERED': '1', **os.environ}
