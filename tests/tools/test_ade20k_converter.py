import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import fresh

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/ade20k.py'
ROOT = 'ADEChallengeData2016'


def encode(array, suffix):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, dict(jpg='JPEG', png='PNG')[suffix])
    return stream.getvalue()


def members():
    rng = np.random.default_rng(0)
    files = {f'{ROOT}/objectInfo150.txt': b'Idx Ratio', f'{ROOT}/sceneCategories.txt': b'a b'}
    for split, tag, count in (('training', 'train', 3), ('validation', 'val', 2)):
        for i in range(count):
            height, width = 20 + i, 31
            name = f'ADE_{tag}_{i + 1:08d}'
            image = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
            mask = rng.integers(151, size=(height, width), dtype=np.uint8)
            files[f'{ROOT}/images/{split}/{name}.jpg'] = encode(image, 'jpg')
            files[f'{ROOT}/annotations/{split}/{name}.png'] = encode(mask, 'png')
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def run(archive, out, *args):
    return fresh.run([TOOL, archive, '--out', out, '--expect', '3', '2', *args])


def test_unpacks_all_and_goes_on_after_an_interruption(tmp_path):
    files = members()
    archive, out = write_zip(tmp_path / 'ade.zip', files), tmp_path / 'out'
    result = run(archive, out)
    assert result.returncode == 0, result.stderr
    assert '5 images and masks' in result.stdout
    for name, content in files.items():
        assert (out / name).read_bytes() == content
    # one file is lost, one is cut, one is kept
    names = sorted(path for path in out.rglob('*.jpg'))
    names[0].unlink()
    names[1].write_bytes(names[1].read_bytes()[:50])
    kept = names[2].stat().st_mtime_ns
    assert run(archive, out).returncode == 0
    assert all((out / name).read_bytes() == content for name, content in files.items())
    assert names[2].stat().st_mtime_ns == kept
    assert not list(out.rglob('*.part'))


def test_every_broken_pair_is_named_and_not_written(tmp_path):
    files = members()
    mask = f'{ROOT}/annotations/training/ADE_train_0000000'
    files[f'{mask}1.png'] = encode(np.full((20, 31), 151, np.uint8), 'png')
    files[f'{mask}2.png'] = encode(np.zeros((20, 31), np.uint8), 'png')
    files[f'{mask}3.png'] = encode(np.zeros((22, 31, 3), np.uint8), 'png')
    image = f'{ROOT}/images/validation/ADE_val_00000001.jpg'
    files[image] = files[image][:200]
    del files[f'{ROOT}/annotations/validation/ADE_val_00000002.png']
    result = run(write_zip(tmp_path / 'ade.zip', files), tmp_path / 'out')
    assert result.returncode == 1
    for text in (
        '5 of 5 pairs are broken',
        'training/ADE_train_00000001: the mask holds label 151, beyond 150',
        'training/ADE_train_00000002: the image has 31x21 pixels, the mask 31x20',
        'training/ADE_train_00000003: the mask has mode RGB',
        'validation/ADE_val_00000001: the image cannot be read',
        'validation/ADE_val_00000002: the mask is missing',
    ):
        assert text in result.stderr
    assert not list((tmp_path / 'out').rglob('*.jpg'))


def test_counts_are_those_of_the_official_archive(tmp_path):
    archive = write_zip(tmp_path / 'ade.zip', members())
    result = run(archive, tmp_path / 'out', '--expect', '20210', '2000')
    assert result.returncode == 2
    assert '3 training and 2 validation images' in result.stderr
    assert '20,210 training and 2,000 validation' in result.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('content', [None, b'PK half a zip'])
def test_missing_or_truncated_archive(tmp_path, content):
    archive = tmp_path / 'ade.zip'
    if content:
        archive.write_bytes(content)
    result = run(archive, tmp_path / 'out')
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    assert ('there is no archive' if content is None else 'not a whole zip') in result.stderr
