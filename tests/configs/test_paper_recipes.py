"""Every hyper-parameter of every config against the tables of the sources, cell by cell."""

import pytest
from mmengine.config import Config

import cosub_mm  # noqa: F401
from tests.configs.recipe_cells import cells
from tests.configs.recipe_table import (
    CONFIGS,
    FOLDERS,
    RECIPES,
    RUNS,
    differences,
    expected,
    read,
    recipes,
    runs,
)

FILES = sorted(path for folder in FOLDERS for path in (CONFIGS / folder).glob('*.py'))
RECIPE_OF, RUN_OF = recipes(read(RECIPES)), runs(read(RUNS))


def name_of(path):
    return f'{path.parent.name}/{path.name}'


def compare(config, cfg):
    have = cells(cfg)
    want = expected(config, RECIPE_OF, RUN_OF)
    want.pop('not decayed')
    return differences(config, want, have)


@pytest.mark.parametrize('path', FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_config_is_the_recipe(path):
    config = name_of(path)
    assert config in RUN_OF, (
        f'configs/{config} has no row in {RUNS}; add one that names its recipe of {RECIPES}, its '
        f'resolution, drop rate and where they come from'
    )
    wrong = compare(config, Config.fromfile(path))
    assert not wrong, '\n'.join(wrong)


def test_every_row_has_a_config_and_every_recipe_a_run():
    assert set(RUN_OF) == {name_of(path) for path in FILES}
    assert {row['recipe'] for row in RUN_OF.values()} == set(RECIPE_OF)
