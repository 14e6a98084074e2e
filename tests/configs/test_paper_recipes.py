"""Every hyper-parameter of every config against the tables of the sources, cell by cell."""

from copy import deepcopy
from functools import reduce

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch.nn import GroupNorm, LayerNorm
from torch.nn.modules.batchnorm import _BatchNorm

import cosub_mm  # noqa: F401
from cosub_mm.analysis.complexity import meta_device
from tests.configs.recipe_cells import cells
from tests.configs.recipe_table import (
    CONFIGS,
    FOLDERS,
    RECIPES,
    RUNS,
    differences,
    expected,
    paper_configs,
    read,
    recipes,
    runs,
)

FILES = [path for folder in FOLDERS for path in paper_configs(folder)]
CONFIG_OF = {path: Config.fromfile(path) for path in FILES}
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
    wrong = compare(config, CONFIG_OF[path])
    assert not wrong, '\n'.join(wrong)


def test_a_parsed_config_holds_no_variable_of_a_recipe():
    """A config takes it over whole: what is left would look like a setting that something reads."""
    variables = {path.stem for path in (CONFIGS / '_base_/recipes').glob('*.py')}
    assert len(variables) >= 4
    assert not {name_of(path) for path, cfg in CONFIG_OF.items() if variables & cfg.keys()}
    for name in variables:
        assert list(Config.fromfile(CONFIGS / f'_base_/recipes/{name}.py')) == [name]


def test_every_row_has_a_config_and_every_recipe_a_run():
    assert set(RUN_OF) == {name_of(path) for path in FILES}
    assert {row['recipe'] for row in RUN_OF.values()} == set(RECIPE_OF)


def _by_architecture():
    """Architecture -> one config for each of the ways in which its optimizer is set up."""
    found = {}
    for path in sorted(FILES, key=lambda path: (not path.stem.startswith(SMALLEST), path.stem)):
        cfg = CONFIG_OF[path]
        backbone, settings = cfg.model.backbone, deepcopy(cfg.optim_wrapper)
        settings.get('paramwise_cfg', {}).pop('layer_decay_rate', None)
        settings.optimizer = settings.optimizer.weight_decay > 0
        name = backbone.get('model_name', backbone.type).split('_')[0]
        head = cfg.model.get('decode_head', {}).get('type', 'classifier')
        found.setdefault(f'{name}-{head}', {}).setdefault(str(settings), path)
    return {name: list(paths.values()) for name, paths in found.items()}


SMALLEST = ('vit-s', 'xcit-s', 'swin-t', 'swin-b', 'convnext-s', 'pit-s', 'cait-m', 'resnet50')
BY_ARCHITECTURE = _by_architecture()


def _decayed(model, optim_wrapper):
    """Names of the parameters with weight decay."""
    logger = MMLogger.get_current_instance()
    level, _ = logger.level, logger.setLevel('ERROR')
    try:
        groups = build_optim_wrapper(model, optim_wrapper).param_groups
    finally:
        logger.setLevel(level)
    decayed = {id(p) for group in groups if group['weight_decay'] for p in group['params']}
    return {name for name, p in model.named_parameters() if id(p) in decayed}


def _excluded(model, words):
    """Names of the parameters that the words of a cell mean."""
    kinds = (_BatchNorm, LayerNorm, GroupNorm)
    norms = {
        id(p) for m in model.modules() if isinstance(m, kinds) for p in m.parameters(recurse=False)
    }
    return {
        name
        for name, p in model.named_parameters()
        if ('vectors' in words and p.dim() <= 1)
        or ('norms' in words and id(p) in norms)
        or name.endswith(tuple(words))
    }


@pytest.mark.parametrize('architecture', BY_ARCHITECTURE)
def test_weight_decay_reaches_what_the_recipe_says(architecture):
    paths = BY_ARCHITECTURE[architecture]
    cfg = deepcopy(CONFIG_OF[paths[0]])
    cfg.model.backbone.pop('init_cfg', None)
    init_default_scope(cfg.default_scope)
    with meta_device():
        model = MODELS.build(cfg.model)
    everything = {name for name, _ in model.named_parameters()}
    for path in paths:
        want = expected(name_of(path), RECIPE_OF, RUN_OF)
        cell = want['not decayed']
        right = everything - _excluded(model, cell.value.split())
        # Where the rate is 0, nothing shows what it would reach.
        rate = float(want['weight decay'].value)
        decayed = _decayed(model, CONFIG_OF[path].optim_wrapper) if rate else right
        wrong = sorted(right ^ decayed)
        assert not wrong, (
            f'configs/{name_of(path)}: not decayed: expected {cell.value} ({cell.place}; source: '
            f'{cell.source}); found it otherwise for {len(wrong)} parameters: '
            f'{", ".join(wrong[:5])}'
        )


@pytest.mark.parametrize(
    ('config', 'change', 'setting', 'want', 'have'),
    [
        ('cosub/vit-b_in1k', 'optim_wrapper.optimizer.lr=3e-4', 'lr', '3e-3', '0.0003'),
        ('cosub/vit-b_in1k', 'model.train_cfg.augments.0.alpha=0.2', 'mixup', '0.8', '0.2'),
        ('cosub/resnet50_in1k-600e', 'optim_wrapper.optimizer.eps=1e-8', 'eps', '1e-6', '1e-08'),
        ('cosub/vit-l_in1k', 'data_preprocessor.std.0=57.375', 'std', '58.395', '57.375'),
        ('cosub/vit-s_in21k', 'param_scheduler.warmup_epochs=20', 'warmup', '5', '20'),
        ('cosub/vit-h_in1k', 'model.drop_path_rate=0.5', 'drop rate', '0.6', '0.5'),
        ('cosub/vit-h_in1k', 'train_cfg.max_epochs=400', 'epochs', '800', '400'),
        ('ade20k/upernet_vit-b_512', 'param_scheduler.1.power=0.9', 'power', '1.0', '0.9'),
        ('ade20k/upernet_vit-b_512', 'tta_ratios.0=0.25', 'multi-scale ratios', '0.5', '0.25'),
    ],
)
def test_a_changed_value_is_named(config, change, setting, want, have):
    """Config, setting, what the source says and what was found: all in one line."""
    cfg = deepcopy(CONFIG_OF[CONFIGS / f'{config}.py'])
    cfg.setdefault('tta_ratios', [0.5, 0.75, 1.0, 1.25, 1.5, 1.75])
    if cfg.default_scope == 'mmpretrain':
        cfg.pop('tta_ratios')
    key, value = change.split('=')
    *parents, last = [int(part) if part.isdigit() else part for part in key.split('.')]
    place = reduce(lambda part, name: part[name], parents, cfg)
    place[last] = float(value) if '.' in value or 'e-' in value else int(value)
    lines = compare(f'{config}.py', cfg)
    (line,) = [line for line in lines if f'{config}.py: {setting}: ' in line]
    found = line.partition(': expected ')[2]
    assert found.startswith(want) and have in found.partition('found ')[2]
    assert 'source: ' in line and 'configs/paper_r' in line


def test_a_recipe_without_a_setting_or_a_source_is_noticed():
    rows = read(RECIPES)
    assert differences('c.py', {}, {'lr': '1'})[0].startswith(
        'configs/c.py: lr is 1 and has no row'
    )
    with pytest.raises(AssertionError, match='lr has no source'):
        recipes([dict(rows[0], setting='lr', source='')])
    with pytest.raises(AssertionError, match='trained on twice'):
        recipes([rows[0], rows[0]])
    with pytest.raises(AssertionError, match='several rows'):
        runs([dict(config='a.py'), dict(config='a.py')])
