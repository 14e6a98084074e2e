import json

import pytest

from cosub_mm.demo.manifest import MANIFEST, damaged_files, write_dataset

NAMES = [f'{folder}/{i}.bin' for folder in 'ab' for i in range(3)]


def _make(names):
    for name in names:
        yield name, f'content of {name}'.encode()


def _write(root, version='1', make=_make, names=NAMES):
    return write_dataset(root, version, names, make, progress=False)


def _mtimes(root):
    return {name: (root / name).stat().st_mtime_ns for name in NAMES}


def test_first_write(tmp_path):
    report = _write(tmp_path / 'data')
    assert len(report.written) == 6 and 'wrote 6 files' in str(report)
    assert (tmp_path / 'data' / 'a' / '2.bin').read_bytes() == b'content of a/2.bin'
    sums = json.loads((tmp_path / 'data' / MANIFEST).read_text())['files']
    assert damaged_files(tmp_path / 'data', sums) == []
    assert {p.name for p in (tmp_path / 'data').iterdir()} == {'a', 'b', MANIFEST}


def test_second_write_touches_nothing(tmp_path):
    _write(tmp_path)
    before = _mtimes(tmp_path)
    report = _write(tmp_path, make=lambda names: pytest.fail('made again'))
    assert report.written == [] and 'match their checksums' in str(report)
    assert _mtimes(tmp_path) == before


def test_damaged_and_missing_files_are_written_anew_and_named(tmp_path):
    _write(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(b'content of b/1.bin')
    (tmp_path / NAMES[4]).unlink()
    before = _mtimes_of_others(tmp_path)
    report = _write(tmp_path)
    assert report.written == [NAMES[1], NAMES[4]]
    assert '2 of 6 files were damaged or missing' in str(report) and NAMES[1] in str(report)
    assert (tmp_path / NAMES[1]).read_bytes() == b'content of a/1.bin'
    assert _mtimes_of_others(tmp_path) == before


def _mtimes_of_others(root):
    others = [name for i, name in enumerate(NAMES) if i not in (1, 4)]
    return {name: (root / name).stat().st_mtime_ns for name in others}


def test_interrupted_write_goes_on(tmp_path):
    def stop_after_two(names):
        yield from list(_make(names))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, make=stop_after_two)
    assert not (tmp_path / MANIFEST).exists()
    assert len(_write(tmp_path).written) == 6
    assert _write(tmp_path).written == []


def test_damaged_manifest_is_made_again(tmp_path):
    _write(tmp_path)
    (tmp_path / MANIFEST).write_text('{"version": "1", "fil')
    assert len(_write(tmp_path).written) == 6


def test_other_version_replaces_the_files_and_removes_old_ones(tmp_path):
    _write(tmp_path)
    report = _write(tmp_path, version='2', names=NAMES[:5])
    assert len(report.written) == 5
    assert not (tmp_path / NAMES[5]).exists()


def test_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match=r'not empty and has no manifest\.json'):
        _write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


def test_foreign_files_are_named_and_leftovers_removed(tmp_path):
    _write(tmp_path)
    (tmp_path / 'a' / 'extra.bin').write_bytes(b'x')
    (tmp_path / 'a' / '.0.bin.part').write_bytes(b'x')
    report = _write(tmp_path)
    assert report.foreign == ['a/extra.bin'] and 'a/extra.bin' in str(report)
    assert not (tmp_path / 'a' / '.0.bin.part').exists()


def test_files_that_are_not_made_are_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r'1 files were not made: b/2\.bin'):
        _write(tmp_path, make=lambda names: list(_make(names))[:5])
