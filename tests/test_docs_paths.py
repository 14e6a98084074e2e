"""Files and commands that the pages name exist."""

import itertools
import re
from pathlib import Path

import pytest

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
    assert {path.name for path in (ROOT / 'configs/ade20k').glob('*.py')} <= names


@pytest.mark.parametrize('folder', ['ade20k', 'transfer'])
def test_every_config_is_in_its_readme(folder):
    text = (ROOT / f'configs/{folder}/README.md').read_text()
    linked = re.findall(r'\]\(([\w-]+\.py)\)', text)
    files = {path.name for path in (ROOT / f'configs/{folder}').glob('*.py')}
    assert set(linked) == files
    assert len(linked) == len(files)
