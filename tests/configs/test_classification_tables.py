"""Every classification config: parsed, built on the meta device, and held to the paper's sizes."""

import csv
import re
import runpy
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

import cosub_mm  # noqa: F401
from cosub_mm.launch.work_dir import default_work_dir
from tests.configs.recipe_table import paper_configs

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
TABLE = runpy.run_path(str(ROOT / 'tools/analysis_tools/make_config_table.py'))
FILES = [f for d in ('cosub', 'baselines', 'ablations') for f in paper_configs(d)]


KINDS = {
    'kd': 'DistilledClassifier',
    'kd-cosub': 'DistilledClassifier',
    'mean-teacher': 'MeanTeacherClassifier',
    'co-training': 'CoTrainingClassifier',
}


@pytest.fixture(scope='module')
def written():
    """What the command makes of the configs as they are; it builds and counts each of them."""
    return TABLE['make_files'](ROOT)


@pytest.fixture(scope='module')
def models(written):
    """Name of a config -> its exact parameters and FLOPs."""
    entries = yaml.safe_load(written['configs/cosub/metafile.yml'])['Models']
    return {entry['Name'].removeprefix('cosub_'): entry['Metadata'] for entry in entries}


def test_tables_are_up_to_date(written):
    stale = [path for path, text in written.items() if (ROOT / path).read_text() != text]
    assert not stale, f'run python tools/analysis_tools/make_config_table.py: {stale}'


with open(CONFIGS / 'paper_sizes.csv', newline='') as file:
    SIZES = {row['model']: row for row in csv.DictReader(file)}


@pytest.mark.parametrize('model', SIZES)
def test_sizes_are_the_papers(model, models):
    """Tables 11 and 12 at 224 pixels: parameters within .5%, FLOPs within 2.5%."""
    at_224 = ('_in1k', '_in1k-400e', '_in1k-600e', '_in21k-pre_in1k')
    size = next(models[model + end] for end in at_224 if model + end in models)
    paper = SIZES[model]
    assert size['Parameters'] / 1e6 == pytest.approx(float(paper['params_m']), rel=0.005)
    assert size['FLOPs'] / 1e9 == pytest.approx(float(paper['gflops']), rel=0.025)


def test_a_changed_number_is_noticed(tmp_path, monkeypatch, capsys):
    (tmp_path / 'configs').mkdir()
    monkeypatch.setitem(
        TABLE['main'].__globals__, 'make_files', lambda root: {'configs/README.md': '| 81.5 |'}
    )
    assert TABLE['main'](['--root', str(tmp_path)]) == 0
    assert TABLE['main'](['--root', str(tmp_path), '--check']) == 0
    (tmp_path / 'configs/README.md').write_text('| 99.9 |')
    assert TABLE['main'](['--root', str(tmp_path), '--check']) == 1
    assert 'Out of date: configs/README.md' in capsys.readouterr().out


def test_a_config_of_the_paper_without_a_row_is_an_error(tmp_path):
    (tmp_path / 'configs/cosub').mkdir(parents=True)
    (tmp_path / 'configs/paper_numbers.csv').write_text('config,table,metric,value,note\n')
    (tmp_path / 'configs/cosub/own.py').write_text('# A run of my own.\n')
    (tmp_path / 'configs/cosub/empty.py').touch()
    assert TABLE['read_numbers'](tmp_path) == {}
    (tmp_path / 'configs/cosub/new.py').write_text('# Table 1, ViT-S.\n')
    with pytest.raises(ValueError, match=r'have no row: cosub/new.py\..*your own needs no row'):
        TABLE['read_numbers'](tmp_path)


@pytest.mark.parametrize('file', FILES, ids=lambda f: f'{f.parent.name}/{f.stem}')
def test_config_is_consistent(file):
    """Its name, its sizes and its schedule agree; it is short and says what it reproduces."""
    text = file.read_text()
    assert text.startswith('# ')
    assert len(text.splitlines()) < 40
    cfg = Config.fromfile(file)
    kinds = [kind for method, kind in KINDS.items() if file.stem.endswith(f'-{method}')]
    supervised = 'SupervisedClassifier' if file.parent.name == 'baselines' else 'CosubClassifier'
    assert cfg.model.type == (kinds or [supervised])[0]

    crop = cfg.train_dataloader.dataset.pipeline[1]
    size = crop.get('scale', crop.get('size'))
    named = re.findall(r'-(\d+)px', file.stem)
    assert size == (224 if 'ft224' in file.stem or not named else int(named[-1]))
    if cfg.model.backbone.type == 'CosubViT':
        assert cfg.model.backbone.img_size == size

    classes = 21841 if '_in21k' in file.stem and '-pre_in1k' not in file.stem else 1000
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes

    schedules = cfg.param_scheduler
    end = schedules[-1].end if isinstance(schedules, list) else schedules.epochs
    assert end == cfg.train_cfg.max_epochs
    # BCE with a threshold of 0 makes all classes positive once labels are smoothed.
    if cfg.model.loss == 'bce' and cfg.model.get('label_smoothing'):
        assert cfg.model.bce_target_threshold > 0

    if classes == 1000:
        assert cfg.test_dataloader.dataset.type == 'ImageNetValV2'
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            assert loader.dataset.pipeline[2].crop_size == size
            assert 'source' in loader.dataset.pipeline[3].meta_keys


@pytest.mark.parametrize('file', FILES, ids=lambda f: f'{f.parent.name}/{f.stem}')
def test_weights_to_start_from_are_another_configs(file):
    """A fine-tuning names the checkpoint that its pre-training config leaves at its last epoch."""
    cfg = Config.fromfile(file)
    init = cfg.model.backbone.get('init_cfg')
    path = init.checkpoint if init else cfg.load_from
    fine_tuning = 'pre_in1k' in file.stem or 'ft224' in file.stem
    assert bool(path) == fine_tuning
    if path:
        place, _, checkpoint = path.rpartition('/')
        source = file.with_name(f'{place.rpartition("/")[2]}.py')
        assert place == default_work_dir(str(source))
        source = Config.fromfile(source)
        assert checkpoint == f'epoch_{source.train_cfg.max_epochs}.pth'
        assert source.model.type == cfg.model.type
        assert ('layer_decay_rate' in cfg.optim_wrapper.paramwise_cfg) == (
            '_in21k' in file.stem and 'no-layer' not in file.stem and file.parent.name == 'cosub'
        )
