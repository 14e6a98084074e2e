"""Which code a training runs, for its checkpoints: versions, and a digest of this package."""

import hashlib
from functools import cache
from importlib import import_module
from pathlib import Path

from cosub_mm.version import __version__

__all__ = ['code_changes', 'code_version']

# Imported by any training, whoever distributes them under whatever name.
LIBRARIES = ('torch', 'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'timm')
OURS = 'source of cosub_mm'


@cache
def code_version() -> dict[str, str]:
    """Versions by name; of this package also a digest of its files, for a checkout has one version.

    A library that cannot be imported is left out.
    """
    found = {'cosub_mm': __version__, OURS: _digest(Path(__file__).parents[1])}
    for name in LIBRARIES:
        try:
            found[name] = str(import_module(name).__version__)
        except (ImportError, AttributeError):
            continue
    return found


def code_changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What of the code differs, as ``name before -> now``; what only one of them names does not."""
    return [
        f'{name} {before[name]} -> {now[name]}'
        for name in now
        if name in before and before[name] != now[name]
    ]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob('*.py')):
        digest.update(str(file.relative_to(folder)).encode() + b'\0' + file.read_bytes())
    return digest.hexdigest()[:12]
