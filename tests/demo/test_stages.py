import json
import subprocess

import pytest

from cosub_mm.demo.stages import Stage, StageError, duration, run_stages

# A stand-in for a tool: writes what it was called with, as often as it is called.
TOOL = """
import pathlib, sys
out = pathlib.Path(sys.argv[1])
with open(out, 'a') as file:
    file.write(' '.join(sys.argv[2:]) + '\\n')
"""


@pytest.fixture
def job(tmp_path):
    """Two stages; the second one needs the first."""
    for name in ('tool.py', 'train.py'):
        (tmp_path / name).write_text(TOOL)

    def make(recipe='r', second=('train.py', '{dir}/b.txt', 'from', '{work_dir}/one')):
        one = Stage(
            'one',
            'First',
            (('tool.py', '{dir}/a.txt', 'x'),),
            recipe=recipe,
            writes=('{dir}/a.txt',),
            result=lambda folder: (folder / 'a.txt').read_text().strip(),
        )
        two = Stage('two', 'Second', (second,), needs=('one',), writes=('{dir}/b.txt',))
        return [one, two]

    return make


@pytest.fixture
def run(tmp_path):
    said = []

    def go(stages, **kwargs):
        said.clear()
        kwargs = {'work_dir': tmp_path / 'w', 'cwd': tmp_path, **kwargs}
        return run_stages(stages, say=said.append, **kwargs), '\n'.join(said)

    return go


def _lines(path):
    return path.read_text().splitlines()


def test_runs_in_order_and_reports(job, run, tmp_path):
    rows, said = run(job())
    assert [row.title for row in rows] == ['First', 'Second']
    assert rows[0].result == 'x' and not rows[0].reused and rows[0].seconds > 0
    assert rows[0].written == [str(tmp_path / 'w' / 'one' / 'a.txt')]
    assert _lines(tmp_path / 'w' / 'two' / 'b.txt') == [f'from {tmp_path}/w/one']
    assert '[1/2] First' in said and f'$ python tool.py {tmp_path}/w/one/a.txt x' in said


def test_done_stages_are_not_done_again(job, run, tmp_path):
    first, _ = run(job())
    rows, said = run(job())
    assert all(row.reused for row in rows) and said.count('done before') == 2
    assert [row.seconds for row in rows] == [row.seconds for row in first]
    assert len(_lines(tmp_path / 'w' / 'one' / 'a.txt')) == 1


def test_lost_result_is_made_again(job, run, tmp_path):
    run(job())
    (tmp_path / 'w' / 'two' / 'b.txt').unlink()
    rows, _ = run(job())
    assert [row.reused for row in rows] == [True, False]


def test_interrupted_training_is_resumed(job, run, tmp_path):
    run(job()[:1])
    with pytest.raises(StageError, match='ended with code 1'):
        run(job(second=('train.py',)))
    # A failure before the first checkpoint: nothing is lost, and other commands may follow.
    (tmp_path / 'train.py').write_text(TOOL + 'sys.exit(3)')
    with pytest.raises(StageError, match=r'Second.*ended with code 3(.|\n)*output\.txt'):
        run(job())
    (tmp_path / 'train.py').write_text(TOOL)
    (tmp_path / 'w' / 'two' / 'epoch_1.pth').touch()
    with pytest.raises(StageError, match='begun with another config or other commands'):
        run(job(second=('train.py',)))
    rows, said = run(job())
    assert 'going on' in said and [row.reused for row in rows] == [True, False]
    assert [line.split()[-1] for line in _lines(tmp_path / 'w' / 'two' / 'b.txt')] == [
        f'{tmp_path}/w/one',
        '--resume',
    ]


@pytest.mark.parametrize('change', [dict(recipe='other'), dict(second=('tool.py', '{dir}/b.txt'))])
def test_other_recipe_is_not_mixed_with_old_results(job, run, change):
    run(job())
    with pytest.raises(StageError, match=r'--work-dir .* or do the job again by --overwrite'):
        run(job(**change))
    rows, _ = run(job(**change), overwrite=True)
    assert not any(row.reused for row in rows)


def test_overwrite_tells_the_training(job, run, tmp_path):
    run(job())
    run(job(), overwrite=True)
    assert _lines(tmp_path / 'w' / 'two' / 'b.txt')[-1].endswith('--overwrite')


def test_a_change_reaches_the_stages_that_need_it(job, run, tmp_path):
    run(job())
    (tmp_path / 'w' / 'one' / 'stage.json').unlink()
    with pytest.raises(StageError, match=r'w/two'):
        run(job(recipe='other'))


def test_result_that_was_not_written(run, job):
    stage = Stage('one', 'First', (('tool.py', '{dir}/a.txt'),), writes=('{dir}/other.txt',))
    with pytest.raises(StageError, match=r'other\.txt has not been written'):
        run([stage])
    rows, _ = run(job()[:1], overwrite=True)
    assert rows[0].result == 'x'


def test_interruption_ends_the_command_and_counts_its_time(job, run, tmp_path, monkeypatch):
    (tmp_path / 'tool.py').write_text(
        'import time\nfor i in range(600):\n    print("INFO - Epoch(train)", flush=True)\n'
        '    time.sleep(.1)\n'
    )
    children = []
    popen = subprocess.Popen

    def remember(*args, **kwargs):
        children.append(popen(*args, **kwargs))
        return children[-1]

    def interrupt(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, 'Popen', remember)
    monkeypatch.setattr('cosub_mm.demo.stages.PROGRESS_INTERVAL', 0.3)
    heard = []

    def say(text):
        heard.append(text)
        if 'Epoch' in text:
            interrupt(text)

    with pytest.raises(KeyboardInterrupt):
        run_stages(job(), tmp_path / 'w', tmp_path, say=say)
    assert children[0].poll() is not None
    state = json.loads((tmp_path / 'w' / 'one' / 'stage.json').read_text())
    assert not state['done'] and state['seconds'] > 0.2


def test_threads_are_the_users_choice(job, run, tmp_path, monkeypatch):
    (tmp_path / 'tool.py').write_text(
        "import os, sys\nopen(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'])"
    )
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    rows, _ = run(job()[:1])
    assert rows[0].result == '3'
    monkeypatch.delenv('OMP_NUM_THREADS')
    rows, _ = run(job()[:1], overwrite=True)
    assert int(rows[0].result) >= 1


def test_duration():
    assert duration(59.9) == '0:59' and duration(725) == '12:05'
