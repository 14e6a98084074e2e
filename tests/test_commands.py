"""The tools as commands of an installed package."""

import subprocess
from pathlib import Path

import pytest

import cosub_mm.commands as commands
from cosub_mm.launch.config import load_config
from tests import fresh

ROOT = Path(__file__).parents[1]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    env = {'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin', 'PYTHONWARNINGS': 'ignore'}
    return fresh.run(['-m', 'cosub_mm', *arguments], cwd=cwd, env=env)


@pytest.mark.parametrize('name', commands.TOOLS)
def test_every_command_has_its_tool_and_its_function(name):
    assert (ROOT / commands.TOOLS[name]).is_file()
    function = getattr(commands, name.replace('-', '_'))
    assert function.args == (name,)


def test_an_error_of_a_tool_is_its_exit_code(tmp_path):
    """From another folder, where no configs are in sight: the config is found, the data are not."""
    done = run('train', 'configs/cosub/vit-b_in1k.py', '--work-dir', 'w', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith('error: while checking the data')


def test_an_unknown_command_names_the_known_ones(tmp_path):
    done = run('trian', cwd=tmp_path)
    assert done.returncode == 2
    assert 'train' in done.stderr


def test_a_config_of_ours_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('configs/cosub/vit-b_in1k.py').model.drop_path_rate == 0.2
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_config('configs/cosub/vit-x_in1k.py')
