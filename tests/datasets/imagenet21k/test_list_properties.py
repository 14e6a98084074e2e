"""Index lines and addresses in tar shards: what is written is read, anything else is an error."""

import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cosub_mm.datasets.imagenet21k.image_index import ClassSource, Sample, read_index, scan
from cosub_mm.datasets.imagenet21k.tar_backend import TarShardBackend, shard_path
from cosub_mm.safe_files import UnsafeFileError, name_problem

# What ends a line or a word for one reader and not for another is drawn often.
NAMES = st.text(min_size=1, max_size=20) | st.text(
    'a\x0b\x1c\x85\u2028\t\n', min_size=1, max_size=3
)
SIZE = 1000


@pytest.fixture(scope='module')
def shard(tmp_path_factory):
    """A class whose shard has SIZE bytes, and the folder of its index."""
    path = tmp_path_factory.mktemp('shards') / 'n01.tar'
    path.write_bytes(bytes(i % 251 for i in range(SIZE)))
    index = path.parent / 'cosub_index'
    index.mkdir()
    return ClassSource('n01', path), index


def read(shard: tuple[ClassSource, Path], *lines: str) -> list[Sample]:
    source, index = shard
    text = '\n'.join([source.stamp, *lines, ''])
    (index / 'n01.tsv').write_bytes(text.encode('utf-8', 'surrogatepass'))
    return read_index(source, index)


@given(st.lists(st.tuples(NAMES, st.integers(0, SIZE), st.integers(0, SIZE)), max_size=5))
def test_an_index_is_read_as_it_was_written(shard, entries):
    entries = [Sample(*e) for e in entries if not name_problem(e[0]) and e[1] + e[2] <= SIZE]
    assert read(shard, *('\t'.join(map(str, entry)) for entry in entries)) == entries


NUMBERS = st.one_of(
    st.integers().map(str), st.text('0123456789+-eE. ²٣', max_size=4), st.just('9' * 5000)
)


PLACES = st.tuples(st.just('a'), *[st.integers(-2, 2 * SIZE).map(str)] * 2).map('\t'.join)


@given(st.one_of(NAMES, PLACES, st.lists(NAMES | NUMBERS, min_size=2, max_size=4).map('\t'.join)))
@example(f'a\t0\t{"9" * 5000}')
@example(f'a\t{SIZE}\t1')
@example('a\t-0\t--5')
@example('a/../../b\t0\t1')
def test_a_line_of_an_index_is_inside_its_shard_or_an_error(shard, line):
    try:
        samples = read(shard, line)
    except UnsafeFileError as error:
        assert len(str(error)) < 1000
        return
    for sample in samples:
        assert not name_problem(sample.name)
        assert 0 <= sample.offset <= sample.offset + sample.size <= SIZE


@given(st.lists(st.tuples(NAMES, st.binary(min_size=1, max_size=50)), min_size=1, max_size=4))
def test_members_of_a_shard_are_read_by_their_address(members):
    members = {f'{name}.png': data for name, data in members if not name_problem(name)}
    names = '?+% name'
    with tempfile.TemporaryDirectory(suffix=names) as folder:
        path = Path(folder, 'n02.tar')
        with tarfile.open(path, 'w') as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, BytesIO(data))
        found = scan(ClassSource('n02', path))
        read = {s.name: TarShardBackend().get(shard_path(path, s.offset, s.size)) for s in found}
    assert read == members


@pytest.fixture(scope='module')
def members(tmp_path_factory):
    """A real shard, and its members by their place."""
    path = tmp_path_factory.mktemp('real') / 'n01.tar'
    with tarfile.open(path, 'w') as tar:
        for i, size in enumerate((700, 1, 512)):
            info = tarfile.TarInfo(f'{i}.png')
            info.size = size
            tar.addfile(info, BytesIO(bytes([i + 1]) * size))
    places = {(s.offset, s.size): s.name for s in scan(ClassSource('n01', path))}
    return path, places


PLACES_OF_MEMBERS = st.sampled_from([(512, 700), (2048, 1), (3072, 512)])


@given(st.one_of(PLACES_OF_MEMBERS, st.tuples(st.integers(0, 6000), st.integers(0, 6000))))
@example((10**6, 1))
@example((0, 0))
@example((3584, 0))
def test_bytes_that_are_no_member_of_a_shard_are_not_made_up(members, place):
    path, places = members
    address = shard_path(path, *place)
    if place in places:
        data = path.read_bytes()[place[0] : sum(place)]
        assert TarShardBackend().get(address) == data and len(set(data)) == 1
    else:
        with pytest.raises(ValueError, match='is cut short|has no image of'):
            TarShardBackend().get(address)


@given(st.one_of(st.text(max_size=30), st.tuples(NUMBERS, NUMBERS).map('+'.join)))
@example(f'0+{10**15}')
@example(f'{10**30}+1')
def test_any_other_address_is_an_error_in_words(shard, place):
    path = shard[0].path
    try:
        data = TarShardBackend().get(f'tarshard://{path}?{place}')
    except (ValueError, FileNotFoundError) as error:
        assert str(error)
    else:
        assert data in path.read_bytes()
