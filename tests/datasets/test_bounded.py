"""What many workers may use together, and that they do not outlive who started them."""

import os
import signal
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from cosub_mm.datasets.imagenet21k import preparation, tar_backend
from cosub_mm.datasets.imagenet21k.tar_backend import TarShardBackend, shard_path


class OpenShards(Dataset):
    """Reads a shard and says how many of them its process holds open."""

    def __init__(self, folder: Path) -> None:
        self.shards = sorted(folder.glob('*.tar'))

    def __len__(self):
        return len(self.shards)

    def __getitem__(self, index):
        TarShardBackend().get(shard_path(self.shards[index], 512, 1))
        files = Path('/proc/self/fd')
        return sum(os.path.realpath(file) in map(str, self.shards) for file in files.iterdir())


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='counts what /proc lists')
@pytest.mark.parametrize('workers', [1, 4])
def test_open_shards_are_bounded_whatever_the_number_of_workers(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(tar_backend, 'OPEN_SHARDS', 8)
    for i in range(48):
        with tarfile.open(tmp_path / f'{i}.tar', 'w') as shard:
            info = tarfile.TarInfo('a')
            info.size = 1
            shard.addfile(info, BytesIO(b'x'))
    loader = DataLoader(OpenShards(tmp_path), batch_size=None, num_workers=workers)
    assert max(loader) == 8 // workers


@pytest.mark.skipif(not Path('/proc').is_dir(), reason='the kernel of Linux ends them')
def test_workers_of_a_killed_preparation_end(tmp_path, monkeypatch):
    (tmp_path / 'data/n01').mkdir(parents=True)
    (tmp_path / 'data/n01/a.png').touch()
    (tmp_path / 'data/n02').mkdir()
    noted = tmp_path / 'pid'

    def never(source, index):
        noted.write_text(str(os.getpid()))
        time.sleep(60)

    monkeypatch.setattr(preparation, 'prepare_class', never)
    monkeypatch.setattr(preparation, 'ProcessPoolExecutor', _Forking)
    command = os.fork()
    if not command:
        list(preparation.prepare(tmp_path / 'data', 1))
        os._exit(0)
    _wait(noted.exists)
    worker = int(noted.read_text() or _wait(noted.read_text))
    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    _wait(lambda: not _lives(worker))


def _lives(process: int) -> bool:
    try:
        return ') Z' not in Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return False


def _wait(until):
    end = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)
    return until()


class _Forking(preparation.ProcessPoolExecutor):
    """Pickles nothing: a local function goes over by the fork."""

    def submit(self, call, *args):
        return super().submit(_call, *args)


def _call(source, index):
    return preparation.prepare_class(source, index)
