"""Damaged files: noticed, put aside, and the last good one taken."""

import zipfile

import pytest
import torch

from cosub_mm.engine.checkpoints import (
    CheckpointError,
    DamagedCheckpoint,
    check_resume,
    last_good_checkpoint,
    load_checkpoint,
    verify_checksums,
)


def save(path, value=1.0, **options):
    content = dict(
        state_dict={'a': torch.full((400, 400), value), 'b': torch.arange(5)},
        optimizer={},
        meta=dict(epoch=int(value), iter=1),
    )
    torch.save(content, path, **options)
    return path


def flip(path, bit=3):
    """One bit in the middle of the data of the first tensor."""
    with zipfile.ZipFile(path) as archive:
        record = next(r for r in archive.infolist() if r.file_size == 4 * 400 * 400)
    content = bytearray(path.read_bytes())
    content[record.header_offset + 1000 + record.file_size // 2] ^= 1 << bit
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


def empty(path):
    path.write_bytes(b'')


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def zero_a_page(path):
    content = bytearray(path.read_bytes())
    content[100_000:104_096] = bytes(4096)
    path.write_bytes(content)


DAMAGES = [flip, cut, empty, zero, zero_a_page]


def test_one_flipped_bit_is_noticed(tmp_path):
    path = save(tmp_path / 'epoch_1.pth')
    assert verify_checksums(path) > 2
    flip(path)
    # torch itself loads it without a word.
    assert torch.load(path, weights_only=True)['state_dict']['a'].unique().numel() == 2
    for look in (
        verify_checksums,
        lambda p: load_checkpoint(p, verify=True),
        lambda p: check_resume(p, verify=True),
    ):
        with pytest.raises(DamagedCheckpoint, match=r'epoch_1\.pth.* is damaged: 1 of .*/data/0'):
            look(str(path))


def test_the_format_before_zip_has_no_checksums(tmp_path):
    path = save(tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert verify_checksums(path) == 0
    assert load_checkpoint(str(path), verify=True)['meta']['epoch'] == 1


@pytest.mark.parametrize('damage', DAMAGES)
def test_the_last_good_checkpoint_is_taken(tmp_path, capsys, damage):
    for epoch in (1, 2, 3):
        save(tmp_path / f'epoch_{epoch}.pth', float(epoch))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    damage(tmp_path / 'epoch_3.pth')
    damaged = (tmp_path / 'epoch_3.pth').read_bytes()
    assert last_good_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_2.pth')
    said = capsys.readouterr().out
    assert 'epoch_3.pth' in said and 'epoch_3.pth.broken' in said
    # Kept as it is, and no longer in the way.
    assert (tmp_path / 'epoch_3.pth.broken').read_bytes() == damaged
    assert last_good_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_2.pth')
    assert capsys.readouterr().out == ''
    # A second one under the name does not replace the first.
    save(tmp_path / 'epoch_3.pth')
    damage(tmp_path / 'epoch_3.pth')
    last_good_checkpoint(str(tmp_path))
    assert (tmp_path / 'epoch_3.pth.broken').read_bytes() == damaged
    assert (tmp_path / 'epoch_3.pth.broken2').is_file()


def test_no_good_checkpoint_is_no_fresh_start(tmp_path):
    assert last_good_checkpoint(str(tmp_path)) is None
    for epoch in (1, 2):
        empty(save(tmp_path / f'epoch_{epoch}.pth'))
    with pytest.raises(CheckpointError, match=r'none .* is whole.*epoch_2.pth.broken, epoch_1'):
        last_good_checkpoint(str(tmp_path))


def test_a_disk_that_does_not_answer_is_no_damage(tmp_path, monkeypatch):
    path = save(tmp_path / 'epoch_1.pth')

    def fail(*_, **__):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr('torch.load', fail)
    with pytest.raises(OSError, match='Input/output'):
        last_good_checkpoint(str(tmp_path))
    assert path.is_file()
