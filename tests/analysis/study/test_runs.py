"""The study's runner: what is missing is made once, and nothing of another protocol is mixed in."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from mmengine.config import Config

from cosub_mm.analysis.study.protocol import ARMS, PARTS, Run, hold_protocol, runs_of
from cosub_mm.analysis.study.report import main_table, write_report
from cosub_mm.analysis.study.runner import RunFailed, make_runs, results_in

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / 'configs/study'


TOOL = """
import json, sys
from pathlib import Path
arguments = sys.argv[1:]
name, folder = Path(sys.argv[0]).name, Path(arguments[arguments.index('--work-dir') + 1])
here = Path(sys.argv[0]).parent
with open(here / 'calls', 'a') as file:
    file.write(json.dumps([name, arguments]) + chr(10))
if any(part in str(folder) for part in (here / 'broken').read_text().split()):
    print('error: no data')
    sys.exit(2)
if name == 'train.py':
    (folder / 'epoch_10.pth').touch()
else:
    seed = int(folder.parent.name.removeprefix('seed'))
    gain = 0.5 if 'cosub' in str(folder) else 0.0
    out = Path(arguments[arguments.index('--out') + 1])
    out.write_text(json.dumps({'accuracy/top1': 90 + gain + seed / 100}))
"""


class Tools:
    """A root whose tools only write what the real ones write; a run in ``broken`` fails."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / 'tools'
        self.folder.mkdir(parents=True)
        for name in ('train.py', 'test.py'):
            (self.folder / name).write_text(TOOL)
        self.break_runs()

    def break_runs(self, *parts: str) -> None:
        (self.folder / 'broken').write_text(' '.join(parts))

    def calls(self) -> list[tuple[str, list[str]]]:
        """Tool and arguments of each call since the last question."""
        file = self.folder / 'calls'
        lines = file.read_text().splitlines() if file.is_file() else []
        file.write_text('')
        return [tuple(json.loads(line)) for line in lines]

    def make(self, folder: Path, runs: Sequence[Run], **kwargs) -> list[str]:
        """Make runs; returns what was said."""
        lines = []
        make_runs(runs, folder, self.root, 'abc', say=lines.append, **kwargs)
        return lines


@pytest.fixture
def tools(tmp_path_factory):
    return Tools(tmp_path_factory.mktemp('root'))


def test_every_arm_has_a_config_and_its_seeds():
    runs = runs_of('main')
    assert runs[0].arm == 'teacher' and len(runs) == 1 + sum(ARMS.values())
    assert Counter(run.arm for run in runs[1:]) == ARMS
    assert all(count >= 8 for arm, count in ARMS.items() if not runs_needs_less(arm))
    for part in PARTS:
        assert all((CONFIGS / f'{run.config}.py').is_file() for run in runs_of(part))
        folders = [run.folder for run in runs_of(part)]
        assert len(set(folders)) == len(folders)
    assert {run.options for run in runs_of('lam')} >= {('model.lam=1.0',), ('model.lam=0.1',)}
    assert [run.seed for run in runs_of('main', ['cosub'])] == list(range(8))
    with pytest.raises(ValueError, match='unknown arms'):
        runs_of('main', ['dino'])


def test_arms_differ_from_the_baseline_in_their_strategy_alone():
    """Same network, data, optimizer and length; what was chosen is what docs/study.md says."""
    baseline = Config.fromfile(CONFIGS / 'supervised.py')
    assert (baseline.optim_wrapper.optimizer.lr, baseline.model.drop_path_rate) == (4e-3, 0.05)
    strategy = ('model', 'train_cfg', 'default_hooks')
    for arm in ARMS:
        cfg = Config.fromfile(CONFIGS / f'{arm}.py')
        assert {k: v for k, v in cfg.items() if k not in strategy} == {
            k: v for k, v in baseline.items() if k not in strategy
        }, arm
        assert (cfg.model.backbone, cfg.model.head) == (
            baseline.model.backbone,
            baseline.model.head,
        )
        epochs = cfg.train_cfg.max_epochs
        assert epochs == baseline.train_cfg.max_epochs * (1 + (arm == 'supervised_equal')), arm
        assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == epochs, arm
    teacher = Config.fromfile(CONFIGS / 'teacher.py').train_cfg.max_epochs
    for arm in ('kd', 'kd_cosub'):
        checkpoint = Config.fromfile(CONFIGS / f'{arm}.py').model.teacher_checkpoint
        assert Path(checkpoint).name == f'epoch_{teacher}.pth'


def runs_needs_less(arm: str) -> bool:
    return arm not in ('supervised', 'supervised_equal', 'cosub', 'cosub_lam1')


def test_runs_are_made_once_and_results_are_kept(tmp_path, tools):
    runs = [run for run in runs_of('main', ['supervised', 'kd']) if run.seed < 2]
    lines = tools.make(tmp_path, runs, options=['train_cfg.max_epochs=1'], data_root='data')
    assert lines[0] == '0 of 5 runs are done, 5 to make' and 'about 0 min left' in lines[-1]
    calls = tools.calls()
    assert [name for name, _ in calls].count('train.py') == 5
    first = calls[0][1]
    assert 'teacher' in ' '.join(first) and 'randomness.seed=0' in first
    assert 'train_cfg.max_epochs=1' in first and 'data' in first
    teacher = f'model.teacher_checkpoint={tmp_path}/teacher/seed0/epoch_10.pth'
    kd = [c for n, c in calls if 'kd.py' in ' '.join(c)]
    assert [teacher in c for c in kd].count(True) == 2  # to train, not to test
    assert tools.make(tmp_path, runs) == ['5 of 5 runs are done, 0 to make'] and not tools.calls()
    results = results_in(tmp_path, 'abc').values()
    assert len(results) == 5
    assert all(0 < result['core_seconds'] < 60 and result['seconds'] > 0 for result in results)


def test_a_run_that_fails_is_named_and_the_rest_kept(tmp_path, tools):
    runs = [run for run in runs_of('main', ['supervised', 'cosub']) if run.seed < 2]
    tools.break_runs('cosub/seed1')
    with pytest.raises(RunFailed, match=r'train.py ended with 2.*seed1/train.log: error: no data'):
        tools.make(tmp_path, runs, jobs=1)
    assert 'cosub/seed1' not in results_in(tmp_path, 'abc')
    tools.break_runs()
    (tmp_path / 'cosub/seed1/epoch_10.pth').touch()
    tools.make(tmp_path, runs)
    assert any('--resume' in command for _, command in tools.calls())
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
    tools.make(tmp_path / 'runs', runs_of('main', ['supervised'])[:1])
    with pytest.raises(RunFailed, match='is of another protocol'):
        results_in(tmp_path / 'runs', 'other')


def test_the_table_says_what_is_missing_and_what_is_noise(tmp_path, tools):
    tools.make(
        tmp_path, [r for r in runs_of('main', ['supervised', 'cosub', 'masksub']) if r.seed < 7]
    )
    results = results_in(tmp_path, 'abc')
    rows = {row[0]: row[1:8] for row in main_table(results)}
    assert rows['supervised'][:2] == ('7 of 8', '90.03')
    assert rows['cosub'][3:] == ('+0.50', '+0.50 to +0.50', '0.016', 'better')
    assert rows['masksub'][3:] == ('+0.00', '+0.00 to +0.00', '1.000', 'within noise')
    text = write_report(results, 'main', tmp_path / 'report')
    assert '| cosub | 7 of 8 |' in text and (tmp_path / 'report/main.png').stat().st_size > 1000
    assert write_report(results, 'lam', tmp_path / 'report') == 'Nothing has been run yet.'
