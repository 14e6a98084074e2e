"""One rule of decoding: OpenCV's values, and an error where a format has no sure meaning."""

from io import BytesIO

import cv2
import mmcv
import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from cosub_mm.datasets.decoding import LoadPicture, decode


def pixels(shape=(24, 32, 3), top=256, dtype=np.uint8) -> np.ndarray:
    rows = np.linspace(0, 1, shape[0])[:, None]
    columns = np.linspace(0, 1, shape[1])[None]
    smooth = (rows + columns) / 2 * (top - 1)
    return np.broadcast_to(smooth[..., None] if len(shape) == 3 else smooth, shape).astype(dtype)


def encoded(array, mode=None, kind='PNG', **options) -> bytes:
    buffer = BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


FILES = {
    'jpeg': encoded(pixels(), kind='JPEG', quality=90),
    'grey jpeg': encoded(pixels(), 'L', 'JPEG'),
    'png': encoded(pixels()),
    'grey png': encoded(pixels(), 'L'),
    'palette': encoded(pixels(), 'P'),
    'one bit': encoded(pixels(), '1'),
    'rgba': encoded(pixels(), 'RGBA'),
    'grey with alpha': encoded(pixels(), 'LA'),
    'webp': encoded(pixels(), kind='WEBP', lossless=True),
    '16-bit grey': encoded(pixels((24, 32), 65536, np.uint16)),
    '16-bit dark grey': encoded(pixels((24, 32), 3000, np.uint16)),
    '16-bit grey tiff': encoded(pixels((24, 32), 65536, np.uint16), kind='TIFF'),
    '16-bit rgb': cv2.imencode('.png', pixels(top=65536, dtype=np.uint16))[1].tobytes(),
    'turned jpeg': encoded(pixels(), kind='JPEG', exif=exif(6)),
    'mirrored jpeg': encoded(pixels(), kind='JPEG', exif=exif(2)),
}


@pytest.mark.parametrize('name', FILES)
def test_values_are_opencvs(name):
    """What Inferencers, which decode by mmcv's default, show to a network."""
    expected = mmcv.imfrombytes(FILES[name], backend='cv2')
    np.testing.assert_array_equal(decode(FILES[name]), expected)
    assert expected.max() > 5  # and is a picture


def test_cmyk_is_opencvs_within_rounding():
    content = encoded(pixels(), 'CMYK', 'JPEG')
    expected = mmcv.imfrombytes(content, backend='cv2').astype(int)
    assert np.abs(decode(content) - expected).max() <= 1


def test_mmcvs_use_of_pillow_makes_16_bits_white():
    """The fault that this file is for."""
    assert mmcv.imfrombytes(FILES['16-bit grey'], backend='pillow')[1:].min() == 255


def test_exif_is_ignored_where_that_is_asked():
    assert decode(FILES['turned jpeg']).shape == (32, 24, 3)
    assert decode(FILES['turned jpeg'], upright=False).shape == (24, 32, 3)


@pytest.mark.parametrize(
    ('array', 'words'),
    [
        (pixels((24, 32), 2, np.float32), 'float values'),
        (pixels((24, 32), 1_000_000, np.int32), '32-bit values from 0 to'),
    ],
)
def test_formats_without_a_sure_meaning_are_refused(array, words):
    with pytest.raises(ValueError, match=words):
        decode(encoded(array, kind='TIFF'))


def test_half_a_file_is_refused():
    for name in ('jpeg', 'png', '16-bit grey'):
        with pytest.raises(OSError):
            decode(FILES[name][: len(FILES[name]) // 2])


def test_the_loader_reads_as_mmcvs_does(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(FILES['jpeg'])
    results = [
        TRANSFORMS.build(dict(type=kind))(dict(img_path=str(tmp_path / 'a.jpg')))
        for kind in (LoadPicture, 'LoadImageFromFile')
    ]
    np.testing.assert_array_equal(results[0].pop('img'), results[1].pop('img'))
    assert results[0] == results[1]
    floats = TRANSFORMS.build(dict(type='LoadPicture', to_float32=True))
    assert floats(dict(img_path=str(tmp_path / 'a.jpg')))['img'].dtype == np.float32


@pytest.mark.parametrize(
    ('draft', 'size'), [(None, (320, 400)), (321, (320, 400)), (101, (160, 200)), (1, (40, 50))]
)
def test_a_draft_is_libjpegs_own_scaled_decoding(draft, size, tmp_path):
    """Never larger than the picture, never smaller than asked for where the picture is not."""
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    whole = whole.resize((400, 320), Image.Resampling.BICUBIC)
    whole.save(tmp_path / 'a.jpg', quality=95)
    load = TRANSFORMS.build(dict(type='LoadPicture', draft=draft))
    results = load(dict(img_path=str(tmp_path / 'a.jpg')))
    assert results['img'].shape[:2] == results['img_shape'] == size
    box = np.asarray(whole.resize(size[::-1], Image.Resampling.BOX)).astype(int)
    assert abs(results['img'][..., ::-1] - box).mean() < 4
    whole.save(tmp_path / 'a.png')
    assert load(dict(img_path=str(tmp_path / 'a.png')))['img_shape'] == (320, 400)


def test_a_draft_turns_as_the_picture_does(tmp_path):
    array = pixels((64, 128, 3))
    Image.fromarray(array).save(tmp_path / 'a.jpg', exif=exif(6))
    load = TRANSFORMS.build(dict(type='LoadPicture', draft=32))
    assert load(dict(img_path=str(tmp_path / 'a.jpg')))['img_shape'] == (64, 32)


@pytest.mark.parametrize('draft', [0, -3, 2.5, '224'])
def test_a_draft_is_a_number_of_pixels(draft):
    with pytest.raises(ValueError, match='draft=.* must be a number of pixels'):
        LoadPicture(draft=draft)


def test_no_draft_of_a_picture_with_a_mask(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(FILES['jpeg'])
    with pytest.raises(ValueError, match='smaller than their masks'):
        LoadPicture(draft=8)(dict(img_path=str(tmp_path / 'a.jpg'), seg_map_path='a.png'))


@pytest.mark.parametrize('decoder', ['torchvision', 'simplejpeg'])
def test_other_decoders_read_sound_jpegs_and_leave_the_rest_to_pillow(decoder, tmp_path):
    if decoder == 'simplejpeg':
        pytest.importorskip(decoder)
    load = LoadPicture(decoder=decoder)
    for name, content in FILES.items():
        (tmp_path / 'a').write_bytes(content)
        seen = load(dict(img_path=str(tmp_path / 'a')))['img'].astype(int)
        assert abs(seen - decode(content)).max() <= 1, name
    (tmp_path / 'a').write_bytes(FILES['jpeg'][: len(FILES['jpeg']) // 2])
    with pytest.raises(OSError):
        load(dict(img_path=str(tmp_path / 'a')))


def test_decoders_that_are_none():
    with pytest.raises(ValueError, match="'opencv' is unknown; choose from pillow"):
        LoadPicture(decoder='opencv')
    with pytest.raises(ValueError, match='draft is an option'):
        LoadPicture(decoder='torchvision', draft=224)
