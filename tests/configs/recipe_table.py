"""What ``configs/paper_recipes.csv`` and ``configs/paper_runs.csv`` ask of a config."""

import csv
from fractions import Fraction
from math import floor, isclose
from pathlib import Path
from typing import NamedTuple

from cosub_mm.launch.work_dir import default_work_dir

CONFIGS = Path(__file__).parents[2] / 'configs'
FOLDERS = ('cosub', 'baselines', 'ablations', 'transfer', 'ade20k')
RECIPES, RUNS = 'configs/paper_recipes.csv', 'configs/paper_runs.csv'
# Columns of the runs that are settings; `other` holds more of them.
OF_RUN = ('method', 'resolution', 'drop rate', 'layer decay', 'images per GPU', 'starts from')
# What a supervised classifier has not.
OF_COSUB = ('lambda', 'submodels', 'teacher')


def paper_configs(folder: str) -> list[Path]:
    """Configs of a folder that stand for a run of the paper, or say so; not somebody's own."""
    known = {row['config'] for row in read(RUNS)}
    files = sorted((CONFIGS / folder).glob('*.py'))
    return [
        file
        for file in files
        if f'{folder}/{file.name}' in known or file.read_text().startswith('# Table')
    ]


class Cell(NamedTuple):
    """A value that a config must have, where the table says so, and where it comes from."""

    value: str
    place: str
    source: str


def read(name: str, root: Path = CONFIGS.parent) -> list[dict[str, str]]:
    """Rows of a file."""
    with open(root / name, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def recipes(rows: list[dict[str, str]]) -> dict[str, dict[str, Cell]]:
    """Recipe -> setting -> cell; a recipe that begins with ``as`` changes another one."""
    found: dict[str, dict[str, Cell]] = {}
    for row in rows:
        name, setting = row['recipe'], row['setting']
        recipe = found.setdefault(name, {})
        if setting == 'as':
            recipe.update(found[row['value']])
            continue
        place = f'{RECIPES}, {name}'
        assert not (setting in recipe and recipe[setting].place == place), (
            f'{place}: {setting} twice'
        )
        assert row['source'], f'{place}: {setting} has no source'
        recipe[setting] = Cell(row['value'], place, row['source'])
    return found


def runs(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Config -> its row."""
    names = [row['config'] for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f'{RUNS}: several rows for {sorted(twice)}'
    return {row['config']: row for row in rows}


def expected(config: str, recipe_of: dict, run_of: dict) -> dict[str, Cell]:
    """Setting -> cell of one config."""
    run = run_of[config]
    cells = dict(recipe_of[run['recipe']])
    place = f'{RUNS}, {config}'
    changes = {setting: run[setting] for setting in OF_RUN}
    if run['method'] == 'supervised' and 'teacher' in cells:
        changes.update(dict.fromkeys(OF_COSUB, '-'))
    changes.update(item.strip().split('=', 1) for item in run['other'].split(';') if item)
    start = run_of.get(f'{run["starts from"]}.py')
    if start:
        epochs = recipe_of[start['recipe']]['epochs'].value
        place = default_work_dir(f'configs/{run["starts from"]}.py')
        changes['starts from'] = f'{place}/epoch_{epochs}.pth'
    cells.update({name: Cell(value, place, run['source']) for name, value in changes.items()})
    ratio = cells.pop('test crop ratio', None)
    if ratio:
        size = int(run['resolution'])
        resize = '-' if ratio.value == '-' else str(floor(size / float(ratio.value)))
        cells['test resize'] = ratio._replace(value=resize)
        cells['test crop'] = ratio._replace(value='-' if resize == '-' else str(size))
    return cells


def differences(config: str, want: dict[str, Cell], have: dict[str, str]) -> list[str]:
    """One line for each setting that the table and the config do not agree on."""
    lines = []
    for setting in sorted(want.keys() | have.keys()):
        if setting not in want:
            lines.append(
                f'configs/{config}: {setting} is {have[setting]} and has no row; add it, with its '
                f'source, to the recipe in {RECIPES}'
            )
        elif setting not in have:
            lines.append(f'{want[setting].place}: no config has a setting {setting!r}')
        elif not same(setting, want[setting].value, have[setting]):
            value, place, source = want[setting]
            lines.append(
                f'configs/{config}: {setting}: expected {value} ({place}; source: {source}), '
                f'found {have[setting]}'
            )
    return lines


def same(setting: str, want: str, have: str) -> bool:
    """Numbers by value, anything else by letter; a published file by the start of its name."""
    if setting == 'starts from' and have.startswith('https://'):
        return bool(want) and have.rpartition('/')[2].startswith(want)
    wanted, found = want.split(), have.split()
    return len(wanted) == len(found) and all(map(_same_word, wanted, found))


def _same_word(want: str, have: str) -> bool:
    try:
        return isclose(_number(want), _number(have), rel_tol=1e-6, abs_tol=1e-15)
    except ValueError:
        return want == have


def _number(word: str) -> float:
    return float(Fraction(word)) if '/' in word else float(word)
