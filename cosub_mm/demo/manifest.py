"""Write a generated data set once, and know afterwards that it is whole.

A data set is a mapping from relative paths to the bytes of each file. Beside the files stands
``manifest.json`` with their SHA-256 sums; it is written last, so a folder with a manifest was
complete once, and a file whose sum differs is made anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from cosub_mm.safe_files import MAX_INDEX, UnsafeFileError, name_problem, read_bytes, read_json
from cosub_mm.whole_files import write_atomically

__all__ = ['MANIFEST', 'DatasetReport', 'damaged_files', 'write_dataset']

MANIFEST = 'manifest.json'


@dataclass
class DatasetReport:
    """What :func:`write_dataset` found and did."""

    root: Path
    files: int
    written: list[str]
    foreign: list[str]

    def __str__(self) -> str:
        if len(self.written) == self.files:
            text = f'{self.root}: wrote {self.files} files.'
        elif self.written:
            text = (
                f'{self.root}: {len(self.written)} of {self.files} files were damaged or missing '
                f'and have been written anew: {_some(self.written)}.'
            )
        else:
            text = f'{self.root}: all {self.files} files are there and match their checksums.'
        if self.foreign:
            text += (
                f' It also holds {len(self.foreign)} files that do not belong to it, which are '
                f'read as data all the same: {_some(self.foreign)}. Remove them.'
            )
        return text


def write_dataset(
    root: str | Path,
    version: str,
    names: Iterable[str],
    make: Callable[[list[str]], Iterable[tuple[str, bytes]]],
    progress: bool = True,
) -> DatasetReport:
    """Write the files that are missing or damaged, and the manifest.

    Args:
        root: folder of the data set; made if it is missing.
        version: changes whenever ``make`` would give other bytes; a manifest of another version
            makes every file be written anew.
        names: paths, relative to ``root``, of all files.
        make: gives (path, content) for the paths it is asked for.
        progress: show a progress bar while files are written.

    Raises:
        FileExistsError: ``root`` holds files but no manifest: somebody else's data is not touched.
    """
    root, names = Path(root), sorted(names)
    known = _read_manifest(root)
    interrupted = (root / f'{MANIFEST}.started').exists()
    if known is None and not interrupted and root.is_dir() and any(root.iterdir()):
        raise FileExistsError(
            f'{root} is not empty and has no {MANIFEST}, so it was not made by this command. '
            f'Choose another folder, or remove it.'
        )
    same = known is not None and known['version'] == version and set(known['files']) == set(names)
    if same:
        sums, todo = known['files'], damaged_files(root, known['files'])
    else:
        sums, todo = {}, names
        _remove(root, set(known['files']) - set(names) if known else ())
    if todo:
        # The mark stands for the manifest until that is written: an interrupted run may go on.
        write_atomically(root / f'{MANIFEST}.started', version.encode())
        sums = {**sums, **_write_files(root, todo, make, progress)}
        content = {'version': version, 'files': dict(sorted(sums.items()))}
        write_atomically(root / MANIFEST, json.dumps(content, indent=1).encode())
    (root / f'{MANIFEST}.started').unlink(missing_ok=True)
    return DatasetReport(root, len(names), todo, _foreign(root, set(names)))


def damaged_files(root: str | Path, sums: dict[str, str]) -> list[str]:
    """Paths among ``sums`` (path -> SHA-256) whose file is missing or has another sum."""
    return [name for name, digest in sums.items() if _digest_of_file(Path(root, name)) != digest]


def _write_files(root: Path, todo: list[str], make: Callable, progress: bool) -> dict[str, str]:
    sums = {}
    made = track(make(todo), f'Writing {root}', total=len(todo), disable=not progress)
    for name, content in made:
        write_atomically(root / name, content, sync=False)  # their sums are checked
        sums[name] = hashlib.sha256(content).hexdigest()
    missing = set(todo) - set(sums)
    if missing:
        raise RuntimeError(f'{len(missing)} files were not made: {_some(sorted(missing))}.')
    return sums


def _read_manifest(root: Path) -> dict | None:
    """The manifest, an empty one if it cannot be read, None if there is none."""
    path = root / MANIFEST
    if not path.exists():
        return None
    try:
        content = read_json(path, MAX_INDEX)
        files = dict(content['files'])
        # What another version lists is removed: never what lies elsewhere.
        if any(map(name_problem, files)):
            raise ValueError
        return {'version': content['version'], 'files': files}
    except (ValueError, KeyError, TypeError):
        return {'version': '', 'files': {}}


def _digest_of_file(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except (OSError, UnsafeFileError):
        return None


def _foreign(root: Path, names: set[str]) -> list[str]:
    """Files that are no part of the data set; what an interruption left half written goes."""
    foreign = []
    for path in sorted(root.rglob('*')):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or name in names or name == MANIFEST:
            continue
        if path.name.startswith('.') and path.name.endswith('.part'):
            path.unlink(missing_ok=True)
        else:
            foreign.append(name)
    return foreign


def _remove(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (root / name).unlink(missing_ok=True)


def _some(names: list[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {rest} more' if rest > 0 else '')
