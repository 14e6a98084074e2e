"""Our models by name, from the repository and from an installed wheel."""

import os
import subprocess
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.apis.model import ModelHub

import cosub_mm  # noqa: F401
from cosub_mm.model_hub import index_root
from cosub_mm.version import __version__
from tests import fresh
from tests.configs.recipe_table import paper_configs

ROOT = Path(__file__).parents[1]


def test_every_config_has_a_name_and_every_name_a_config():
    names, old = {}, {}
    for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']:
        for model in yaml.safe_load((ROOT / path).read_text())['Models']:
            (old if 'Note' in model['Metadata'] else names)[model['Name']] = model['Config']
    assert len(set(names.values())) == len(names)
    folders = ('cosub', 'baselines', 'ablations', 'ade20k', 'transfer')
    files = {str(f.relative_to(ROOT)) for d in folders for f in paper_configs(d)}
    assert set(names.values()) == files
    assert set(old.values()) <= files and not set(old) & set(names)
    assert set(names) | set(old) <= set(mmpretrain.list_models())


def test_old_names_until_the_next_version():
    for old, new in (
        ('vit-s-supervised_in1k', 'supervised_vit-s_in1k'),
        (
            'cosub_vit-s_in21k-270e-pre_in1k-336px',
            'cosub_vit-s_in21k-270e-336px-pre_in1k-336px',
        ),
    ):
        assert ModelHub.get(old).config.filename == ModelHub.get(new).config.filename
    with open(ROOT / 'configs/old_names.csv') as file:
        assert file.readline() == 'old,config\n'
        assert len(file.readlines()) == 0 or __version__.startswith('0.1.'), 'remove them'


def test_get_model():
    with torch.device('meta'):
        model = mmpretrain.get_model('cosub_vit-b_in1k', backbone=dict(img_size=64))
    assert type(model).__name__ == 'CosubClassifier'
    assert model.backbone.pos_embed.shape == (1, 16, 768)
    assert ModelHub.get('resnet18_8xb32_in1k').config.model.backbone.depth == 18


def test_get_model_of_downstream_configs():
    with torch.device('meta'):
        transfer = mmpretrain.get_model('transfer_vit-s_cifar10')
        segmentor = mmpretrain.get_model('ade20k_upernet_vit-s_512')
    assert transfer.head.num_classes == 10
    assert segmentor.decode_head.num_classes == 150
    assert type(segmentor.backbone).__name__ == 'CosubViT'


def test_inferencer_of_mmseg_knows_our_names(tmp_path):
    from mmseg.apis import MMSegInferencer
    from mmseg.registry import MODELS

    config = Config.fromfile(ROOT / 'configs/ade20k/upernet_vit-s_512.py')
    torch.manual_seed(0)
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    meta = dict(dataset_meta=dict(classes=('a',) * 150, palette=[[0, 0, 0]] * 150))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    found = MMSegInferencer(
        'ade20k_upernet_vit-s_512', weights=str(tmp_path / 'weights.pth'), device='cpu'
    )
    weight = model.decode_head.conv_seg.weight
    torch.testing.assert_close(found.model.decode_head.conv_seg.weight, weight, rtol=0, atol=0)
    with pytest.raises(ValueError, match='Cannot find model: ade20k_no_such'):
        MMSegInferencer('ade20k_no_such', device='cpu')


def test_installed_package_brings_the_index_itself(tmp_path, monkeypatch):
    package = tmp_path / 'site-packages' / 'cosub_mm'
    (package / '.mim').mkdir(parents=True)
    monkeypatch.setattr('cosub_mm.model_hub.__file__', str(package / 'model_hub.py'))
    with pytest.raises(FileNotFoundError, match='no model-index.yml'):
        index_root()
    (package / '.mim' / 'model-index.yml').touch()
    assert index_root() == package / '.mim'


def test_get_model_from_a_built_package(tmp_path):
    """What a wheel holds, run where the repository is out of sight."""
    build = [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    code = (
        'import mmpretrain, torch\n'
        'mmpretrain.list_models()\n'  # the index has been read before ours is there
        'import cosub_mm\n'
        'torch.set_default_device("meta")\n'
        'model = mmpretrain.get_model("supervised_vit-s_in1k")\n'
        'print(cosub_mm.__file__, type(model).__name__, model.backbone.embed_dims)'
    )
    env = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    result = fresh.run(['-c', code], cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr[-2000:]
    package = tmp_path / 'cosub_mm' / '__init__.py'
    assert result.stdout.split()[-3:] == [str(package), 'SupervisedClassifier', '384']
