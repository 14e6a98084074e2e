"""The table and the picture of a soak."""

import dataclasses
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch

from .campaign import Start
from .promise import Promise

__all__ = ['table', 'write_picture', 'write_report']


def table(promises: Sequence[Promise], command: str, seconds: float) -> str:
    """Markdown: a row a promise, and where it was broken below."""
    lines = ['| promise | measured | kept |', '|---|---|---|']
    for promise in promises:
        kept = 'NO' if not promise.kept else 'yes' if promise.tried else 'not tried'
        lines.append(f'| {promise.text} | {promise.measured} | {kept} |')
    lines += ['']
    for promise in promises:
        for fault in promise.faults:
            lines.append(f'- {promise.text}: NO: {fault}')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    lines.append(
        f'{time.strftime("%d %B %Y")}, {seconds / 60:.0f} minutes, {cores} CPU cores, Python '
        f'{platform.python_version()}, torch {torch.__version__}: `{command}`.'
    )
    return '\n'.join(lines) + '\n'


def write_report(
    folder: Path, promises: Sequence[Promise], starts: Sequence[Start], text: str
) -> list[Path]:
    """Write the table, the same as data, and the picture; returns the files."""
    files = [folder / name for name in ('soak.md', 'soak.json', 'soak.png')]
    files[0].write_text(text)
    rows = [vars(promise) | dict(kept=promise.kept) for promise in promises]
    hits = [
        dict(
            start=start.job.number,
            training=start.round,
            began=start.began,
            seconds=start.seconds,
            hit=start.hit,
            code=start.code,
            gone_after=start.gone_after,
            full_disk=start.job.full_disk,
            harm=start.harm,
        )
        for start in starts
    ]
    samples = [dataclasses.astuple(sample) for start in starts for sample in start.job.samples]
    content = dict(promises=rows, starts=hits, samples=samples)
    files[1].write_text(json.dumps(content))
    write_picture(starts, files[2])
    return files


def write_picture(starts: Sequence[Start], path: Path) -> None:
    """Memory and descriptors of the processes over time, with every hit as a line."""
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(11, 6), layout='constrained')
    samples = [sample for start in starts for sample in start.job.samples]
    for role, colour in (('rank 0', 'C0'), ('rank 1', 'C1'), ('launcher', 'C2')):
        own = [sample for sample in samples if sample.role == role]
        minutes = [sample.time / 60 for sample in own]
        axes[0].plot(minutes, [s.memory / 2**20 for s in own], '.', ms=2, c=colour, label=role)
        axes[1].plot(minutes, [s.descriptors for s in own], '.', ms=2, c=colour)
    for start in (start for start in starts if start.hit):
        for axis in axes:
            axis.axvline((start.began + start.seconds) / 60, c='0.8', lw=0.5, zorder=0)
    axes[0].set_ylabel('memory (MiB, resident)')
    axes[1].set_ylabel('open descriptors')
    axes[1].set_xlabel('minutes; grey: a kill or a signal')
    for axis in axes:
        axis.set_ylim(bottom=0)
    axes[0].legend(loc='lower right', markerscale=5)
    figure.savefig(path, dpi=110)
    plt.close(figure)
