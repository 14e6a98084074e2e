"""The soak sees each broken promise; pytest -m soak (make soak) runs it for three minutes."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch

from tools import soak
from tools.soak_parts.campaign import Start
from tools.soak_parts.family import measure_family
from tools.soak_parts.job import Job, Process, Sample
from tools.soak_parts.report import table
from tools.soak_parts.training import Training, make_data
from tools.soak_parts.verdict import judge

EPOCHS, STEPS = 2, 3
RESUME = 75


def notes(first: int, last: int) -> list[dict]:
    """Of a process that goes from one iteration to another, epochs of STEPS."""
    found = [dict(start=first)]
    for i in range(first, last):
        found.append(dict(iter=i, pictures=100 + i, loss=f'loss {i}'))
        if (i + 1) % STEPS == 0:
            found.append(dict(epoch=i // STEPS, weights=f'weights {i}'))
    return found


class Soak:
    """A soak that went well: undisturbed, then stopped by a signal, killed, and resumed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.training = folder, Training(folder / 'soak.py', EPOCHS, STEPS)
        text = ''.join(f'Cannot use {i} (cut); x takes its place\n' for i in range(3))
        self.starts = [
            self.add(0, 0, 6, 0, text),
            self.add(1, 0, 2, RESUME, '', hit='SIGTERM to the launcher'),
            self.add(1, 2, 5, -9, '', hit='SIGKILL to rank 0'),
            self.add(1, 3, 6, 0, text),
        ]
        for number in (0, 1):
            self.save(number, torch.ones(2))

    def add(self, number: int, first: int, last: int, code: int, text: str, hit='') -> Start:
        place = len(list(self.folder.glob('start_*')))
        folder = self.folder / f'start_{place}'
        folder.mkdir()
        (folder / 'output.txt').write_text(text)
        for rank in (0, 1):
            self.note(folder, rank, notes(first, last))
        work_dir = self.folder / f'training_{number}'
        job = Job(self.training, work_dir, folder, place, bool(number), 0.0)
        job.samples += [Sample(t, place, 1, 'rank 0', 10**9, 20) for t in range(100, 130)]
        if place == 0:
            for rank in (0, 1):
                held = [dict(behind=i, memory=10**9, descriptors=20) for i in range(12)]
                self.note(folder, rank, [*notes(first, last), *held])
        return Start(
            job, number, first, 0.0, hit=hit, code=code, trained_from=99.0, trained_to=200.0
        )

    def note(self, folder: Path, rank: int, entries: list[dict]) -> None:
        lines = [json.dumps(entry) + '\n' for entry in entries]
        (folder / f'rank{rank}.jsonl').write_text(''.join(lines))

    def change(self, number: int, rank: int, entry: int, **values: object) -> None:
        job = self.starts[number].job
        entries = job.notes(rank)
        entries[entry] |= values
        self.note(job.folder, rank, entries)

    def save(self, number: int, weights: torch.Tensor) -> None:
        folder = self.folder / f'training_{number}'
        folder.mkdir(exist_ok=True)
        torch.save(dict(state_dict=dict(w=weights)), folder / f'epoch_{EPOCHS}.pth')

    def hold(self, rank: int, **values: int) -> None:
        """Change what a process of the first start held behind its last epochs."""
        job = self.starts[0].job
        entries = job.notes(rank)
        for entry in entries[-4:]:
            entry |= values
        self.note(job.folder, rank, entries)

    def broken(self) -> list[str]:
        promises = judge(self.starts, self.training, self.folder)
        return [promise.text for promise in promises if not promise.kept]


def test_a_soak_that_went_well_breaks_no_promise(tmp_path):
    assert Soak(tmp_path).broken() == []


def test_what_did_not_happen_is_not_called_kept(tmp_path):
    done = Soak(tmp_path)
    promises = judge(done.starts, done.training, done.folder)
    lines = table(promises, 'soak', 60.0).splitlines()
    not_tried = [line for line in lines if line.endswith('| not tried |')]
    assert len(not_tried) == 3  # damaged checkpoints, full disks, no numbers


BREAKS = {
    'comes to its end': lambda s: setattr(s.starts[3], 'code', 1),
    'No process is left': lambda s: s.starts[2].lived_on.append(Process(1, 'rank 1')),
    '0 means done': lambda s: setattr(s.starts[1], 'code', 1),
    'is whole': lambda s: s.starts[2].torn.append('epoch_1.pth: cut'),
    'damaged newest checkpoint': lambda s: vars(s.starts[2]).update(harm='cut', told=False),
    'begins at the newest': lambda s: s.change(3, 0, 0, start=2),
    'SIGTERM loses no step': lambda s: vars(s.starts[1]).update(
        job=dataclasses.replace(s.starts[1].job, folder=s.starts[2].job.folder)
    ),
    'Each step is that': lambda s: s.change(3, 1, 2, pictures=0),
    'bit for bit': lambda s: s.change(3, 0, 2, loss='another'),
    'the same weights, average': lambda s: s.save(1, torch.ones(2) * 1.0000001),
    'All processes hold': lambda s: s.change(2, 1, 2, weights='another'),
    'A save that fails': lambda s: vars(s.starts[3].job).update(full_disk=(3, 4)),
    'not finite': lambda s: [s.save(n, torch.tensor([1.0, torch.nan])) for n in (0, 1)],
    'Damaged pictures': lambda s: (s.starts[3].job.folder / 'output.txt').write_text(''),
    'Memory': lambda s: s.hold(1, memory=10**9 + 2**27),
    'Descriptors': lambda s: s.hold(0, descriptors=27),
}


@pytest.mark.parametrize('promise', BREAKS)
def test_a_broken_promise_is_seen(tmp_path, promise):
    done = Soak(tmp_path)
    BREAKS[promise](done)
    assert any(promise in text for text in done.broken())


@pytest.mark.parametrize('kept', [True, False])
def test_ends_with_1_when_a_promise_was_broken(tmp_path, monkeypatch, capsys, kept):
    done = Soak(tmp_path)
    if not kept:
        done.change(3, 0, 2, loss='another')

    class Campaign:
        elapsed = 60.0

        def __init__(self, *args, **kwargs):
            pass

        def run(self):
            return done.starts

    monkeypatch.setattr(soak, 'Campaign', Campaign)
    monkeypatch.setattr(soak, 'judge', lambda starts, *_: judge(starts, done.training, tmp_path))
    out = tmp_path / 'out'
    assert soak.main(['--minutes', '1', '--work-dir', str(out)]) == int(not kept)
    table = (out / 'soak.md').read_text()
    assert table in capsys.readouterr().out
    assert ('start 3 (from iteration 3): iteration 4 of rank 0' in table) is not kept
    assert (out / 'soak.png').stat().st_size and json.loads((out / 'soak.json').read_text())
    assert soak.main(['--work-dir', str(out)]) == 2  # nothing of an earlier one is overwritten


def test_the_data_are_the_same_each_time(tmp_path):
    for name in ('one', 'other'):
        make_data(tmp_path / name)
    for path in (tmp_path / 'one').rglob('*.tar'):
        assert path.read_bytes() == (tmp_path / 'other' / path.parent.name / path.name).read_bytes()


def test_what_a_process_holds_has_its_childrens_added():
    memory, descriptors = measure_family(os.getpid())
    ready, told = os.pipe()
    end, asked = os.pipe()
    child = os.fork()
    if not child:
        content = os.urandom(64 * 2**20)
        files = [os.open('/dev/null', os.O_RDONLY) for _ in range(50)]
        os.write(told, b'x')
        os.read(end, 1)
        os._exit(len(content) == len(files))
    os.read(ready, 1)
    more, others = measure_family(os.getpid())
    os.write(asked, b'x')
    os.waitpid(child, 0)
    for one in (ready, told, end, asked):
        os.close(one)
    assert more - memory > 60 * 2**20
    assert others - descriptors >= 50 + descriptors


@pytest.mark.soak
def test_three_minutes(tmp_path):
    assert soak.main(['--minutes', '3', '--work-dir', str(tmp_path / 'soak')]) == 0
