"""The set-up of ``make``: trusted only when it is whole, and made anew when requirements change.

The interpreter and the environment's pip are stand-ins that write down how they were called.
"""

import os
import shutil
import subprocess
import sys
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


def make(project: Path, *arguments: str, **environment: str) -> tuple[int, list[str], str]:
    """Exit code, what the environment's python was called with, and all output."""
    (project / 'calls').unlink(missing_ok=True)
    done = subprocess.run(
        ['make', 'setup', 'PYTHON=./python', *arguments],
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


def test_only_environments_are_replaced(project):
    (project / 'photos').mkdir()
    (project / 'photos' / 'holiday.jpg').touch()
    code, calls, output = make(project, 'VENV=photos')
    assert code != 0
    assert not calls
    assert 'photos is no virtual environment' in output
    assert (project / 'photos' / 'holiday.jpg').exists()
