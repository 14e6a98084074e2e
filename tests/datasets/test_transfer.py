import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image, ImageEnhance
from timm.data import auto_augment

import cosub_mm  # noqa: F401
from cosub_mm.analysis.complexity import complexity
from cosub_mm.datasets import (
    CheckedCIFAR10,
    CheckedFlowers102,
    CheckedStanfordCars,
    INaturalist2018,
    INaturalist2019,
)
from tests.datasets import transfer_miniatures as miniatures
from tools import train as train_tool

ROOT = Path(__file__).parents[2]

init_default_scope('mmpretrain')
CLASSES = dict(cifar10=10, cifar100=100, flowers102=102, cars=196, inat18=8142, inat19=1010)
# the official numbers of images to train and to test on
IMAGES = dict(
    cifar10=(50000, 10000),
    cifar100=(50000, 10000),
    flowers102=(2040, 6149),
    cars=(8144, 8041),
    inat18=(437513, 24426),
    inat19=(265213, 3030),
)
# parameters with a head of 1000 classes (mmpretrain's model index of DeiT III), and channels
VIT = {'s': (22_059_496, 384), 'b': (86_585_320, 768), 'l': (304_374_760, 1024)}


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    roots = {}
    for name, write in miniatures.WRITERS.items():
        roots[name] = tmp_path_factory.mktemp(name)
        write(roots[name])
    return roots


@pytest.fixture(autouse=True)
def _miniature_checksums(monkeypatch):
    """The miniature CIFARs are sound archives, but not those of the published sums."""
    for name in ('CheckedCIFAR10', 'CheckedCIFAR100'):
        cls = DATASETS.get(name)
        for listing in ('train_list', 'test_list'):
            monkeypatch.setattr(cls, listing, [[file, None] for file, _ in getattr(cls, listing)])


@pytest.mark.parametrize('size', ['s', 'b', 'l'])
@pytest.mark.parametrize('name', list(CLASSES))
def test_one_training_step_of_each_config(name, size, roots):
    cfg = Config.fromfile(ROOT / f'configs/transfer/vit-{size}_{name}.py')
    datasets = {
        split: DATASETS.build(
            dict(cfg[f'{split}_dataloader'].dataset, data_root=str(roots[name]), check=False)
        )
        for split in ('train', 'test')
    }
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == CLASSES[name]
    assert cfg.model.head.in_channels == VIT[size][1]
    cls = type(datasets['train'])
    assert (
        cls.NUM_CLASSES,
        *(cls.NUM_IMAGES[datasets[split].split] for split in ('train', 'test')),
    ) == (CLASSES[name], *IMAGES[name])

    # the training step on a network of the same kind, small
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    cfg.model.backbone.update(arch=arch, patch_size=32, init_cfg=None)
    cfg.model.head.in_channels = 32
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.drop_path_rate = max(cfg.model.drop_path_rate, 0.3)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {k: v.clone() for k, v in model.named_parameters()}
    batch = default_collate([datasets['train'][i] for i in range(4)])
    assert batch['inputs'].shape == (4, 3, 224, 224)
    log = model.train().train_step(batch, wrapper)
    assert log['loss'].isfinite() and log['loss'] > 0
    moved = [k for k, v in model.named_parameters() if not torch.equal(v, before[k])]
    assert 'head.layers.head.weight' in moved and 'backbone.layers.0.attn.qkv.weight' in moved
    with torch.no_grad():
        out = model.eval().test_step(default_collate([datasets['test'][0], datasets['test'][1]]))
    assert out[0].pred_score.shape == (CLASSES[name],)


@pytest.mark.parametrize('size', ['s', 'b', 'l'])
def test_networks_are_those_of_the_paper(size):
    cfg = Config.fromfile(ROOT / f'configs/transfer/vit-{size}_cifar10.py')
    params, dim = VIT[size]
    assert complexity(cfg, (224, 224)).params == params - 990 * (dim + 1)


class _Red:
    """In place of the miniatures' random generator: every picture is red."""

    @staticmethod
    def integers(high, size, dtype):
        pixels = np.zeros(size, dtype)
        if size[-1] == 3:
            pixels[..., 0] = 255
        else:  # CIFAR's rows: 1024 red values, then green, then blue
            pixels[..., :1024] = 255
        return pixels


def _shown(cfg, picture):
    """A picture of the pipeline as the network sees it, RGB before normalisation."""
    settings = cfg.data_preprocessor
    preprocessor = MODELS.build(dict(settings, type='ClsDataPreprocessor'))
    batch = dict(inputs=torch.from_numpy(picture.copy()).permute(2, 0, 1)[None], data_samples=None)
    seen = preprocessor(batch)['inputs'][0].permute(1, 2, 0).numpy()
    return seen * np.float32(settings.std) + np.float32(settings.mean)


@pytest.mark.parametrize('name', ['cifar10', 'cifar100', 'flowers102', 'inat18'])
def test_colour_operations_know_red_from_blue(name, tmp_path, monkeypatch):
    """timm's operations on PIL's red picture: less colour, and a shift that leaves a border."""
    monkeypatch.setattr(miniatures, 'RNG', _Red)
    miniatures.WRITERS[name](tmp_path)
    cfg = Config.fromfile(ROOT / f'configs/transfer/vit-b_{name}.py')
    train = cfg.train_dataloader.dataset
    rand_augment = next(step for step in train.pipeline if step.type == 'RandAugment')
    loading = [step for step in train.pipeline if step.type == 'LoadImageFromFile']
    split = dict(train, data_root=str(tmp_path), check=False, pipeline=loading)
    picture = DATASETS.build(split)[0]['img']
    red = Image.new('RGB', picture.shape[1::-1], (255, 0, 0))
    np.testing.assert_allclose(_shown(cfg, picture), np.asarray(red), atol=2)

    theirs = {
        'ColorTransform': ImageEnhance.Color(red).enhance(1 - 0.81),
        'Translate': auto_augment.translate_x_rel(
            red, 0.405, fillcolor=(124, 116, 104), resample=Image.Resampling.BICUBIC
        ),
    }
    for operation in TRANSFORMS.build(rand_augment):
        kind = type(operation).__name__
        if kind in theirs and getattr(operation, 'direction', '') != 'vertical':
            # Always, to the one side, at the mean magnitude.
            operation.prob, operation.random_negative_prob, operation.magnitude_std = 1.0, 1.0, 0
            shown = _shown(cfg, operation(dict(img=picture.copy()))['img'])
            expected = np.asarray(theirs.pop(kind)).astype(np.float32)
            # PIL and OpenCV place the border half a pixel apart.
            distance = np.abs(shown - expected).max(axis=-1)
            assert (distance > 3).mean() <= 1 / 32, kind
            np.testing.assert_allclose(shown[:, -2:], expected[:, -2:], atol=3, err_msg=kind)
    assert not theirs


@pytest.mark.parametrize('name', ['inat18', 'inat19'])
def test_random_erasing_is_timms(name):
    """Noise of the data set's own mean and deviation on 2% to a third of the picture."""
    cfg = Config.fromfile(ROOT / f'configs/transfer/vit-b_{name}.py')
    step = next(s for s in cfg.train_dataloader.dataset.pipeline if s.type == 'RandomErasing')
    assert step.erase_prob == 0.1
    erase = TRANSFORMS.build(dict(step, erase_prob=1.0))
    np.random.seed(0)
    shares, noise = [], []
    for _ in range(200):
        picture = erase(dict(img=np.full((64, 64, 3), 7, np.uint8)))['img']
        erased = (picture != 7).any(axis=-1)
        shares.append(erased.mean())
        noise.append(_shown(cfg, picture)[erased])
    assert min(shares) > 0.015 and 0.3 < max(shares) < 1 / 3 + 0.015
    noise = (np.concatenate(noise) - np.float32(cfg.data_preprocessor.mean)) / np.float32(
        cfg.data_preprocessor.std
    )
    # timm adds standard normal noise to zeros; a picture cannot hold what lies outside [0, 255].
    np.testing.assert_allclose(noise.mean(axis=0), [0, 0, 0], atol=0.03)
    np.testing.assert_allclose(noise.std(axis=0), [1, 1, 1], atol=0.04)


def test_labels_and_files(roots):
    flowers = CheckedFlowers102(str(roots['flowers102']), 'trainval', check=False)
    assert [i['gt_label'] for i in map(flowers.get_data_info, range(6))] == [101, 1, 3, 0, 2, 4]
    cars = CheckedStanfordCars(str(roots['cars']), 'test', check=False)
    assert [i['gt_label'] for i in map(cars.get_data_info, range(3))] == [1, 195, 2]
    assert all(Path(cars.get_data_info(i)['img_path']).is_file() for i in range(3))
    cifar = CheckedCIFAR10(str(roots['cifar10']), 'train', check=False)
    assert len(cifar) == 40
    assert cifar.get_data_info(9)['gt_label'] == 1


@pytest.mark.parametrize(
    ('name', 'cls'), [('inat18', INaturalist2018), ('inat19', INaturalist2019)]
)
def test_inaturalist_follows_the_json(name, cls, roots, monkeypatch):
    monkeypatch.setattr(cls, 'NUM_CLASSES', 3)
    monkeypatch.setattr(cls, 'NUM_IMAGES', {'train': 12, 'val': 6})
    dataset = cls(str(roots[name]), 'train')
    assert dataset.metainfo['classes'] == ('2', '1', '0')  # by ascending id: 86, 93, 100
    for i in range(12):
        info = dataset.get_data_info(i)
        folder = int(Path(info['img_path']).parent.name)
        assert info['gt_label'] == 2 - folder
        assert Path(info['img_path']).is_file()
    assert len(cls(str(roots[name]), 'val')) == 6


def edit(content, change):
    if change == 'no annotation':
        content['annotations'].pop()
    elif change == 'two annotations':
        content['annotations'].append(content['annotations'][0])
    elif change == 'unknown image':
        content['annotations'][0]['image_id'] = 77777
    elif change == 'unknown category':
        content['annotations'][0]['category_id'] = 5
    elif change == 'missing file':
        content['images'][0]['file_name'] = 'train_val2018/Aves/0/nothing.jpg'
    elif change == 'missing folder':
        content['images'][0]['file_name'] = 'train_val2018/Reptilia/9/a.jpg'
    elif change == 'empty class':
        content['categories'].append(dict(id=1, name='dodo'))
    elif change == 'test file':
        del content['annotations']
    return content


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ('no annotation', ValueError, '1 images have no annotation'),
        ('two annotations', ValueError, '1 have several'),
        ('unknown image', ValueError, '1 annotations are of unknown images'),
        ('unknown category', ValueError, r'categories that are not listed: \[5\]'),
        ('missing file', FileNotFoundError, '1 of 12 listed images are missing.*nothing.jpg'),
        ('missing folder', FileNotFoundError, '1 of 12 listed images are missing.*Reptilia'),
        ('empty class', ValueError, '1 of 4 classes have no image, e.g. dodo'),
        ('test file', ValueError, 'lacks annotations'),
    ],
)
def test_json_that_does_not_match_is_named(change, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr(INaturalist2018, 'NUM_CLASSES', 4 if change == 'empty class' else 3)
    monkeypatch.setattr(INaturalist2018, 'NUM_IMAGES', {'train': 12})
    content = edit(miniatures.inat_json(tmp_path, 2018, 'train', 4), change)
    (tmp_path / 'train2018.json').write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        INaturalist2018(str(tmp_path))


def test_truncated_and_missing_json(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no .*train2019.json'):
        INaturalist2019(str(tmp_path))
    (tmp_path / 'train2019.json').write_text('{"images": [')
    with pytest.raises(ValueError, match='no whole JSON'):
        INaturalist2019(str(tmp_path))


def test_official_numbers_are_required(roots):
    with pytest.raises(ValueError, match='Flowers102 trainval has 6 images.*2,040'):
        CheckedFlowers102(str(roots['flowers102']), 'trainval')
    with pytest.raises(ValueError, match='StanfordCars train has 4 images.*8,144'):
        CheckedStanfordCars(str(roots['cars']), 'train')
    with pytest.raises(ValueError, match='CIFAR10 test has 8 images.*10,000'):
        CheckedCIFAR10(str(roots['cifar10']), 'test')
    with pytest.raises(ValueError, match='iNaturalist-2018 train has 3 classes.*8,142'):
        INaturalist2018(str(roots['inat18']))


def test_missing_class_or_file_of_cars(tmp_path, monkeypatch):
    miniatures.write_cars(tmp_path)
    monkeypatch.setattr(CheckedStanfordCars, 'NUM_IMAGES', {'train': 4})
    with pytest.raises(ValueError, match='has 4 classes, but the official one has 196'):
        CheckedStanfordCars(str(tmp_path))
    monkeypatch.setattr(CheckedStanfordCars, 'NUM_CLASSES', 4)
    (tmp_path / 'cars_train/00002.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 4 listed images.*00002.jpg'):
        CheckedStanfordCars(str(tmp_path))


def test_missing_root_and_unknown_split(tmp_path):
    for cls in (CheckedFlowers102, CheckedStanfordCars):
        with pytest.raises(FileNotFoundError, match=r'official layout.*prepare_data'):
            cls(str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match='official layout'):
        CheckedCIFAR10(str(tmp_path), download=False)
    with pytest.raises(ValueError, match="split='dev' is unknown; choose from train, val"):
        INaturalist2018(str(tmp_path), 'dev')


@pytest.mark.parametrize('name', ['cifar10', 'flowers102', 'inat18'])
def test_training_does_not_begin_on_other_data(name, roots, tmp_path, capsys):
    """tools/train.py stops with one line at a miniature; a subset of one's own must say so."""
    config = ROOT / f'configs/transfer/vit-b_{name}.py'
    command = [str(config), '--data-root', str(roots[name]), '--work-dir', str(tmp_path)]
    small = ['model.backbone.arch=ti', 'model.head.in_channels=192', 'model.backbone.init_cfg=None']
    small.append('auto_scale_lr=None')  # one process: another global batch than the recipe's
    assert train_tool.main([*command, '--cfg-options', *small]) == 2
    message = capsys.readouterr().err
    assert 'but the official one has' in message and 'Traceback' not in message
    assert not list(tmp_path.glob('*.pth'))
