"""Files and commands that the pages name exist."""

import itertools
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.configs.recipe_table import paper_configs

ROOT = Path(__file__).parents[1]
PAGES = ['prepare_data.md', 'segmentation.md', 'use_in_your_project.md']


def expand(name):
    """Expand the braces of a shell pattern: a{b,c} -> ab, ac."""
    parts = re.split(r'\{([^}]*)\}', name)
    choices = [part.split(',') if i % 2 else [part] for i, part in enumerate(parts)]
    return [''.join(choice) for choice in itertools.product(*choices)]


@pytest.mark.parametrize('page', PAGES)
def test_named_files_exist(page):
    text = (ROOT / 'docs' / page).read_text()
    paths = re.findall(
        r'\b((?:tools|configs/ade20k|configs/cosub|tests)/[\w./{},-]+\.(?:py|sh))', text
    )
    if page == 'segmentation.md':
        names = re.findall(r'`((?:upernet|deeplab|segmenter)[\w{},-]+\.py)`', text)
        paths += [f'configs/ade20k/{name}' for name in names]
        assert len(names) > 8
    # examples that a reader writes into a project of their own
    paths = [
        path
        for path in paths
        if not path.startswith(('configs/cosub/upernet', 'configs/cosub/cosub'))
    ]
    expanded = [name for path in paths for name in expand(path)]
    missing = [name for name in expanded if not (ROOT / name).is_file()]
    assert expanded or page == 'use_in_your_project.md'
    assert not missing


def test_every_ade20k_config_is_described():
    text = (ROOT / 'docs/segmentation.md').read_text()
    names = {name for pattern in re.findall(r'`([\w{},-]+\.py)`', text) for name in expand(pattern)}
    assert {path.name for path in paper_configs('ade20k')} <= names


@pytest.mark.parametrize('folder', ['ade20k', 'transfer'])
def test_every_config_is_in_its_readme(folder):
    text = (ROOT / f'configs/{folder}/README.md').read_text()
    linked = re.findall(r'\]\(([\w-]+\.py)\)', text)
    files = {path.name for path in paper_configs(folder)}
    assert set(linked) == files
    assert len(linked) == len(files)


def test_every_promise_names_tests_that_exist():
    text = (ROOT / 'docs/reliability.md').read_text()
    named = re.findall(r'`(tests/[\w/]+\.py)::(\w+)`', text)
    assert len(named) > 20
    missing = [
        f'{path}::{name}'
        for path, name in named
        if not (ROOT / path).is_file() or f'\ndef {name}(' not in (ROOT / path).read_text()
    ]
    assert not missing
    rows = [line for line in text.partition('## What is promised')[2].splitlines() if '|' in line]
    assert all('tests/' in row or 'the soak' in row for row in rows[2:])


@pytest.mark.parametrize('folder', ['', 'ade20k', 'cosub', 'transfer'])
def test_links_of_the_config_pages_lead_to_files(folder):
    page = ROOT / 'configs' / folder / 'README.md'
    links = re.findall(r'\]\((?!https?:)([^)#]+)', page.read_text())
    assert len(links) > 5
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_config_of_ones_own_in_the_page_is_one(tmp_path):
    text = (ROOT / 'configs/cosub/README.md').read_text()
    (code,) = re.findall(r'```python\n(.*?)```', text, re.S)
    (tmp_path / 'own.py').write_text(code.replace("'./", f"'{ROOT}/configs/cosub/"))
    assert Config.fromfile(tmp_path / 'own.py').model.drop_path_rate == 0.1
