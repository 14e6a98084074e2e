"""Programs in interpreters that know nothing of OpenMMLab or cosub_mm, at the price of a fork.

Of the seven seconds in which a tool starts, other libraries cost more than five: torch, torchvision
and what they bring. A server that has loaded these, and nothing that cosub_mm takes part in, forks
for each program. What a program imports of OpenMMLab and of cosub_mm, and in which order, is its
own; so are its environment, its folder, its output and its exit code. Where a test asks what is
*not* loaded, or runs without one of ``LOADED``, it needs a Python of its own.
"""

import atexit
import gc
import json
import os
import runpy
import select
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

LOADED = (
    *('numpy', 'torch', 'torchvision', 'timm', 'scipy.stats', 'sklearn.metrics'),
    *('matplotlib.pyplot', 'cv2', 'yapf', 'rich'),
)
ROOT = Path(__file__).parents[1]


def run(arguments: Sequence[object], **options) -> subprocess.CompletedProcess:
    """Like ``subprocess.run([sys.executable, *arguments], capture_output=True, text=True)``.

    Args:
        arguments: ``-c CODE``, ``-m MODULE`` or a script, and the program's own arguments.
        options: ``cwd``, ``env`` and ``timeout`` of :func:`subprocess.run`. Of the variables that
            Python itself reads, PYTHONPATH and PYTHONWARNINGS, a single word, are heeded.
    """
    return run_together([arguments], **options)[0]


def run_together(
    programs: Sequence[Sequence[object]],
    cwd: Path | str = '.',
    env: dict[str, str] | None = None,
    timeout: float = 300,
) -> list[subprocess.CompletedProcess]:
    """Run programs side by side, as the processes of one training, and wait for all."""
    commands = [[str(argument) for argument in program] for program in programs]
    with TemporaryDirectory() as folder:
        jobs = [
            dict(
                command=command,
                cwd=str(Path(cwd).resolve()),
                env=dict(os.environ if env is None else env),
                output=f'{folder}/{i}',
            )
            for i, command in enumerate(commands)
        ]
        server = _server()
        server.stdin.write(json.dumps(jobs) + '\n')
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            server.kill()  # the programs end with it
            server.wait()
            _server.cache_clear()
            raise subprocess.TimeoutExpired(commands, timeout)
        codes = json.loads(server.stdout.readline())
        return [
            subprocess.CompletedProcess(
                command, code, *(Path(f'{folder}/{i}.{end}').read_text() for end in ('out', 'err'))
            )
            for i, (command, code) in enumerate(zip(commands, codes, strict=True))
        ]


@cache
def _server() -> subprocess.Popen:
    """The server of this process; it ends where its standard input does."""
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)
    return server


def _serve() -> dict:
    """Fork for each job that is asked for; comes back in the programs' processes alone."""
    for line in sys.stdin:
        pids = []
        for job in json.loads(line):
            pid = os.fork()
            if not pid:
                return job
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)
    os._exit(0)


def _become(job: dict) -> None:
    """Put the process where Python is before it runs a program."""
    for number, end, flags in ((0, None, 0), (1, 'out', 0), (2, 'err', 0)):
        path = f'{job["output"]}.{end}' if end else os.devnull
        flags = os.O_WRONLY | os.O_CREAT if end else os.O_RDONLY
        os.dup2(os.open(path, flags), number)
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    if word := os.environ.get('PYTHONWARNINGS'):
        warnings.simplefilter(word)
    import_module('numpy').random.seed()  # or all programs would draw the same


def _run(command: list[str]) -> None:
    first, *others = command
    where = '' if first in ('-c', '-m') else os.path.dirname(first)
    paths = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.path[:] = dict.fromkeys([where, *paths, *sys.path[1:]])
    if first == '-m':
        sys.argv = others
        runpy.run_module(others[0], run_name='__main__', alter_sys=True)
    elif first == '-c':
        sys.argv = ['-c', *others[1:]]
        main = sys.modules['__main__'] = ModuleType('__main__')
        exec(compile(others[0], '<string>', 'exec'), vars(main))
    else:
        sys.argv = command
        runpy.run_path(first, run_name='__main__')


if __name__ == '__main__':
    end_with_parent = runpy.run_path(ROOT / 'cosub_mm/processes.py')['end_with_parent']
    for name in LOADED:
        import_module(name)
    gc.freeze()  # else a program's last collection would touch, and so copy, all of it
    job = _serve()
    end_with_parent()
    _become(job)
    _run(job['command'])
