"""Environments in which something overwrites something else, made of empty distributions."""

import subprocess
import sys
from pathlib import Path

import pytest

from cosub_mm.installation import conflicts

ROOT = Path(__file__).parents[1]


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def test_this_environment_has_none():
    assert not list(conflicts())


@pytest.mark.parametrize(
    ('name', 'version', 'words'),
    [
        ('mmcv', '2.2.0', ["onedl-mmcv and mmcv both own the folder 'mmcv'", 'pip uninstall']),
        ('mmengine-lite', '0.10.7', ['onedl-mmengine and mmengine-lite', "'mmengine'"]),
        ('mmsegmentation', '1.2.2', ['onedl-mmsegmentation and mmsegmentation', "'mmseg'"]),
        ('transformers', '5.1.0', ['transformers 5.1.0', "pip install 'transformers<5'"]),
    ],
)
def test_each_conflict_is_named_with_the_way_out(tmp_path, monkeypatch, name, version, words):
    distribution(tmp_path, name, version)
    monkeypatch.syspath_prepend(tmp_path)
    (sentence,) = conflicts()
    assert all(word in sentence for word in words)


def test_transformers_4_is_fine(tmp_path, monkeypatch):
    distribution(tmp_path, 'transformers', '4.57.0')
    monkeypatch.syspath_prepend(tmp_path)
    assert not list(conflicts())


def test_mmpretrain_without_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', None)  # as if it were not installed
    (sentence,) = conflicts()
    assert 'without mmcv: pip install onedl-mmcv' in sentence


def test_importing_says_it(tmp_path):
    distribution(tmp_path, 'mmcv', '2.2.0')
    done = subprocess.run(
        [sys.executable, '-c', 'import cosub_mm'],
        env={'PYTHONPATH': f'{ROOT}:{tmp_path}', 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "both own the folder 'mmcv'" in done.stderr


def versions(name: str, sign: str) -> dict[str, list[int]]:
    """Version numbers of a requirements file, without zeros at their end."""
    found = {}
    for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines():
        package, matched, version = line.partition(sign)
        if matched:
            numbers = [int(part) for part in version.split('.')]
            while numbers[-1] == 0:
                numbers.pop()
            found[package] = numbers
    return found


def test_the_lowest_versions_allowed_are_those_that_are_tested():
    assert versions('oldest', '==') == versions('runtime', '>=')
