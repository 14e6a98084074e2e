"""Downstream configs start from weights that a config of this repository, or DeiT III's, writes."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import cosub_mm  # noqa: F401
from cosub_mm.analysis.complexity import meta_device
from cosub_mm.engine.checkpoints import check_start_model
from cosub_mm.launch.work_dir import default_work_dir
from tests.configs.recipe_table import paper_configs

ROOT = Path(__file__).parents[2]
DOWNSTREAM = paper_configs('ade20k')
DOWNSTREAM += sorted((ROOT / 'configs/transfer').glob('vit-*_cifar10.py'))
FOLDERS = ('cosub', 'baselines')
# The norms behind single stages exist in dense prediction only.
ONLY_DENSE = ('norm0.', 'norm1.', 'norm2.', 'norm3.')


def shapes(cfg):
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    backbone = dict(cfg.model.backbone)
    backbone.pop('init_cfg', None)
    with meta_device():
        model = MODELS.build(backbone)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize('path', DOWNSTREAM, ids=lambda path: path.stem)
def test_checkpoint_is_that_of_a_config_and_fits(path):
    cfg = Config.fromfile(path)
    init_cfg = cfg.model.backbone.init_cfg
    assert (init_cfg.type, init_cfg.prefix) == ('Pretrained', 'backbone.')
    if init_cfg.checkpoint.startswith('https://'):
        assert init_cfg.checkpoint.startswith('https://mmassets.onedl.ai/mmclassification/v0/')
        return
    place, _, file = init_cfg.checkpoint.rpartition('/')
    sources = [p for f in FOLDERS for p in paper_configs(f)]
    (path,) = (p for p in sources if default_work_dir(str(p)) == place)
    source = Config.fromfile(path)
    assert file == f'epoch_{source.train_cfg.max_epochs}.pth'
    # As the checkpoint records it; the backbone must compute the same.
    recorded = '\n'.join(f'{key} = {value!r}' for key, value in source.to_dict().items())
    check_start_model(dict(meta=dict(cfg=recorded)), file, cfg, ())
    have, want = shapes(source), shapes(cfg)
    missing = [key for key in want if key not in have and not key.startswith(ONLY_DENSE)]
    assert not missing
    other = [key for key in want if key in have and have[key] != want[key]]
    assert set(other) <= {'pos_embed'}


def test_published_weights_are_those_of_the_model_index():
    """Addresses change with releases of mmpretrain; ours are those of the tested one."""
    import yaml
    from mmpretrain import __path__ as places

    known = set()
    for family in ('deit3', 'swin_transformer'):
        text = (Path(places[0]) / f'.mim/configs/{family}/metafile.yml').read_text()
        known |= {model.get('Weights') for model in yaml.safe_load(text)['Models']}
    used = {Config.fromfile(path).model.backbone.init_cfg.checkpoint for path in DOWNSTREAM}
    used = {address for address in used if address.startswith('https://')}
    assert len(used) >= 10
    assert used <= known


def test_deit3_weights_fit_cosub_vit():
    """mmpretrain's DeiT3, for which the published files were converted, has the same tensors."""
    init_default_scope('mmpretrain')
    with meta_device():
        deit3 = MODELS.build(dict(type='DeiT3', arch='b', img_size=224))
    have = {name: tensor.shape for name, tensor in deit3.state_dict().items()}
    want = shapes(Config.fromfile(ROOT / 'configs/ade20k/upernet_vit-b_deit3_512.py'))
    assert {k for k in want if have.get(k) != want[k]} == {'pos_embed'}
    assert have['pos_embed'] == torch.Size((1, 196, 768))
