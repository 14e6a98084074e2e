"""Reading alone: the same bytes each way, and what was copied is gone."""

import pytest

from cosub_mm.analysis.reading_rates import Rate, pack, reading_rates, table
from cosub_mm.datasets.decoding import read_file


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f'{i}.jpg' for i in range(70)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * (700 + i))
    return [str(path) for path in paths]


def test_a_shard_holds_the_files_in_their_order(files, tmp_path):
    addresses = pack(files, tmp_path / 'a.tar')
    assert [read_file(a) for a in addresses] == [read_file(path) for path in files]
    with pytest.raises(FileExistsError):
        pack(files, tmp_path / 'a.tar')


def test_each_way_reads_every_file_once_a_round(files, tmp_path, monkeypatch):
    seen = []

    def note(address):
        seen.append(read_file(address))
        return seen[-1]

    monkeypatch.setattr('cosub_mm.analysis.reading_rates.read_file', note)
    rates = reading_rates(files, tmp_path, rounds=1)
    assert [*rates] == ['single files', 'tar shard', 'tar shard, read ahead by blocks']
    assert all(rate.wall > 0 and rate.core > 0 for rate in rates.values())
    expected = sorted(read_file(path) for path in files)
    rounds = [seen[i : i + 70] for i in range(0, len(seen), 70)]
    assert len(rounds) == 6 and all(sorted(one) == expected for one in rounds)
    assert not [*tmp_path.glob('*.tar')]


def test_ratios_are_over_single_files():
    lines = table({'single files': Rate(10, 4), 'tar shard': Rate(25, 2)}).splitlines()
    assert lines[1].split()[-4:] == ['10', '1.00', '4', '1.00']
    assert lines[2].split()[-4:] == ['25', '2.50', '2', '0.50']
