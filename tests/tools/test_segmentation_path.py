"""ADE20k at small scale: pre-train at one resolution, segment at another, test, draw, infer.

The configs are those of the repository; sizes alone are reduced.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cosub_mm.analysis.label_maps import metrics_of_label_maps
from cosub_mm.launch.isolation import own_instances
from tools import test as test_tool
from tools import train as train_tool

ROOT = Path(__file__).parents[2]
SIZES = [(61, 45), (48, 48), (50, 77), (49, 64)]
SMALL = """
_base_ = ['{config}']
arch = dict(_delete_=True, embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
model = dict(
    data_preprocessor=dict(size=(48, 48)),
    backbone=dict(arch=arch, img_size=48, patch_size=8, out_indices=(0, 1, 2, 3),
                  init_cfg=dict(checkpoint='{checkpoint}')),
    neck=dict(embed_dim=32),
    decode_head=dict(in_channels=[32] * 4, channels=16),
    auxiliary_head=dict(in_channels=32, channels=8),
    test_cfg=dict(crop_size=(48, 48), stride=(32, 32)))
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (96, 48)
train_pipeline[3].crop_size = (48, 48)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (96, 48)
data = dict(data_root='{data}')
train_dataloader = dict(num_workers=0, persistent_workers=False,
                        dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(num_workers=0, persistent_workers=False,
                      dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [dict(type='PolyLR', power=1.0, eta_min=0.0, end=12, by_epoch=False)]
train_cfg = dict(max_iters=12, val_interval=12)
auto_scale_lr = None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=12))
"""


def scene(rng, size, kind):
    """A picture and its ADE20k mask: 0 is unlabelled, 1 to 150 are the classes."""
    mask = np.zeros(size, np.uint8)
    if kind == 'mixed':
        mask[:] = 3
        mask[:, size[1] // 2 :] = 150
        mask[size[0] // 3 : size[0] // 2, 10:30] = 17
        mask[:4] = 0
    elif kind == 'single class':
        mask[:] = 17
    colours = rng.integers(256, size=(151, 3))
    colours[[3, 17, 150]] = (200, 30, 30), (30, 30, 200), (30, 200, 30)
    picture = colours[mask] + rng.integers(-30, 30, (*size, 3))
    return np.clip(picture, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope='module')
def ade(tmp_path_factory):
    """ADE20k's layout; sizes are odd, one mask has a single class and one no label at all."""
    root = tmp_path_factory.mktemp('ADEChallengeData2016')
    rng = np.random.default_rng(0)
    for split in ('training', 'validation'):
        for folder in ('images', 'annotations'):
            (root / folder / split).mkdir(parents=True)
        for i, size in enumerate(SIZES):
            picture, mask = scene(rng, size, ['mixed', 'mixed', 'single class', 'ignored'][i])
            Image.fromarray(picture).save(root / f'images/{split}/{i}.jpg')
            Image.fromarray(mask).save(root / f'annotations/{split}/{i}.png')
    return root


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory, classification):
    """Weights of a cosub classifier, trained at 32 pixels."""
    work_dir = tmp_path_factory.mktemp('runs') / 'pretrain'
    options = ['model.backbone.arch.num_layers=4', 'train_cfg.max_epochs=1']
    command = [str(classification), '--work-dir', str(work_dir), '--cfg-options', *options]
    assert train_tool.main(command) == 0
    return work_dir / 'epoch_1.pth'


@pytest.fixture(scope='module')
def config(tmp_path_factory, ade, pretrained):
    def write(name):
        path = tmp_path_factory.mktemp('configs') / f'{name}.py'
        base = ROOT / f'configs/ade20k/{name}.py'
        path.write_text(SMALL.format(config=base, checkpoint=pretrained, data=ade))
        return path

    return write


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory, config):
    """The config and the work dir of the fine-tuned UperNet."""
    path, work_dir = config('upernet_vit-b_512'), tmp_path_factory.mktemp('runs') / 'seg'
    assert train_tool.main([str(path), '--work-dir', str(work_dir)]) == 0
    return path, work_dir


def log_of(work_dir):
    return '\n'.join(path.read_text() for path in work_dir.glob('*/*.log'))


def scalars_of(work_dir):
    lines = [p.read_text().splitlines() for p in work_dir.glob('*/vis_data/scalars.json')]
    return [json.loads(line) for file in lines for line in file]


def run_test(segmentor, folder, *args):
    """Test into ``folder`` and return the metrics that the runner wrote."""
    path, work_dir = segmentor
    command = [str(path), str(work_dir / 'iter_12.pth'), '--work-dir', str(folder / 'test')]
    assert test_tool.main([*command, '--out', str(folder / 'maps'), *map(str, args)]) == 0
    (metrics,) = (folder / 'test').glob('*/*.json')
    return json.loads(metrics.read_text())


@pytest.fixture(scope='module')
def whole_test(tmp_path_factory, segmentor):
    """Folder and metrics of the single-scale test, with overlays."""
    folder = tmp_path_factory.mktemp('whole')
    return folder, run_test(segmentor, folder, '--show-dir', folder / 'shown')


def test_backbone_is_loaded_at_another_resolution(segmentor):
    log = log_of(segmentor[1])
    assert re.search(r'Resize the position embeddings from 4x4.* to 6x6 patches', log)
    report = re.search(r'backbone starts from .*: (\d+)/(\d+) tensors', log)
    matched, total = map(int, report.groups())
    # all but the final norm, which dense prediction leaves out
    assert matched == total > 40
    losses = [row['loss'] for row in scalars_of(segmentor[1]) if 'loss' in row]
    assert len(losses) == 12 and losses[-1] < losses[0]


def test_weights_that_match_nothing_are_an_error(config, tmp_path, capsys):
    options = ['model.backbone.init_cfg.prefix=encoder.']
    command = [str(config('upernet_vit-b_512')), '--work-dir', str(tmp_path)]
    assert train_tool.main([*command, '--cfg-options', *options]) == 2
    assert '0 tensors match' in capsys.readouterr().err


def check_metrics(metrics, ade, folder):
    annotations = ade / 'annotations/validation'
    expected = metrics_of_label_maps(folder / 'maps', annotations, 150, reduce_zero_label=True)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=0.0051)  # mmseg prints two decimals
    assert 0 < expected['mIoU'] < expected['aAcc'] <= 100


def test_metrics_equal_scikit_learn(whole_test, ade):
    """Ignored pixels, reduced labels, odd sizes, a single class, a mask without a label."""
    check_metrics(whole_test[1], ade, whole_test[0])


@pytest.mark.parametrize('mode', ['multi-scale flip', 'slide'])
def test_metrics_of_other_tests(mode, segmentor, whole_test, ade, tmp_path):
    slide = ('--cfg-options', 'model.test_cfg.mode=slide')
    metrics = run_test(segmentor, tmp_path, *(slide if mode == 'slide' else ('--tta',)))
    check_metrics(metrics, ade, tmp_path)
    maps = [
        np.concatenate([np.asarray(Image.open(p)).ravel() for p in sorted(folder.glob('*'))])
        for folder in (tmp_path / 'maps', whole_test[0] / 'maps')
    ]
    assert 0 < (maps[0] != maps[1]).mean() < 0.5  # another test, of the same model


def test_overlays_and_inferencer_agree_with_the_test(segmentor, whole_test, ade, tmp_path):
    from mmseg.apis import MMSegInferencer

    path, work_dir = segmentor
    tested = whole_test[0]
    pictures = sorted((tested / 'shown').glob('*.png'))
    assert [p.stem for p in pictures] == [f'00000{i}_{i}' for i in range(4)]
    for picture, size in zip(pictures, SIZES):
        # picture, truth and prediction side by side, over the legend
        assert Image.open(picture).width >= 3 * size[1]
        assert Image.open(picture).height > size[0] + 10
    folder, out = ade / 'images/validation', tmp_path / 'inferred'
    with own_instances():
        inferencer = MMSegInferencer(str(path), str(work_dir / 'iter_12.pth'), device='cpu')
        results = inferencer(str(folder), return_datasamples=False, out_dir=str(out))
    for i, name in enumerate(sorted(p.name for p in folder.iterdir())):
        label_map = np.asarray(Image.open(tested / 'maps' / name.replace('jpg', 'png')))
        assert np.array_equal(results['predictions'][i], label_map - 1)
    assert len(list((out / 'vis').glob('*'))) == 4


def test_cosub_segmentor_and_layer_decay_by_config(config, segmentor, tmp_path):
    """Both go through the tool; the co-trained checkpoint is an EncoderDecoder's."""
    path = config('upernet_vit-b_cosub_512')
    decay = ['optim_wrapper.constructor=mmpretrain.CosubLayerDecay']
    decay += ['optim_wrapper.paramwise_cfg.layer_decay_rate=0.65']
    command = [str(path), '--work-dir', str(tmp_path / 'cosub'), '--amp', '--cfg-options']
    command += [
        *decay,
        'train_cfg.max_iters=4',
        'train_cfg.val_interval=4',
        'default_hooks.checkpoint.interval=4',
        'param_scheduler.0.end=4',
    ]
    assert train_tool.main(command) == 0
    rows = [row for row in scalars_of(tmp_path / 'cosub') if 'decode.loss_cosub' in row]
    assert len(rows) == 4
    for row in rows:
        parts = row['decode.loss_label'] + row['decode.loss_cosub'] + row['aux.loss_ce']
        assert row['loss'] == pytest.approx(parts, rel=1e-4)
        assert 0 <= row['decode.agreement'] <= 1
    assert 'Layer decay' in log_of(tmp_path / 'cosub')
    plain, _ = segmentor
    checkpoint = tmp_path / 'cosub/iter_4.pth'
    command = [str(plain), str(checkpoint), '--work-dir', str(tmp_path / 'test')]
    assert test_tool.main(command) == 0


@pytest.mark.parametrize('name', ['upernet_vit-b_512', 'upernet_vit-l_deit3-in21k_512'])
def test_command_list_names_existing_files(name):
    """The paths of the documented command list exist, and configs load."""
    cfg = Config.fromfile(ROOT / f'configs/ade20k/{name}.py')
    assert cfg.train_cfg.max_iters == 160000
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
