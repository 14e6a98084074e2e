"""What is wrong with an environment and shows itself only later, as an error of something else."""

import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ['conflicts', 'warn_of_conflicts']

# The onedl distributions fill the same folders as upstream's, which stopped in 2024.
SHARED_FOLDERS = {
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-full', 'mmcv-lite'),
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain', 'mmcls'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}


def installed(name: str) -> str | None:
    """Version of a distribution, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # some finder refuses it; a stand-in without a spec
        return False


def conflicts() -> Iterator[str]:
    """Sentences on what cannot work in this environment, and what to do."""
    for folder, names in SHARED_FOLDERS.items():
        owners = [name for name in names if installed(name)]
        if len(owners) > 1:
            yield (
                f"{' and '.join(owners)} both own the folder '{folder}': the one installed last "
                f"has overwritten the other's files. pip uninstall {' '.join(owners)}, then "
                f'pip install {owners[0]}.'
            )
    if _is_there('mmpretrain'):
        missing = [name for name in ('mmengine', 'mmcv') if not _is_there(name)]
        if missing:
            yield (
                f'mmpretrain is installed and cannot be imported without {" and ".join(missing)}: '
                f'pip install {" ".join(f"onedl-{name}" for name in missing)}. cosub_mm.losses and '
                f'cosub_mm.stochastic_depth work without.'
            )
    transformers = installed('transformers')
    if transformers and int(transformers.partition('.')[0]) >= 5:
        yield (
            f"transformers {transformers}: mmpretrain's models cannot be imported beside version 5 "
            f"('NoneType takes no arguments'). pip install 'transformers<5', or use "
            f'cosub_mm.stochastic_depth alone, which does not need mmpretrain.'
        )


def warn_of_conflicts() -> None:
    """Say each of :func:`conflicts` once, as a warning."""
    for sentence in conflicts():
        warnings.warn(f'cosub_mm: {sentence}', stacklevel=2)
