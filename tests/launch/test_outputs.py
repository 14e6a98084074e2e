"""Where results cannot be written is found out before the work."""

import pytest

from cosub_mm.launch.outputs import check_writable


@pytest.mark.parametrize(
    ('out', 'words'),
    [
        ('file/metrics.json', 'is a file, not a folder'),
        ('file', 'names a folder, but is a file'),
        ('folder.json', 'names a file, but is a folder'),
        ('/proc/metrics.json', 'cannot be written: /proc: '),
    ],
)
def test_places_that_cannot_be_written(out, words, tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.json').mkdir()
    with pytest.raises(ValueError, match=words):
        check_writable(str(tmp_path / out))


def test_folders_that_do_not_exist_yet_are_made_later(tmp_path):
    check_writable(str(tmp_path / 'a/b/metrics.json'))
    assert not list(tmp_path.iterdir())
