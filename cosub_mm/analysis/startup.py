"""How long a training takes to its first step, and how much memory, on data sets of any size."""

import io
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cosub_mm.datasets.imagenet21k.image_index import INDEX, ClassSource
from cosub_mm.launch.errors import UserError

__all__ = ['Start', 'first_step', 'make_shards']


class Start(NamedTuple):
    """Of a start: time to the first logged step, and the most memory, of all its processes."""

    seconds: float
    processor_seconds: float
    gigabytes: float

    def __str__(self) -> str:
        return (
            f'{self.seconds:.1f} s to the first step ({self.processor_seconds:.1f} s of processor '
            f'time), {self.gigabytes:.2f} GB at most'
        )


def make_shards(root: Path, classes: int, images: int) -> None:
    """Make a prepared data set of tar shards whose number of images alone matters.

    All classes are names of one shard (hard links), so that it takes little more room than its
    index. What is there already is kept.
    """
    done = root / f'{classes}_{images}'
    if done.exists():
        return
    index = root / INDEX
    index.mkdir(parents=True, exist_ok=True)
    counts = [images * (c + 1) // classes - images * c // classes for c in range(classes)]
    first = root / f'{_name(0)}.tar'
    places = _write_shard(first, max(counts))
    stamp = ClassSource(_name(0), first).stamp
    for number, count in enumerate(counts):
        name = _name(number)
        shard = root / f'{name}.tar'
        if number and not shard.exists():
            os.link(first, shard)
        lines = [f'{name}_{i}.JPEG\t{at}\t{size}' for i, (at, size) in enumerate(places[:count])]
        (index / f'{name}.tsv').write_text('\n'.join([stamp, *lines, '']))
    done.touch()


def _name(number: int) -> str:
    return f'n{number:08d}'


def _write_shard(path: Path, count: int) -> list[tuple[int, int]]:
    """Where the images of a new shard are."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, 'JPEG', quality=50)
    with tarfile.open(path, 'w') as shard:
        for number in range(count):
            info = tarfile.TarInfo(f'{_name(0)}_{number}.JPEG')
            info.size = buffer.tell()
            shard.addfile(info, io.BytesIO(buffer.getvalue()))
    with tarfile.open(path) as shard:
        return [(member.offset_data, member.size) for member in shard]


def first_step(command: list[str], work_dir: Path, timeout: float) -> Start:
    """Run a training until the first step is in its log, and end it.

    Args:
        command: of a training that logs every step.
        work_dir: of the training.
        timeout: seconds to wait.

    Raises:
        UserError: the training ended before, or took longer.
    """
    begin, most, spent = time.monotonic(), 0, 0.0
    work_dir.mkdir(parents=True, exist_ok=True)
    earlier = {*work_dir.glob('*/*.log')}
    with open(work_dir / 'printed.txt', 'w+') as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        try:
            while not any(map(_has_step, {*work_dir.glob('*/*.log')} - earlier)):
                memory, spent = _use_of(process.pid)
                most = max(most, memory)
                seconds = time.monotonic() - begin
                if process.poll() is not None or seconds > timeout:
                    printed.seek(0)
                    raise UserError(
                        f'no first step after {seconds:.0f} s: {printed.read()[-2000:]}'
                    )
                time.sleep(0.5)  # looking at the memory of all processes takes time itself
            seconds = time.monotonic() - begin
            memory, spent = _use_of(process.pid)
            most = max(most, memory)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return Start(seconds, spent, most / 2**30)


def _has_step(log: Path) -> bool:
    return 'Epoch(train)' in log.read_text()


def _use_of(pid: int) -> tuple[int, float]:
    """Bytes, shared ones once, and processor seconds of a process and those it has started."""
    memory, spent, stack = 0, 0.0, [pid]
    while stack:
        one = stack.pop()
        try:
            for task in Path(f'/proc/{one}/task').iterdir():
                stack += map(int, (task / 'children').read_text().split())
            ticks = Path(f'/proc/{one}/stat').read_text().rpartition(')')[2].split()[11:13]
            fields = Path(f'/proc/{one}/smaps_rollup').read_text().splitlines()
        except OSError:  # it has ended meanwhile
            continue
        spent += sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')
        memory += sum(int(line.split()[1]) for line in fields if line.startswith('Pss:')) * 1024
    return memory, spent
