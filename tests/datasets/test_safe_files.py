"""Lists and archives of strangers: what leaves the data root or never ends is an error at once."""

import io
import json
import os
import re
import runpy
import tarfile
import zipfile
from pathlib import Path

import pytest

from cosub_mm.datasets.imagenet21k.dataset import CosubImageNet21k
from cosub_mm.datasets.imagenet21k.image_index import INDEX, find_classes, read_index, scan
from cosub_mm.datasets.imagenet21k.preparation import prepare_class
from cosub_mm.datasets.inaturalist import INaturalist2018
from cosub_mm.datasets.listing import check_files_present
from cosub_mm.safe_files import UnsafeFileError, read_member, read_text
from tests.datasets import transfer_miniatures as miniatures
from tests.datasets.imagenet21k.test_dataset import png_of

BAD_NAMES = {
    '/dev/zero': 'leaves its folder',
    '../secret.png': 'leaves its folder',
    'a/../../secret.png': 'leaves its folder',
    'file:///dev/zero': 'leaves its folder',
    'a.png\nforged.png\t-1\t0': 'control characters',
    'a\u2028b.png': 'control characters',
    'a\udcff.png': 'not UTF-8',
}


@pytest.mark.parametrize('name', BAD_NAMES)
def test_names_of_a_json_stay_below_the_root(name, tmp_path):
    content = miniatures.inat_json(tmp_path, 2018, 'train', 4)
    content['images'][3]['file_name'] = name
    (tmp_path / 'train2018.json').write_text(json.dumps(content))
    with pytest.raises(UnsafeFileError, match=f'train2018.json: .*{BAD_NAMES[name]}'):
        INaturalist2018(str(tmp_path), check=False)


def test_a_json_that_is_no_list_is_named(tmp_path):
    path = tmp_path / 'train2018.json'
    path.write_text('[' * 200_000)
    with pytest.raises(UnsafeFileError, match='nested too deep'):
        INaturalist2018(str(tmp_path))
    path.write_text('[1, 2]')
    with pytest.raises(ValueError, match='lacks annotations, categories, images'):
        INaturalist2018(str(tmp_path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnsafeFileError, match='no regular file'):
        INaturalist2018(str(tmp_path))
    path.unlink()
    path.symlink_to('/dev/zero')
    with pytest.raises(UnsafeFileError, match='no regular file'):
        INaturalist2018(str(tmp_path))


def test_a_text_larger_than_its_kind_is_not_read(tmp_path):
    path = tmp_path / 'list.txt'
    with open(path, 'w') as file:
        file.truncate(2**40)  # sparse: it takes no place on the disk
    with pytest.raises(UnsafeFileError, match='1,099,511,627,776 bytes'):
        read_text(path)
    path.write_bytes(b'caf\xe9.png')
    with pytest.raises(UnsafeFileError, match='not UTF-8'):
        read_text(path)


def test_a_pipe_among_the_images_counts_as_missing(tmp_path):
    (tmp_path / 'a.jpg').touch()
    os.mkfifo(tmp_path / 'b.jpg')
    with pytest.raises(FileNotFoundError, match='1 of 2 listed images are missing.*b.jpg'):
        check_files_present('set', [str(tmp_path / name) for name in ('a.jpg', 'b.jpg')])


@pytest.mark.parametrize('name', ['/dev/zero', '../n01/a.png', 'n01/../../a.png'])
def test_names_of_a_list_stay_below_the_root(name, tmp_path):
    (tmp_path / 'list.txt').write_text(f'n01/a.png 0\n{name} 1\n')
    with pytest.raises(UnsafeFileError, match='leaves its folder'):
        CosubImageNet21k(data_root=str(tmp_path), ann_file='list.txt', pipeline=[])


def class_folder(root: Path) -> Path:
    """Two images, and a pipe, a device and names that an index cannot hold."""
    folder = root / 'n01'
    folder.mkdir()
    for name in (b'a.png', b'b.png', b'new\nline.png', b'\xff.png'):
        (folder / os.fsdecode(name)).write_bytes(png_of(5))
    os.mkfifo(folder / 'pipe.png')
    (folder / 'zero.png').symlink_to('/dev/zero')
    return root


def class_shard(root: Path) -> Path:
    with tarfile.open(root / 'n01.tar', 'w') as shard:
        for name in ('a.png', 'b.png', 'new\nline.png', '/abs.png', '../up.png'):
            info = tarfile.TarInfo(name)
            info.size = len(png_of(5))
            shard.addfile(info, io.BytesIO(png_of(5)))
        link = tarfile.TarInfo('link.png')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        shard.addfile(link)
    return root


@pytest.mark.parametrize('make', [class_folder, class_shard])
def test_the_preparation_leaves_unsafe_files_out(make, tmp_path):
    (source,) = find_classes(make(tmp_path))
    index = tmp_path / INDEX
    index.mkdir()
    prepared = prepare_class(source, index)
    assert (prepared.kept, len(prepared.left_out), prepared.error) == (2, 4, '')
    assert [sample.name for sample in read_index(source, index)] == ['a.png', 'b.png']
    # Without an index it is an error that names the file.
    with pytest.raises(UnsafeFileError, match=r"n01.*png' is .*\. Remove it"):
        scan(source)


@pytest.mark.parametrize(
    'line',
    [
        '../up.png\t-1\t0',
        '/dev/zero\t-1\t0',
        'a.png',
        'a.png\t0\t99',
        'a.png\tx\t0',
        'a.png\t-1\t0\t',
    ],
)
def test_an_index_that_came_with_the_data_is_checked(line, tmp_path):
    (tmp_path / 'n01').mkdir()
    (tmp_path / 'n01' / 'a.png').touch()
    (source,) = find_classes(tmp_path)
    (tmp_path / INDEX).mkdir()
    (tmp_path / INDEX / 'n01.tsv').write_text(f'{source.stamp}\n{line}\n')
    with pytest.raises(UnsafeFileError, match='no line of an index that was made here'):
        read_index(source, tmp_path / INDEX)


@pytest.mark.parametrize('place', ['0\t1000000000', '-5\t10', '1000000000\t1'])
def test_an_index_points_into_its_shard(place, tmp_path):
    (source,) = find_classes(class_shard(tmp_path))
    (tmp_path / INDEX).mkdir()
    (tmp_path / INDEX / 'n01.tsv').write_text(f'{source.stamp}\na.png\t{place}\n')
    with pytest.raises(UnsafeFileError, match='no line of an index that was made here'):
        read_index(source, tmp_path / INDEX)


def archive_with(path: Path, **changes) -> zipfile.ZipFile:
    """A zip whose only member says of itself what it is told to."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.png', bytes(2**20))
    archive = zipfile.ZipFile(path)
    for name, value in changes.items():
        setattr(archive.infolist()[0], name, value)
    return archive


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(file_size=16 * 2**30), 'unpacks to 17,179,869,184 bytes'),
        (dict(flag_bits=1), 'encrypted'),
        (dict(compress_type=97), 'unknown way'),
    ],
)
def test_members_of_a_zip(changes, message, tmp_path):
    archive = archive_with(tmp_path / 'a.zip', **changes)
    with archive, pytest.raises(UnsafeFileError, match=message):
        read_member(archive, archive.infolist()[0])


def test_ade20k_names_a_list_that_is_a_bomb(tmp_path, capsys):
    root = Path(__file__).parents[2]
    tool = runpy.run_path(str(root / 'tools/dataset_converters/ade20k.py'))
    path, out = tmp_path / 'ade.zip', tmp_path / 'out'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('ADEChallengeData2016/objectInfo150.txt', bytes(2**22))
    assert tool['main']([str(path), '--out', str(out), '--expect', '0', '0']) == 1
    assert re.search('objectInfo150.txt.* unpacks to 4,194,304 bytes', capsys.readouterr().err)
    assert not list(out.rglob('objectInfo150.txt'))
