"""ImageNet-21k from folders, shards and lists, its preparation, and what can be wrong with it."""

import io
import pickle
import runpy
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

import cosub_mm  # noqa: F401
from cosub_mm.checks.data import check_data
from cosub_mm.checks.every_file import verify
from cosub_mm.datasets.imagenet21k.image_index import INDEX, Sample, find_classes
from cosub_mm.datasets.imagenet21k.image_table import ImageTable
from cosub_mm.datasets.imagenet21k.preparation import prepare_class
from cosub_mm.safe_files import UnsafeFileError

ROOT = Path(__file__).parents[3]
TOOL = runpy.run_path(str(ROOT / 'tools/dataset_converters/prepare_imagenet21k.py'))
CLASSES = {'n01': 3, 'n02': 2, 'n10': 4}
PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='PackInputs'),
]


def png_of(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 6, 3), value, np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def _images():
    """Class, name and content; the grey value tells which image it is."""
    for label, (name, count) in enumerate(CLASSES.items()):
        for i in range(count):
            yield name, f'{name}_{i}.png', png_of(40 * label + i)


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / 'folders'
    for name, file, content in _images():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / file).write_bytes(content)
    return root


@pytest.fixture
def shards(tmp_path):
    # As winter 2021 unpacks: a folder of shards in between.
    root = tmp_path / 'shards' / 'winter21_whole'
    root.mkdir(parents=True)
    for name in CLASSES:
        with tarfile.open(root / f'{name}.tar', 'w') as shard:
            for owner, file, content in _images():
                if owner == name:
                    info = tarfile.TarInfo(file)
                    info.size = len(content)
                    shard.addfile(info, io.BytesIO(content))
    return root.parent


def _build(root, **kwargs):
    return DATASETS.build(
        dict(type='CosubImageNet21k', data_root=str(root), pipeline=PIPELINE, **kwargs)
    )


def _content(dataset):
    """(label, grey value) of each sample."""
    samples = [dataset[i] for i in range(len(dataset))]
    return [(int(s['data_samples'].gt_label), int(s['inputs'][0, 0, 0])) for s in samples]


EXPECTED = [(y, 40 * y + i) for y, count in enumerate(CLASSES.values()) for i in range(count)]


def test_folders(folders):
    dataset = _build(folders, num_classes=3)
    assert dataset.CLASSES == ('n01', 'n02', 'n10')
    assert _content(dataset) == EXPECTED
    assert dataset.get_cat_ids(8) == [2]
    assert dataset.get_data_info(-1)['img_path'].endswith('n10_3.png')


def test_shards_are_read_in_place_also_by_workers(shards):
    dataset = _build(shards)
    assert _content(dataset) == EXPECTED
    loader = DataLoader(dataset, batch_size=9, num_workers=2, collate_fn=list)
    # The parent has read them, too: forked workers must not share positions in the shards.
    values = [int(s['inputs'][0, 0, 0]) for batch in loader for s in batch]
    assert values == [value for _, value in EXPECTED]


@pytest.mark.parametrize('labelled', [True, False])
def test_list(folders, labelled):
    lines = [f'{name}/{file}' for name, file, _ in _images()]
    if labelled:
        lines = [f'{line} {y}' for line, (y, _) in zip(lines, EXPECTED)]
    (folders / 'list.txt').write_text('\n'.join(lines))
    assert _content(_build(folders, ann_file='list.txt')) == EXPECTED


def test_list_that_cannot_be_read(folders):
    (folders / 'list.txt').write_text('n01/a.png 0\nn01/b.png\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*'n01/b.png'"):
        _build(folders, ann_file='list.txt')
    with pytest.raises(FileNotFoundError, match='no list'):
        _build(folders, ann_file='none.txt')


@pytest.mark.parametrize('layout', ['folders', 'shards'])
def test_preparation_leaves_broken_images_out(layout, request, capsys):
    root = request.getfixturevalue(layout)
    if layout == 'folders':
        (root / 'n02' / 'n02_0.png').write_bytes(png_of(40)[:-30])
        (root / 'n10' / 'n10_1.png').write_text('<html>gone</html>')
    else:
        path = root / 'winter21_whole' / 'n10.tar'
        data = path.read_bytes()
        start = data.index(png_of(81)[:8], data.index(b'n10_1.png'))
        path.write_bytes(data[:start] + b'<html>' + data[start + 6 :])
    assert TOOL['main']([str(root), '--workers', '2']) == 0
    printed = capsys.readouterr().out
    assert '3 classes (neither release of ImageNet-21k)' in printed
    assert '1  no image' in printed
    left = {80 + 1, 40} if layout == 'folders' else {81}
    assert _content(_build(root)) == [e for e in EXPECTED if e[1] not in left]


def test_preparation_resumes(folders, capsys):
    sources = find_classes(folders)
    index = folders / INDEX
    index.mkdir()
    prepare_class(sources[0], index)
    before = (index / 'n01.tsv').stat().st_mtime_ns
    assert TOOL['main']([str(folders), '--workers', '1']) == 0
    assert '9 images in the index' in capsys.readouterr().out
    assert (index / 'n01.tsv').stat().st_mtime_ns == before
    # A class that has changed since is prepared anew.
    (folders / 'n02' / 'new.png').write_bytes(png_of(5))
    assert len(_build(folders)) == 10
    TOOL['main']([str(folders), '--workers', '1'])
    assert '10 images in the index' in capsys.readouterr().out


@pytest.fixture(params=['folders', 'shards'])
def prepared(request):
    root = request.getfixturevalue(request.param)
    assert TOOL['main']([str(root), '--workers', '1']) == 0
    return root


def _never(*args):
    raise AssertionError('the classes are read one by one')


def test_the_packed_table_spares_reading_the_classes(prepared, monkeypatch):
    monkeypatch.setattr('cosub_mm.datasets.imagenet21k.dataset.read_index', _never)
    monkeypatch.setattr('cosub_mm.datasets.imagenet21k.dataset.scan', _never)
    dataset = _build(prepared)
    assert _content(dataset) == EXPECTED
    assert _content(pickle.loads(pickle.dumps(dataset))) == EXPECTED


def test_an_older_index_is_packed_at_the_first_start(prepared, monkeypatch):
    (packed,) = prepared.rglob('packed_*')
    shutil.rmtree(packed)
    assert _content(_build(prepared)) == EXPECTED and packed.is_dir()
    shutil.rmtree(packed)
    monkeypatch.setattr(ImageTable, 'save', _no_room)
    assert _content(_build(prepared)) == EXPECTED and not packed.exists()


def _no_room(*args):
    raise OSError('No space left on device')


def test_a_table_of_an_older_state_is_not_used(folders):
    TOOL['main']([str(folders), '--workers', '1'])
    (before,) = folders.rglob('packed_*')
    (folders / 'n02' / 'new.png').write_bytes(png_of(5))
    assert len(_build(folders)) == 10
    TOOL['main']([str(folders), '--workers', '1'])
    (after,) = folders.rglob('packed_*')
    assert after != before and len(_build(folders)) == 10


@pytest.mark.parametrize(
    ('column', 'value', 'words'),
    [
        ('offsets', 10**6, 'behind the end of n10.tar'),
        ('sizes', 10**5, 'behind the end of n10.tar'),
        ('sizes', 2**40, 'no possible size'),
        ('offsets', -1, 'no possible size'),
        ('ends', 10**6, 'cut short'),
        ('ends', 0, 'cut short'),
        ('class_ends', 5, 'another number'),
        ('names', ord('/'), None),
    ],
)
def test_a_table_that_was_not_made_here(shards, column, value, words):
    TOOL['main']([str(shards), '--workers', '1'])
    (packed,) = shards.rglob('packed_*')
    content = np.fromfile(packed / column, 'u1' if column == 'names' else '<i8')
    content[-1] = value
    content.tofile(packed / column)
    if words is None:  # names lead nowhere in a shard
        assert len(_build(shards)) == 9
    else:
        with pytest.raises(UnsafeFileError, match=words):
            _build(shards)


@pytest.mark.parametrize('name', ['../../a.png', '..', '/a.png', 'a\n.png'])
def test_names_of_a_table_stay_in_their_folder(folders, name):
    TOOL['main']([str(folders), '--workers', '1'])
    (packed,) = folders.rglob('packed_*')
    ImageTable.of([[Sample('a.png')], [Sample(name)], [Sample('b.png')]], False).save(
        packed.with_name('packed_forged')
    )
    packed.with_name('packed_forged').rename(packed)
    with pytest.raises(UnsafeFileError, match='leaves its folder'):
        _build(folders)


def test_a_copy_of_a_table_for_a_worker_is_small(tmp_path):
    table = ImageTable.of([[Sample(f'{i}.png') for i in range(5000)]] * 2, False)
    saved = table.save(tmp_path / 'packed_x')
    copy = pickle.dumps(saved)
    assert len(copy) < 1000 < len(pickle.dumps(table))
    for one in (table, saved, pickle.loads(copy)):
        assert [one.name(i) for i in (0, 1, 4999, 5000, 9999)] == [
            '0.png',
            '1.png',
            '4999.png',
            '0.png',
            '4999.png',
        ]
        assert [one.label(i) for i in (0, 4999, 5000, 9999)] == [0, 0, 1, 1]


@pytest.mark.parametrize('bytes_left', [700, 4096])
def test_shard_cut_short(shards, bytes_left, capsys):
    path = shards / 'winter21_whole' / 'n10.tar'
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(ValueError, match=r"shard '.*n10.tar' is cut short"):
        _build(shards)
    assert TOOL['main']([str(shards), '--workers', '1']) == 1
    assert 'n10.tar' in capsys.readouterr().out


def test_shard_cut_after_its_preparation(shards):
    dataset = _build(shards)
    path = shards / 'winter21_whole' / 'n10.tar'
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"shard '.*n10.tar' is cut short"):
        dataset[8]


def test_wrong_number_of_classes(folders, tmp_path):
    with pytest.raises(ValueError, match=r'has 3 classes, the config expects 21,841.*winter 2021'):
        _build(folders, num_classes=21841)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no class'):
        _build(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='--data-root'):
        _build(tmp_path / 'nowhere')
    (folders / 'n03').mkdir()
    with pytest.raises(ValueError, match=r'1 of 4 classes .* no image, e.g. n03'):
        _build(folders)


@pytest.mark.parametrize('layout', ['folders', 'shards'])
def test_config_is_compared_before_training(layout, request):
    cfg = Config.fromfile(ROOT / 'configs/cosub/vit-s_in21k.py')
    cfg.train_dataloader.dataset.data_root = str(request.getfixturevalue(layout))
    with pytest.raises(ValueError, match=r'has 3 classes.*num_classes=21841'):
        check_data(cfg)
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 3
    check_data(cfg)


def test_images_in_shards_can_be_verified(shards):
    dataset = dict(type='mmpretrain.CosubImageNet21k', data_root=str(shards))
    assert verify('train', dataset, 3, workers=1).broken == []
    path = shards / 'winter21_whole' / 'n10.tar'
    data = path.read_bytes()
    path.write_bytes(data.replace(b'IDAT', b'XXXX'))
    assert len(verify('train', dataset, 3, workers=1).broken) == 4
