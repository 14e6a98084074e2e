"""Unpack ADE20k from its official archive, checking every image and mask on the way.

The archive is ADEChallengeData2016.zip (http://sceneparsing.csail.mit.edu): 20,210 training and
2,000 validation images with masks of 0 (no label) and 1 to 150.
"""

import argparse
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.utils import ProgressBar
from PIL import Image

from cosub_mm.datasets.decoding import check_pixels
from cosub_mm.launch.errors import UserError, run_tool
from cosub_mm.launch.values import at_least, folder
from cosub_mm.safe_files import UnsafeFileError, open_zip, read_member
from cosub_mm.whole_files import write_atomically

ROOT = 'ADEChallengeData2016'
SPLITS = {'training': 20210, 'validation': 2000}
NUM_CLASSES = 150
MEMBER = re.compile(rf'{ROOT}/(images|annotations)/(\w+)/(\w+)\.(jpg|png)')
MAX_EXTRA = 2**20  # bytes of a list of classes or scenes
EXTRAS = ('objectInfo150.txt', 'sceneCategories.txt')


class Pair(NamedTuple):
    """An image and its mask in the archive."""

    split: str
    name: str
    image: zipfile.ZipInfo | None
    mask: zipfile.ZipInfo | None


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Unpack and check ADE20k. Started again after an interruption, it goes on '
        'where it stopped: a file is in its place only when it is complete and checked.'
    )
    parser.add_argument('archive', type=Path, help=f'{ROOT}.zip')
    parser.add_argument('--out', type=folder, default='data/ade', help='default: data/ade')
    parser.add_argument(
        '--expect',
        nargs=2,
        type=at_least(0),
        default=tuple(SPLITS.values()),
        metavar=('TRAINING', 'VALIDATION'),
        help='images of each split (default: 20210 2000), for a subset of your own',
    )
    return parser.parse_args(argv)


def find_pairs(archive: zipfile.ZipFile) -> list[Pair]:
    """All images and masks of the archive, matched by name."""
    found: dict[tuple[str, str], dict[str, zipfile.ZipInfo]] = {}
    for info in archive.infolist():
        match = MEMBER.fullmatch(info.filename)
        if match and match[2] in SPLITS:
            found.setdefault((match[2], match[3]), {})[match[1]] = info
    return [
        Pair(*key, files.get('images'), files.get('annotations'))
        for key, files in sorted(found.items())
    ]


def check_counts(pairs: list[Pair], expected: dict[str, int]) -> None:
    """Stop before unpacking if the archive is not the one that we know."""
    counts = {split: sum(pair.split == split for pair in pairs) for split in expected}
    if counts != expected:
        raise UserError(
            f'the archive has {_list(counts)} images, but {_list(expected)} are expected. '
            f'Is it the whole {ROOT}.zip? For a subset of your own give --expect.'
        )


def problem_of(image_bytes: bytes, mask_bytes: bytes) -> str | None:
    """What is wrong with a pair, or None."""
    try:
        image = Image.open(BytesIO(image_bytes))
        check_pixels(image)
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f'the image cannot be read ({error})'
    try:
        mask = Image.open(BytesIO(mask_bytes))
        check_pixels(mask)
        mask.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f'the mask cannot be read ({error})'
    if mask.mode not in ('L', 'P'):
        return f'the mask has mode {mask.mode}, not one channel of 8 bits'
    if min(image.size) < 2:
        return f'the image has {_size(image)} pixels: a line, not a picture'
    if image.size != mask.size:
        return f'the image has {_size(image)} pixels, the mask {_size(mask)}'
    top = int(np.asarray(mask).max())
    if top > NUM_CLASSES:
        return f'the mask holds label {top}, beyond {NUM_CLASSES}'
    return None


def unpack(archive: zipfile.ZipFile, pairs: list[Pair], out: Path) -> list[str]:
    """Write every sound pair; return a line for each of the others."""
    problems = []
    bar = ProgressBar(len(pairs))
    for pair in pairs:
        problem = _unpack_pair(archive, pair, out)
        if problem:
            problems.append(f'{pair.split}/{pair.name}: {problem}')
        bar.update()
    print()
    return problems


def _unpack_pair(archive: zipfile.ZipFile, pair: Pair, out: Path) -> str | None:
    if pair.image is None or pair.mask is None:
        return f'the {"image" if pair.image is None else "mask"} is missing'
    members = (pair.image, pair.mask)
    if all(_is_in_place(info, out) for info in members):
        return None
    try:
        contents = [read_member(archive, info) for info in members]
    except UnsafeFileError as error:
        return f'it is not unpacked: {error}'
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        return f'the archive is damaged there ({error})'
    problem = problem_of(*contents)
    if problem is None:
        for info, content in zip(members, contents):
            write_atomically(out / info.filename, content, sync=False)
    return problem


def _is_in_place(info: zipfile.ZipInfo, out: Path) -> bool:
    path = out / info.filename
    return path.is_file() and path.stat().st_size == info.file_size


def unpack_extras(archive: zipfile.ZipFile, out: Path) -> list[str]:
    """Write the lists of classes and scenes; return a line for each that cannot be."""
    names, problems = {f'{ROOT}/{name}' for name in EXTRAS}, []
    for info in (info for info in archive.infolist() if info.filename in names):
        try:
            write_atomically(out / info.filename, read_member(archive, info, MAX_EXTRA), sync=False)
        except UnsafeFileError as error:
            problems.append(f'it is not unpacked: {error}')
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
            problems.append(f'the archive is damaged at {info.filename} ({error})')
    return problems


def _list(counts: dict[str, int]) -> str:
    return ' and '.join(f'{count:,} {split}' for split, count in counts.items())


def _size(image: Image.Image) -> str:
    return f'{image.width}x{image.height}'


def main(argv: Sequence[str] | None) -> int:
    """Unpack; 1 if pairs are broken."""
    args = parse_args(argv)
    if not args.archive.is_file():
        raise UserError(f'there is no archive {args.archive}.')
    try:
        with open_zip(args.archive) as archive:
            pairs = find_pairs(archive)
            check_counts(pairs, dict(zip(SPLITS, args.expect)))
            problems = unpack(archive, pairs, args.out)
            problems += unpack_extras(archive, args.out)
    except zipfile.BadZipFile as error:
        raise UserError(
            f'{args.archive} is not a whole zip archive ({error}). Download it again.'
        ) from error
    if problems:
        lines = [f'error: {len(problems)} of {len(pairs)} pairs are broken:', *problems]
        print('\n'.join(lines), file=sys.stderr)
        return 1
    print(f'{len(pairs):,} images and masks are in {args.out / ROOT}, each one checked.')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
