"""The set-up of ``make``: trusted only when it is whole, and made anew when requirements change.

The interpreter and the environment's pip are stand-ins that write down how they were called.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

INTERPRETER = """#!/bin/sh
if [ "$1" = -m ]; then
    mkdir -p "$3/bin" && touch "$3/pyvenv.cfg"
    printf '#!/bin/sh\\necho "$@" >> calls\\nexit ${PIP_FAILS:-0}\\n' > "$3/bin/python"
    chmod +x "$3/bin/python"
else
    exec %s "$@"
fi
"""


@pytest.fixture
def project(tmp_path):
    """A copy of what the set-up reads, with the stand-in interpreter."""
    shutil.copy(ROOT / 'Makefile', tmp_path)
    shutil.copy(ROOT / 'setup.py', tmp_path)
    shutil.copytree(ROOT / 'requirements', tmp_path / 'requirements')
    python = tmp_path / 'python'
    python.write_text(INTERPRETER % sys.executable)
    python.chmod(0o755)
    return tmp_path


def make(
    project: Path, *settings: str, target: str = 'setup', **environment: str
) -> tuple[int, list[str], str]:
    """Exit code, what the environment's python was called with, and all output."""
    (project / 'calls').unlink(missing_ok=True)
    done = subprocess.run(
        ['make', target, 'PYTHON=./python', *settings],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    calls = project / 'calls'
    return (
        done.returncode,
        calls.read_text().splitlines() if calls.exists() else [],
        done.stdout + done.stderr,
    )


def test_sets_up_once_and_again_when_requirements_change(project):
    code, calls, _ = make(project)
    assert code == 0
    assert any('install' in call and '.[tests]' in call for call in calls)
    assert make(project)[1] == []

    with open(project / 'requirements' / 'runtime.txt', 'a') as file:
        file.write('six\n')
    code, calls, _ = make(project)
    assert code == 0
    assert calls


def test_a_failed_set_up_is_not_trusted(project):
    code, _, _ = make(project, PIP_FAILS='1')
    assert code != 0
    leftover = project / '.venv' / 'leftover'
    leftover.touch()
    code, calls, _ = make(project)
    assert code == 0
    assert calls
    assert not leftover.exists(), 'the half-made environment was used again'


def test_an_older_or_newer_file_with_the_same_text_changes_nothing(project):
    assert make(project)[0] == 0
    for seconds in (1e9, 4e9):
        for source in (project / 'setup.py', *(project / 'requirements').iterdir()):
            os.utime(source, (seconds, seconds))
        assert make(project)[:2] == (0, [])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


ENVIRONMENT = ('pyvenv.cfg', 'bin/python', 'lib/mine.py')


@pytest.mark.parametrize(
    ('files', 'name', 'target'),
    [
        pytest.param(ENVIRONMENT, '.venv', 'test', id='an environment of the user'),
        pytest.param(ENVIRONMENT, 'elsewhere', 'demo', id='an environment elsewhere'),
        pytest.param(('holiday.jpg',), 'photos', 'setup', id='photographs'),
        pytest.param((), '.venv', 'setup', id='an empty folder'),
    ],
)
def test_what_somebody_else_made_is_not_replaced(project, files, name, target):
    folder = project / name
    folder.mkdir()
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text('mine')
    before = contents(folder)
    code, calls, output = make(project, f'VENV={name}', target=target)
    assert code != 0
    assert not calls
    assert f'error: {name} was not made by make setup and stays as it is' in output
    assert contents(folder) == before
    assert folder.is_dir()


def test_a_link_is_not_replaced_and_nothing_behind_it(project):
    """Also where the environment behind it is one of ours: others may use it."""
    assert make(project, 'VENV=real')[0] == 0
    (project / '.venv').symlink_to('real')
    assert make(project)[0] == 0  # it is ready

    with open(project / 'requirements' / 'runtime.txt', 'a') as file:
        file.write('six\n')
    before = contents(project / 'real')
    code, calls, output = make(project)
    assert (code != 0, calls) == (True, [])
    assert 'error: .venv was not made by make setup' in output
    assert contents(project / 'real') == before
    assert (project / '.venv').is_symlink()


def test_an_environment_of_an_older_version_is_ours(project):
    """Older versions of the Makefile left a stamp and no marker."""
    venv = project / '.venv'
    (venv / 'bin').mkdir(parents=True)
    for name in ('pyvenv.cfg', '.ready-12345', 'leftover'):
        (venv / name).touch()
    code, calls, _ = make(project)
    assert code == 0
    assert calls
    assert not (venv / 'leftover').exists()
    assert not (venv / '.ready-12345').exists()


@pytest.mark.parametrize('stage', ['venv', 'pip'])
def test_a_set_up_stopped_early_is_ours(project, stage):
    """The marker is there before anything else, so that the second try is not refused."""
    python = project / 'python'
    whole = python.read_text()
    if stage == 'venv':
        python.write_text(whole.replace('mkdir -p', 'mkdir -p "$3/half"; exit 1; mkdir -p'))
    code, _, _ = make(project, PIP_FAILS='1')
    assert code != 0
    python.write_text(whole)
    assert make(project)[0] == 0
    assert not (project / '.venv' / 'half').exists()


@pytest.mark.parametrize('venv', ['', 'my environment'])
def test_a_place_must_be_one_path(project, venv):
    code, calls, output = make(project, f'VENV={venv}')
    assert (code, calls) == (2, [])
    assert 'must be one path' in output


@pytest.mark.parametrize('target', ['demo', 'test'])
def test_what_make_starts_can_end_with_it(project, target):
    """It is told so, and its parent is make itself, no shell in between."""
    assert make(project)[0] == 0
    python = project / '.venv' / 'bin' / 'python'
    python.write_text('#!/bin/sh\necho "$COSUB_END_WITH_PARENT $(cat /proc/$PPID/comm)" >> calls\n')
    code, calls, _ = make(project, target=target)
    assert (code, calls) == (0, ['1 make'])


SUITE = """
import os, subprocess, time
from pathlib import Path

def note(who, pid):
    Path(__file__).with_name(f'{who}_{pid}').touch()

def test_long():
    note('worker', os.getpid())
    note('pytest', os.getppid())
    child = subprocess.Popen(['sleep', '60'])
    note('child', child.pid)
    child.wait()
"""


@pytest.mark.skipif(not Path('/proc').is_dir(), reason='the kernel of Linux ends them')
@pytest.mark.parametrize(
    ('who', 'number'),
    [('make', signal.SIGKILL), ('pytest', signal.SIGKILL), ('all', signal.SIGINT)],
)
def test_an_interrupted_make_test_leaves_no_process(project, who, number):
    """By what tests/conftest.py calls: pytest, its workers and what these start end with it."""
    assert make(project)[0] == 0
    (project / '.venv/bin/python').write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    suite = project / 'suite'
    suite.mkdir()
    conftest = (ROOT / 'tests/conftest.py').read_text()
    ending = conftest.partition('end_with_make()\n')[2].partition('@pytest.fixture')[0]
    imports = 'import subprocess, threading\n'
    imports += 'from cosub_mm.processes import end_with_make, end_with_parent\n'
    (suite / 'conftest.py').write_text(f'{imports}end_with_make()\n{ending}')
    (suite / 'test_one.py').write_text(SUITE)
    run = subprocess.Popen(
        ['make', 'test', 'PYTHON=./python', 'TESTS=-p no:cacheprovider suite'],
        cwd=project,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait(lambda: len(list(suite.glob('*_[0-9]*'))) == 3)
    pids = dict(mark.name.split('_') for mark in suite.glob('*_[0-9]*'))
    if who == 'all':
        os.killpg(run.pid, number)
    else:
        os.kill(run.pid if who == 'make' else int(pids[who]), number)
    run.wait()
    _wait(lambda: not any(map(_lives, pids.values())))


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid: str) -> bool:
    try:
        return ') Z' not in Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
