"""Verify every image of a big data set and write the index that the data set class reads."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from cosub_mm.processes import end_with_parent
from cosub_mm.safe_files import MAX_INDEX, open_regular, read_bytes, read_text
from cosub_mm.whole_files import write_atomically

from ..decoding import TooManyPixels, check_pixels
from .image_index import INDEX, RELEASES, ClassSource, Sample, find_classes, read_index, scan_all
from .image_table import ImageTable, packed_path

__all__ = ['Prepared', 'pack', 'prepare', 'prepare_class', 'report']

LEFT_OUT = 'left_out.tsv'


class Prepared(NamedTuple):
    """What became of a class: images kept, and those left out with the reason."""

    name: str
    kept: int
    left_out: list[tuple[str, str]]
    error: str = ''


def prepare_class(source: ClassSource, index: Path) -> Prepared:
    """Decode all images of a class and write its part of the index, whole or not at all."""
    try:
        samples, unsafe = scan_all(source)
    except (OSError, ValueError) as error:
        return Prepared(source.name, 0, [], str(error))
    # Such a name would forge a line, or could not be written.
    left_out = [(ascii(sample.name), problem) for sample, problem in unsafe]
    kept = []
    with open_regular(source.path) if source.is_shard else _Nothing() as shard:
        for sample in samples:
            problem = _problem(source, sample, shard)
            if problem:
                left_out.append((sample.name, problem))
            else:
                kept.append(sample)
    lines = [source.stamp, *('\t'.join(map(str, sample)) for sample in kept)]
    _write(index / f'{source.name}.{LEFT_OUT}', ['\t'.join(item) for item in left_out])
    _write(index / f'{source.name}.tsv', lines)
    return Prepared(source.name, len(kept), left_out)


def prepare(root: Path, workers: int) -> Iterator[Prepared]:
    """Prepare all classes below a root; those already in the index are only counted."""
    sources = find_classes(root)
    index = sources[0].path.parent / INDEX
    index.mkdir(exist_ok=True)
    todo = []
    for source in sources:
        samples = read_index(source, index)
        if samples is None:
            todo.append(source)
        else:
            yield Prepared(source.name, len(samples), _read_left_out(index, source))
    # Workers wait on a queue whose ends they all hold: nobody tells them that the command is gone.
    pool = ProcessPoolExecutor(workers, initializer=end_with_parent)
    try:
        for job in as_completed([pool.submit(prepare_class, s, index) for s in todo]):
            yield job.result()
    finally:
        pool.shutdown(cancel_futures=True)


def pack(root: Path) -> None:
    """Write the table of all images of a prepared root, which a training maps in a second."""
    sources = find_classes(root)
    index = sources[0].path.parent / INDEX
    path = packed_path(index, sources)
    if not path.exists():
        samples = (read_index(source, index) or [] for source in sources)
        ImageTable.of(samples, sources[0].is_shard).save(path)


def report(results: Sequence[Prepared]) -> str:
    """Summary of a preparation for the terminal."""
    images = sum(result.kept for result in results)
    release = RELEASES.get(len(results), 'neither release of ImageNet-21k')
    lines = [f'{len(results):,} classes ({release}), {images:,} images in the index.']
    reasons = Counter(reason for result in results for _, reason in result.left_out)
    if reasons:
        lines.append(f'Left out, listed in {INDEX}/CLASS.{LEFT_OUT}:')
        lines += [f'  {count:>8,}  {reason}' for reason, count in reasons.most_common()]
    empty = [result.name for result in results if not result.kept and not result.error]
    if empty:
        lines.append(f'Classes without an image: {", ".join(empty)}')
    lines += [f'Not prepared: {result.error}' for result in results if result.error]
    return '\n'.join(lines)


class _Nothing:
    """An open file for a folder, which needs none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_) -> None:
        return None


def _problem(source: ClassSource, sample: Sample, shard) -> str:
    """Why an image cannot be used, or an empty string."""
    try:
        if shard is None:
            content = read_bytes(source.path / sample.name)
        else:
            shard.seek(sample.offset)
            content = shard.read(sample.size)
        with Image.open(BytesIO(content)) as image:
            if min(image.size) < 2:
                return 'a side of one pixel'
            check_pixels(image)
            image.load()
    except TooManyPixels:
        return f'more than {Image.MAX_IMAGE_PIXELS:,} pixels'
    except Image.UnidentifiedImageError:
        return 'no image'
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f'cannot be decoded ({type(error).__name__})'
    return ''


def _read_left_out(index: Path, source: ClassSource) -> list[tuple[str, str]]:
    text = read_text(index / f'{source.name}.{LEFT_OUT}', MAX_INDEX)
    return [tuple(line.split('\t')) for line in text.splitlines()]


def _write(path: Path, lines: list[str]) -> None:
    write_atomically(path, '\n'.join([*lines, '']).encode())
