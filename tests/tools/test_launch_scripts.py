"""What the shell scripts hand on; the interpreter is a stand-in that prints it."""

import os
import subprocess
from pathlib import Path

TOOLS = Path(__file__).parents[2] / 'tools'


def printed(script: str, *arguments: str, **environment: str) -> list[str]:
    names = ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'PORT', 'JOIN_TIMEOUT')
    clean = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [str(TOOLS / script), *arguments],
        env={**clean, 'PYTHON': 'echo', **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_second_of_two_machines():
    words = printed(
        'dist_train.sh',
        'c.py',
        '8',
        '--amp',
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='head',
        PORT='7',
    )
    assert words[:8] == [
        '-m',
        'cosub_mm.launch.torchrun',  # torchrun, and its exit code
        '--nnodes=2',
        '--nproc-per-node=8',
        '--node-rank=1',
        '--master-addr=head',
        '--master-port=7',
        '--rdzv-conf=timeout=600',
    ]
    assert words[8:] == [str(TOOLS / 'train.py'), 'c.py', '--launcher', 'pytorch', '--amp']


def test_one_machine_takes_any_free_port():
    words = printed('dist_test.sh', 'c.py', 'w.pth', '4')
    assert words[2:5] == ['--nnodes=1', '--nproc-per-node=4', '--standalone']
    assert words[5:] == [str(TOOLS / 'test.py'), 'c.py', 'w.pth', '--launcher', 'pytorch']


def test_several_machines_need_a_place_and_an_address():
    """Two that both believe to be the first would wait for each other."""
    absent = ('NODE_RANK', 'MASTER_ADDR')
    environment = {key: v for key, v in os.environ.items() if key not in absent}
    run = subprocess.run(
        [str(TOOLS / 'dist_train.sh'), 'c.py', '8'],
        env={**environment, 'PYTHON': 'echo', 'NNODES': '2'},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and 'NNODES=2 needs NODE_RANK' in run.stderr
