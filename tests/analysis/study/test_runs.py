"""The study's runner: what is missing is made once, and nothing of another protocol is mixed in."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosub_mm.analysis.study.protocol import ARMS, hold_protocol, runs_of
from cosub_mm.analysis.study.report import main_table, write_report
from cosub_mm.analysis.study.runner import RunFailed, make_runs, results_in

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / 'configs/study'


@pytest.fixture
def tools(monkeypatch):
    """Tools that write what the real ones write; a run in ``broken`` fails."""
    calls, broken = [], set()

    def run(command, **kwargs):
        name, folder = Path(command[1]).name, Path(command[command.index('--work-dir') + 1])
        calls.append((name, command))
        if any(part in str(folder) for part in broken):
            kwargs['stdout'].write('error: no data\n')
            return SimpleNamespace(returncode=2)
        if name == 'train.py':
            (folder / 'epoch_20.pth').touch()
        else:
            seed = int(folder.parent.name.removeprefix('seed'))
            gain = 0.5 if 'cosub' in str(folder) else 0.0
            out = Path(command[command.index('--out') + 1])
            out.write_text(json.dumps({'accuracy/top1': 90 + gain + seed / 100}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, 'run', run)
    return SimpleNamespace(calls=calls, broken=broken)


def make(folder, runs, **kwargs) -> list[str]:
    lines = []
    make_runs(runs, folder, ROOT, 'abc', say=lines.append, **kwargs)
    return lines


def test_every_arm_has_a_config_and_its_seeds():
    runs = runs_of('main')
    assert runs[0].arm == 'teacher' and len(runs) == 1 + sum(ARMS.values())
    assert Counter(run.arm for run in runs[1:]) == ARMS
    assert all(count >= 8 for arm, count in ARMS.items() if not runs_needs_less(arm))
    for part in ('main', 'lam', 'rate', 'tune'):
        assert all((CONFIGS / f'{run.config}.py').is_file() for run in runs_of(part))
        folders = [run.folder for run in runs_of(part)]
        assert len(set(folders)) == len(folders)
    assert {run.options for run in runs_of('lam')} >= {('model.lam=1.0',), ('model.lam=0.1',)}
    assert [run.seed for run in runs_of('main', ['cosub'])] == list(range(8))
    with pytest.raises(ValueError, match='unknown arms'):
        runs_of('main', ['dino'])


def runs_needs_less(arm: str) -> bool:
    return arm not in ('supervised', 'supervised_equal', 'cosub', 'cosub_lam1')


def test_runs_are_made_once_and_results_are_kept(tmp_path, tools):
    runs = [run for run in runs_of('main', ['supervised', 'kd']) if run.seed < 2]
    lines = make(tmp_path, runs, options=['train_cfg.max_epochs=1'], data_root='data')
    assert lines[0] == '0 of 5 runs are done, 5 to make' and 'about 0 min left' in lines[-1]
    assert [name for name, _ in tools.calls].count('train.py') == 5
    first = tools.calls[0][1]
    assert 'teacher' in ' '.join(first) and 'randomness.seed=0' in first
    assert 'train_cfg.max_epochs=1' in first and 'data' in first
    teacher = f'model.teacher_checkpoint={tmp_path}/teacher/seed0/epoch_20.pth'
    kd = [c for n, c in tools.calls if 'kd.py' in ' '.join(c)]
    assert [teacher in c for c in kd].count(True) == 2  # to train, not to test
    tools.calls.clear()
    assert make(tmp_path, runs) == ['5 of 5 runs are done, 0 to make'] and not tools.calls
    assert len(results_in(tmp_path, 'abc')) == 5


def test_a_run_that_fails_is_named_and_the_rest_kept(tmp_path, tools):
    runs = [run for run in runs_of('main', ['supervised', 'cosub']) if run.seed < 2]
    tools.broken.add('cosub/seed1')
    with pytest.raises(RunFailed, match=r'train.py ended with 2.*seed1/train.log: error: no data'):
        make(tmp_path, runs, jobs=1)
    assert 'cosub/seed1' not in results_in(tmp_path, 'abc')
    tools.broken.clear()
    (tmp_path / 'cosub/seed1/epoch_20.pth').touch()
    make(tmp_path, runs)
    assert any('--resume' in command for _, command in tools.calls)
    assert len(results_in(tmp_path, 'abc')) == 4


def test_runs_of_another_protocol_are_refused(tmp_path, tools):
    configs = tmp_path / 'configs'
    configs.mkdir()
    (configs / 'supervised.py').write_text('lr = 1')
    one = hold_protocol(tmp_path / 'study', configs, [])
    assert hold_protocol(tmp_path / 'study', configs, []) == one
    with pytest.raises(ValueError, match='runs of another protocol: options changed'):
        hold_protocol(tmp_path / 'study', configs, ['lr=2'])
    (configs / 'supervised.py').write_text('lr = 3')
    with pytest.raises(ValueError, match='another protocol: supervised.py changed.*--work-dir'):
        hold_protocol(tmp_path / 'study', configs, [])
    make(tmp_path / 'runs', runs_of('main', ['supervised'])[:1])
    with pytest.raises(RunFailed, match='is of another protocol'):
        results_in(tmp_path / 'runs', 'other')


def test_the_table_says_what_is_missing_and_what_is_noise(tmp_path, tools):
    make(tmp_path, [r for r in runs_of('main', ['supervised', 'cosub', 'masksub']) if r.seed < 7])
    results = results_in(tmp_path, 'abc')
    rows = {row[0]: row[1:8] for row in main_table(results)}
    assert rows['supervised'][:2] == ('7 of 8', '90.03')
    assert rows['cosub'][3:] == ('+0.50', '+0.50 to +0.50', '0.016', 'better')
    assert rows['masksub'][3:] == ('+0.00', '+0.00 to +0.00', '1.000', 'within noise')
    text = write_report(results, 'main', tmp_path / 'report')
    assert '| cosub | 7 of 8 |' in text and (tmp_path / 'report/main.png').stat().st_size > 1000
    assert write_report(results, 'lam', tmp_path / 'report') == 'Nothing has been run yet.'
