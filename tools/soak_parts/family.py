"""Memory and descriptors of a process and all that it has started, added up."""

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ['measure_family']

# What a process has of its own, shared pages divided by those who share them: files that are mapped
# are the system's, and come and go with other programs.
PARTS = ('Pss_Anon:', 'Pss_Shmem:', 'SwapPss:')


def measure_family(pid: int) -> tuple[int, int]:
    """Bytes and open descriptors of a process and its children, theirs included.

    Args:
        pid: the process; one that ends while it is measured counts as far as it was seen.
    """
    memory = descriptors = 0
    for one in _family(pid):
        try:
            lines = Path(f'/proc/{one}/smaps_rollup').read_text().splitlines()
            number = len(os.listdir(f'/proc/{one}/fd'))
        except OSError:
            continue
        fields = (line.split() for line in lines)
        memory += sum(int(words[1]) * 1024 for words in fields if words[0] in PARTS)
        descriptors += number
    return memory, descriptors


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in Path(f'/proc/{pid}/task').iterdir():
            for child in (task / 'children').read_text().split():
                yield from _family(int(child))
    except OSError:
        return
