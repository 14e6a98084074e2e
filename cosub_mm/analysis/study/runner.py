"""Make the runs that are missing, a few at a time, and keep each one's result."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from cosub_mm.processes import end_with_parent
from cosub_mm.whole_files import write_atomically

from .protocol import TEACHER, Run

__all__ = ['RunFailed', 'make_runs', 'results_in']

RESULT = 'result.json'
TIMES = 'times.json'


class RunFailed(RuntimeError):
    """A training or a test that did not end well."""


def results_in(work_dir: Path, fingerprint: str) -> dict[str, dict]:
    """Folder of each finished run -> its result.

    Args:
        work_dir: of the study.
        fingerprint: of the protocol.

    Raises:
        RunFailed: a result of another protocol.
    """
    found = {}
    for file in sorted(work_dir.glob(f'*/seed*/{RESULT}')):
        result = json.loads(file.read_text(encoding='utf-8'))
        if result['protocol'] != fingerprint:
            raise RunFailed(f'{file} is of another protocol; move its folder away.')
        found[str(file.parent.relative_to(work_dir))] = result
    return found


def make_runs(
    runs: Sequence[Run],
    work_dir: Path,
    root: Path,
    fingerprint: str,
    options: Sequence[str] = (),
    data_root: str | None = None,
    jobs: int = 2,
    say: Callable[[str], None] = print,
) -> None:
    """Make what is missing; a run that was begun goes on from its checkpoint.

    Args:
        runs: in order; the teacher first where there is one.
        work_dir: gets ``ARM/seedN`` for each run, with what the tools write and ``result.json``.
        root: of the repository, with tools and configs.
        fingerprint: of the protocol, kept in each result.
        options: settings of all runs.
        data_root: folder of the data, or None for the config's.
        jobs: runs side by side, one thread each.
        say: prints a line.

    Raises:
        RunFailed: a run failed; its log is named, and what others have done is kept.
    """
    done = results_in(work_dir, fingerprint)
    missing = [run for run in runs if run.folder not in done]
    say(f'{len(runs) - len(missing)} of {len(runs)} runs are done, {len(missing)} to make')
    begun, seconds = time.monotonic(), 0.0
    teachers = [run for run in missing if run.arm == TEACHER]
    made = 0
    for group in (teachers, [run for run in missing if run.arm != TEACHER]):
        with ThreadPoolExecutor(jobs) as pool:
            futures = {
                pool.submit(_make, run, work_dir, root, fingerprint, options, data_root): run
                for run in group
            }
            try:
                for future in as_completed(futures):
                    result = future.result()
                    made += 1
                    seconds = time.monotonic() - begun
                    left = seconds / made * (len(missing) - made) / 60
                    say(
                        f'{futures[future].folder}: {result["accuracy"]:.2f} % in '
                        f'{result["seconds"] / 60:.1f} min ({result["core_seconds"] / 60:.1f} of a '
                        f'core); {made} of {len(missing)}, about '
                        f'{left:.0f} min left'
                    )
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _make(run: Run, work_dir: Path, root: Path, fingerprint: str, options, data_root) -> dict:
    folder = work_dir / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    settings = [f'randomness.seed={run.seed}', *run.options, *options]
    if run.needs_teacher:
        settings.append(f'model.teacher_checkpoint={_last(work_dir / TEACHER / "seed0")}')
    data = ['--data-root', data_root] if data_root else []
    config = str(root / f'configs/study/{run.config}.py')
    resume = ['--resume'] if _last(folder) else []
    start = time.monotonic()
    used = _call(
        root,
        folder / 'train.log',
        ['tools/train.py', config, '--work-dir', str(folder), *data, *resume],
        settings,
    )
    before = _before(folder)
    times = dict(
        seconds=before['seconds'] + time.monotonic() - start,
        core_seconds=before['core_seconds'] + used,
    )
    write_atomically(folder / TIMES, json.dumps(times).encode())
    test = [s for s in settings if not s.startswith('model.teacher_checkpoint')]
    metrics, kept = folder / 'metrics.json', ['--work-dir', str(folder / 'test')]
    _call(
        root,
        folder / 'test.log',
        ['tools/test.py', config, str(_last(folder)), *kept, '--out', str(metrics), *data],
        test,
    )
    values = json.loads(metrics.read_text(encoding='utf-8'))
    result = dict(
        protocol=fingerprint,
        arm=run.arm,
        seed=run.seed,
        accuracy=values['accuracy/top1'],
        metrics=values,
        **times,
        finished=time.strftime('%Y-%m-%d %H:%M'),
    )
    write_atomically(folder / RESULT, json.dumps(result, indent=1).encode())
    return result


def _before(folder: Path) -> dict[str, float]:
    """Times of an earlier start that got as far as the test."""
    file = folder / TIMES
    return json.loads(file.read_text()) if file.is_file() else dict(seconds=0.0, core_seconds=0.0)


def _last(folder: Path) -> Path | None:
    files = sorted(folder.glob('epoch_*.pth'), key=lambda file: int(file.stem.partition('_')[2]))
    return files[-1] if files else None


def _call(root: Path, log: Path, command: list[str], settings: Sequence[str]) -> float:
    """Run a tool; returns the seconds of a core that it took, which no neighbour adds to."""
    paths = [str(root), os.environ.get('PYTHONPATH', '')]
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=os.pathsep.join(filter(None, paths)))
    command = [sys.executable, str(root / command[0]), *command[1:], '--cfg-options', *settings]
    with open(log, 'a', encoding='utf-8') as file:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,  # a study that is killed leaves no run behind
        )
        _, status, usage = os.wait4(process.pid, 0)
    # What Popen would otherwise ask the system for, which has forgotten the process by now.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()[-1:]
        raise RunFailed(
            f'{Path(command[1]).name} ended with {process.returncode}; see {log}: '
            f'{" ".join(last)[:300]}. The same command goes on from here.'
        )
    return usage.ru_utime + usage.ru_stime
