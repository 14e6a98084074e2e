"""What hangs, fills the memory or runs code when it is read: one line at once, in each reader."""

import contextlib
import io
import json
import os
import pickle
import re
import runpy
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

import cosub_mm  # noqa: F401
from cosub_mm.checks.data import check_data
from cosub_mm.checks.every_file import verify
from cosub_mm.datasets.guarded import GuardedImages
from cosub_mm.datasets.imagenet21k.dataset import CosubImageNet21k
from cosub_mm.datasets.imagenet21k.image_index import INDEX, find_classes, scan
from cosub_mm.datasets.imagenet21k.image_table import packed_path
from cosub_mm.datasets.imagenet21k.preparation import pack, prepare, prepare_class
from cosub_mm.datasets.imagenet21k.tar_backend import TarShardBackend, shard_path
from cosub_mm.datasets.imagenet_v2 import ImageNetValV2
from cosub_mm.datasets.inaturalist import INaturalist2018
from cosub_mm.datasets.shuffle_buffer import ask_for
from cosub_mm.datasets.transfer import CheckedCIFAR10, CheckedFlowers102
from cosub_mm.demo.manifest import write_dataset
from cosub_mm.launch.errors import run_tool
from tests.datasets import transfer_miniatures as miniatures
from tests.datasets.attacks import CONTENTS, bomb, header, outcome, png, put

ROOT = Path(__file__).parents[2]
NEVER = ('pipe', 'device')
SAID = {
    'pipe': 'no regular file',
    'device': 'no regular file',
    'endless': '1,099,511,627,776 bytes',
    'one line': 'a line of more than',
    'bomb': '12000x12000 pixels are more than 89,478,485.*--max-image-pixels',
    'line': '1x9 pixels: a line, not a picture',
    'dot': '1x1 pixels: a line, not a picture',
}
PICTURES = [kind for kind in SAID if kind != 'one line']


def check(read, said: str, **limits: int) -> None:
    text = outcome(read, **limits)
    assert re.search(said, text, re.DOTALL), text
    assert len(text) < 1000


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')
    yield
    init_default_scope('mmpretrain')


def listed(root: Path, loader='LoadPicture', **kwargs) -> dict:
    """A data set that names its pictures without looking at them."""
    return dict(
        type='CosubImageNet21k',
        data_root=str(root),
        ann_file='list.txt',
        pipeline=[dict(type=loader)],
        **kwargs,
    )


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / 'list.txt').write_text('n01/0.png 0\nn01/1.png 0\n')
    (tmp_path / 'n01').mkdir()
    for i in range(2):
        (tmp_path / f'n01/{i}.png').write_bytes(png())
    return tmp_path


@pytest.mark.parametrize('kind', PICTURES)
@pytest.mark.parametrize('loader', ['LoadPicture', 'LoadImageFromFile'])
def test_a_picture(kind, loader, pictures):
    path = put(pictures / 'n01/1.png', kind)
    for test_mode in (False, True):
        guard = GuardedImages(listed(pictures, loader, test_mode=test_mode))
        check(lambda guard=guard: guard[1], f'{path}.*{SAID[kind]}')


@pytest.mark.parametrize('kind', CONTENTS)
def test_a_picture_in_a_shard(kind, tmp_path):
    """Of a shard without an index, whose pictures nobody has looked at."""
    content = CONTENTS[kind]
    with tarfile.open(tmp_path / 'n01.tar', 'w') as tar:
        info = tarfile.TarInfo('a.png')
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    for loader in ('LoadPicture', 'LoadImageFromFile'):
        for test_mode in (False, True):
            dataset = dict(type='CosubImageNet21k', data_root=str(tmp_path), test_mode=test_mode)
            guard = GuardedImages(dict(dataset, pipeline=[dict(type=loader)]))
            check(lambda guard=guard: guard[0], f'n01.tar.*{SAID[kind]}')


@pytest.mark.parametrize('kind', PICTURES)
def test_a_picture_without_the_guard_and_in_the_verification(kind, pictures):
    path = put(pictures / 'n01/1.png', kind)
    check(lambda: DATASETS.build(listed(pictures))[1], SAID[kind])

    def verified():
        raise ValueError(str(verify('train', listed(pictures), None, 1)))

    check(verified, f'1 broken.*{path}.*{SAID[kind]}')


@pytest.mark.parametrize('kind', NEVER)
def test_looking_for_more_bad_pictures_does_not_hang(kind, pictures):
    (pictures / 'n01/0.png').write_bytes(b'no picture')
    path = put(pictures / 'n01/1.png', kind)
    check(lambda: GuardedImages(listed(pictures))[0], f'2 image files.*not an image.*{path}')


@pytest.mark.parametrize('kind', PICTURES)
def test_the_preparation(kind, pictures):
    put(pictures / 'n01/1.png', kind)
    (source,) = find_classes(pictures)
    (pictures / INDEX).mkdir()

    def prepared():
        raise ValueError(str(prepare_class(source, pictures / INDEX)))

    said = {'endless': 'UnsafeFileError', 'bomb': 'more than 89,478,485 pixels'}
    said |= dict.fromkeys(('line', 'dot'), 'a side of one pixel')
    check(prepared, f'kept=1, .*1.png.*{said.get(kind, SAID[kind])}')


def segmentation(root: Path) -> dict:
    for folder in ('images', 'labels'):
        (root / folder).mkdir()
        for i in range(2):
            content = png(mode='RGB' if folder == 'images' else 'L')
            (root / folder / f'{i}.png').write_bytes(content)
    return dict(
        type='mmseg.BaseSegDataset',
        data_root=str(root),
        img_suffix='.png',
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('a', 'b')),
        pipeline=[dict(type='LoadPicture'), dict(type='mmseg.LoadAnnotations')],
    )


@pytest.mark.parametrize('kind', PICTURES)
@pytest.mark.parametrize('folder', ['images', 'labels'])
def test_segmentation(kind, folder, tmp_path):
    config = segmentation(tmp_path)
    init_default_scope('mmseg')
    path = put(tmp_path / folder / '1.png', kind)
    (tmp_path / 'list.txt').write_text('0\n1\n')  # without it mmseg leaves pipes out itself
    config['ann_file'] = 'list.txt'
    said = f'({SAID[kind]}|pixels and its mask|shape)'
    for test_mode in (False, True):
        config['pipeline'][0]['type'] = 'mmpretrain.LoadPicture'
        guard = GuardedImages(dict(config, test_mode=test_mode))
        check(lambda guard=guard: guard[1], f'{path}.*{said}|{said}.*{path}')


@pytest.mark.parametrize('kind', ['pipe', 'bomb'])
def test_the_start_of_a_segmentation_does_not_hang(kind, tmp_path):
    config = segmentation(tmp_path)
    put(tmp_path / 'labels/1.png', kind)
    config = Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=config)))
    # The masks that it can read hold one class; the guard names the other one when it is its turn.
    check(lambda: check_data(config), 'only class 0|no regular file')


@pytest.mark.parametrize('name', ['a\nerror: forged.png', 'a\udcff.png', 'a\u2028b.png'])
def test_odd_names_of_pictures_stay_in_their_line_of_a_message(name, tmp_path):
    """They can be read, but neither forge a line of a log nor break who writes it."""
    path = tmp_path / 'n01' / name
    path.parent.mkdir()
    path.write_bytes(b'no picture')
    dataset = dict(
        type='CustomDataset', data_root=str(tmp_path), pipeline=[dict(type='LoadPicture')]
    )
    with pytest.raises(ValueError, match='not an image') as caught:
        GuardedImages(dataset)[0]
    report = str(verify('train', dataset, None, 1))
    for text in (str(caught.value), report.splitlines()[-1]):
        assert ascii(str(path))[1:-1] in text
        assert len(text.encode().splitlines()) == len(text.splitlines()) == 1
    assert len(report.splitlines()) == 2
    path.rename(path.with_suffix('.gif'))
    (path.parent / 'b.png').write_bytes(png())
    check_data(Config(dict(train_dataloader=dict(dataset=dataset))))  # prints what is not used


HEADERS = {
    'pax records': (tarfile.XHDTYPE, 2**33, 'a header of 8,589,934,592 bytes'),
    'records for all': (tarfile.XGLTYPE, 2**33, 'a header of 8,589,934,592 bytes'),
    'long name': (tarfile.GNUTYPE_LONGNAME, 2**33, 'a header of 8,589,934,592 bytes'),
    'long link': (tarfile.GNUTYPE_LONGLINK, 2**33, 'a header of 8,589,934,592 bytes'),
    'below zero': (tarfile.REGTYPE, -512, 'a size below zero'),
    'header below zero': (tarfile.GNUTYPE_LONGNAME, -512, 'a size below zero'),
    'larger than the file': (tarfile.REGTYPE, 2**62, "cut short.*ends in 'a.png'"),
}


@pytest.mark.parametrize('name', HEADERS)
def test_headers_of_a_shard(name, tmp_path):
    kind, size, said = HEADERS[name]
    with open(tmp_path / 'n01.tar', 'wb') as shard:
        shard.write(header(kind, size))
        shard.truncate(2**34)
    (source,) = find_classes(tmp_path)
    check(lambda: scan(source), f'n01.tar.*{said}')


def test_a_size_below_zero_in_a_record(tmp_path):
    record = b'13 size=-512\n'
    with open(tmp_path / 'n01.tar', 'wb') as shard:
        shard.write(header(tarfile.XHDTYPE, len(record)) + record.ljust(512, b'\0'))
        shard.write(header(tarfile.REGTYPE, 10) + bytes(2048))
    check(lambda: scan(find_classes(tmp_path)[0]), 'a size below zero')


@pytest.mark.parametrize('kind', NEVER)
def test_a_shard(kind, tmp_path):
    path = put(tmp_path / 'n01.tar', kind)
    address = shard_path(path, 512, 20)
    check(lambda: TarShardBackend().get(address), 'no regular file')

    class Images:
        def get_data_info(self, index):
            return dict(img_path=address if index else str(path))

    assert outcome(lambda: ask_for(Images(), 0, 2)) == ''  # it asks, and whoever reads says


def indexed(root: Path, shard: bool) -> Path:
    if shard:
        with tarfile.open(root / 'n01.tar', 'w') as tar:
            info = tarfile.TarInfo('a.png')
            info.size = 10
            tar.addfile(info, io.BytesIO(bytes(10)))
    else:
        (root / 'n01').mkdir()
        (root / 'n01/a.png').write_bytes(png())
    sources = find_classes(root)
    index = root / INDEX
    index.mkdir()
    if shard:
        (index / 'n01.tsv').write_text(f'{sources[0].stamp}\na.png\t512\t10\n')
        (index / 'n01.left_out.tsv').touch()
    else:
        prepare_class(sources[0], index)
    pack(root)
    return packed_path(index, sources)


@pytest.mark.parametrize('shard', [True, False])
@pytest.mark.parametrize('kind', [*NEVER, 'endless', 'one line'])
def test_an_index_that_came_with_the_data(kind, shard, tmp_path):
    table = indexed(tmp_path, shard)

    def read():
        return len(CosubImageNet21k(data_root=str(tmp_path)))

    for column in ('class_ends', 'ends', 'names', 'offsets', 'sizes'):
        before = (table / column).read_bytes() if (table / column).exists() else None
        put(table / column, kind)
        check(read, 'it was not made here', memory=2**28)
        (table / column).unlink()
        if before is not None:
            (table / column).write_bytes(before)
    put(tmp_path / INDEX / 'n01.left_out.tsv', kind)
    check(lambda: list(prepare(tmp_path, 1)), 'no regular file|bytes')


@pytest.mark.parametrize('kind', [*NEVER, 'endless', 'one line'])
def test_lists(kind, tmp_path):
    put(tmp_path / 'list.txt', kind)
    said = SAID[kind]
    check(lambda: CosubImageNet21k.classes_of(listed(tmp_path)), said)
    custom = dict(type='CustomDataset', data_root=str(tmp_path), ann_file='list.txt')
    for dataset in (custom, custom | dict(with_label=False)):
        config = Config(dict(train_dataloader=dict(dataset=dataset)))
        check(lambda config=config: check_data(config), f'{said}|there is no list')
    config = segmentation(tmp_path) | dict(ann_file='list.txt')
    config = Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=config)))
    said = f'{said}|there is no list'
    check(lambda: check_data(config), said)


@pytest.mark.parametrize('name', ['/dev/zero', '../secret.png', 'a/../../secret.png'])
def test_names_of_lists_stay_below_the_root(name, tmp_path):
    custom = dict(type='CustomDataset', data_root=str(tmp_path), ann_file='list.txt')
    (tmp_path / '0.png').write_bytes(png())
    for text, more in ((f'0.png 0\n{name} 0\n', {}), (f'0.png\n{name}\n', dict(with_label=False))):
        (tmp_path / 'list.txt').write_text(text)
        config = Config(dict(train_dataloader=dict(dataset=custom | more)))
        with pytest.raises(ValueError, match='list.txt: .*leaves its folder'):
            check_data(config)
    config = segmentation(tmp_path) | dict(ann_file='list.txt')
    (tmp_path / 'list.txt').write_text(f'0\n{name}\n')
    config = Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=config)))
    with pytest.raises(ValueError, match='list.txt: .*leaves its folder'):
        check_data(config)


def test_a_list_of_ones_own_may_name_any_file_where_there_is_no_root(tmp_path):
    (tmp_path / '0.png').write_bytes(png())
    (tmp_path / 'list.txt').write_text(f'{tmp_path}/0.png 0\n')
    dataset = dict(type='CustomDataset', ann_file=str(tmp_path / 'list.txt'))
    check_data(Config(dict(train_dataloader=dict(dataset=dataset))))


JSON = {
    'endless': None,
    'many values': '[' + '[],' * 8_000_000 + '0]',
    'deep': '{"a":' * 200_000,
    'long number': '9' * 10**6,
}


@pytest.mark.parametrize('name', JSON)
def test_json(name, tmp_path):
    path = tmp_path / 'train2018.json'
    path.write_text(JSON[name]) if JSON[name] else put(path, name)
    said = 'bytes|more than 8,000,000 values|nested too deep|a number of no list'
    check(lambda: INaturalist2018(str(tmp_path), check=False), f'train2018.json.*({said})')


@pytest.mark.parametrize(
    ('part', 'change'),
    [
        ('images', dict(id=[1])),
        ('images', dict(file_name=None)),
        ('annotations', dict(category_id='1')),
        ('categories', dict(name=['a'])),
    ],
)
def test_entries_of_another_kind(part, change, tmp_path):
    content = miniatures.inat_json(tmp_path, 2018, 'train', 4)
    content[part][0] |= change
    (tmp_path / 'train2018.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f'train2018.json: .* is no entry of {part}'):
        INaturalist2018(str(tmp_path), check=False)


@pytest.mark.parametrize('kind', NEVER)
def test_imagenet_v2(kind, tmp_path):
    (tmp_path / 'v2/0').mkdir(parents=True)
    for i in range(1000):  # mmpretrain counts them
        (tmp_path / f'in1k/val/{i:04}').mkdir(parents=True)
        (tmp_path / f'in1k/val/{i:04}/a.JPEG').touch()
    path = put(tmp_path / 'v2/0/a.jpeg', kind)
    arguments = dict(data_root=str(tmp_path / 'in1k'), v2_root=str(tmp_path / 'v2'))
    check(lambda: ImageNetValV2(**arguments), f'{path}.*no regular file')


def test_a_manifest_deletes_nothing_elsewhere(tmp_path):
    (tmp_path / 'mine').touch()
    root = tmp_path / 'data'
    root.mkdir()
    files = {'../mine': '', 'a': ''}
    (root / 'manifest.json').write_text(json.dumps(dict(version='0', files=files)))
    write_dataset(root, '1', ['a'], lambda names: ((name, b'1') for name in names), progress=False)
    assert (tmp_path / 'mine').exists() and (root / 'a').read_bytes() == b'1'


@pytest.mark.parametrize('kind', NEVER)
def test_files_of_a_manifest(kind, tmp_path):
    def write():
        write_dataset(tmp_path, '1', ['a'], lambda names: ((n, b'1') for n in names), False)

    write()
    put(tmp_path / 'a', kind)
    assert outcome(write) == '' and (tmp_path / 'a').read_bytes() == b'1'
    put(tmp_path / 'manifest.json', kind)
    assert outcome(write) == ''


@pytest.mark.parametrize('check_all', [True, False])
@pytest.mark.parametrize('kind', [*NEVER, 'endless', 'bomb', 'no labels'])
def test_labels_of_matlab(kind, check_all, tmp_path):
    miniatures.write_flowers(tmp_path)
    path = tmp_path / 'imagelabels.mat'
    if kind == 'bomb':
        packed = zlib.compress(bytes(2**27), 1)
        head = b'MATLAB 5.0'.ljust(124) + b'\0\1IM' + struct.pack('<II', 15, len(packed))
        path.write_bytes(head + packed)
    elif kind == 'no labels':
        path.write_bytes(b'MATLAB 5.0'.ljust(124) + b'\0\1IM' + bytes(20))
    else:
        put(path, kind)
    said = {'bomb': 'unpacks to more than 67,108,864', 'no labels': 'the labels cannot be read'}
    said = said.get(kind) or SAID[kind]
    check(lambda: CheckedFlowers102(str(tmp_path), check=check_all), said)


class Mark:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('kind', [*NEVER, 'endless', 'code'])
@pytest.mark.parametrize('name', ['data_batch_2', 'batches.meta'])
def test_pickles_of_cifar(kind, name, tmp_path):
    miniatures.write_cifar10(tmp_path)
    path = tmp_path / 'cifar-10-batches-py' / name
    if kind == 'code':
        path.write_bytes(pickle.dumps(dict(data=Mark(tmp_path / 'mark'))))
    else:
        put(path, kind)
    said = f'{path}.*{SAID.get(kind, "holds more than arrays .posix.mkdir")}'
    check(lambda: CheckedCIFAR10(str(tmp_path), check=False, download=False), said)
    assert not (tmp_path / 'mark').exists()


IMAGE = 'ADEChallengeData2016/images/training/x.jpg'
MASK = 'ADEChallengeData2016/annotations/training/x.png'


def write_zip(path: Path, kind=zipfile.ZIP_DEFLATED, image=None, name=IMAGE) -> bytearray:
    with zipfile.ZipFile(path, 'w', kind) as archive:
        archive.writestr(name, png() if image is None else image)
        archive.writestr(MASK, png(mode='L'))
    return bytearray(path.read_bytes())


def change(content: bytearray, local: int, central: int, value: bytes) -> None:
    """Of the first member, in its own header and in the list of members."""
    for mark, place in ((b'PK\3\4', local), (b'PK\1\2', central)):
        start = content.find(mark) + place
        content[start : start + len(value)] = value


def lying(path: Path) -> None:
    content = write_zip(path, image=bytes(2**27))
    change(content, 22, 24, struct.pack('<I', 1000))
    path.write_bytes(content)


def encrypted(path: Path) -> None:
    content = write_zip(path)
    change(content, 6, 8, b'\1')
    path.write_bytes(content)


def directory(path: Path) -> None:
    content = write_zip(path)
    end = content.find(b'PK\5\6')
    content[end + 12 : end + 16] = struct.pack('<I', 2**31)
    with open(path, 'wb') as file:
        file.truncate(2**32 - 1000)
        file.seek(2**32 - 1000)
        file.write(content[end:])


def other_bytes(path: Path) -> None:
    content = write_zip(path, name=IMAGE.replace('x.jpg', '\xe9.jpg'))
    path.write_bytes(content.replace('\xe9'.encode(), b'\xff\xfe'))


ZIPS = {
    'pipe': (lambda path: put(path, 'pipe'), 'there is no archive'),
    'endless': (lambda path: put(path, 'endless'), 'not a whole zip archive'),
    'a lie about a size': (lying, 'damaged there'),
    'encrypted': (encrypted, 'is encrypted'),
    'lzma': (lambda path: write_zip(path, zipfile.ZIP_LZMA), 'an unknown way'),
    'a list of 2 GiB': (directory, 'its list of members has 2,147,483,648 bytes'),
    'not UTF-8': (other_bytes, 'a name in it is not UTF-8'),
    'a large picture': (
        lambda path: write_zip(path, image=bomb(12000, 12000)),
        '12000x12000 pixels are more',
    ),
    'elsewhere': (
        lambda path: write_zip(path, name=IMAGE.replace('x.jpg', '../../x.jpg')),
        'has 0 training|the image is missing',
    ),
    'a new line': (
        lambda path: write_zip(path, name=IMAGE.replace('x.jpg', 'x\n.jpg')),
        'has 0 training|the image is missing',
    ),
}


@pytest.mark.parametrize('name', ZIPS)
def test_zip_archives(name, tmp_path):
    tool = runpy.run_path(str(ROOT / 'tools/dataset_converters/ade20k.py'))
    path, out = tmp_path / 'ade.zip', tmp_path / 'out'
    make, said = ZIPS[name]
    make(path)
    arguments = [str(path), '--out', str(out), '--expect', '1', '0']

    def unpack():
        with contextlib.redirect_stderr(io.StringIO()) as told:
            code = run_tool(tool['main'], arguments)
        raise ValueError(f'{code}: {told.getvalue()}')

    check(unpack, f'[12]: error: .*({said})', memory=100 * 2**20)
    assert not list(out.rglob('*.jpg'))
