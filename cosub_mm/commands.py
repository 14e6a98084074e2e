"""The tools as commands of an installed package: ``cosub-train`` is ``python tools/train.py``.

``python -m cosub_mm train CONFIG`` is the same, for launchers that start a module:
``torchrun --nproc-per-node 8 -m cosub_mm train CONFIG --launcher pytorch``.
"""

import runpy
import sys
from functools import partial

from .model_hub import index_root

__all__ = ['TOOLS', 'main']

TOOLS = {
    'train': 'tools/train.py',
    'test': 'tools/test.py',
    'verify-dataset': 'tools/dataset_converters/verify_dataset.py',
    'prepare-imagenet21k': 'tools/dataset_converters/prepare_imagenet21k.py',
    'convert': 'tools/model_converters/convert.py',
    'publish': 'tools/model_converters/publish_model.py',
    'export-onnx': 'tools/model_converters/export_onnx.py',
}
"""Script by the name of its command, below the folder that holds ``configs``."""


def run(name: str) -> None:
    """Run a tool with the arguments of this process, as if its script had been started.

    Args:
        name: a key of :data:`TOOLS`.

    Raises:
        SystemExit: with the tool's exit code.
        FileNotFoundError: the package was not installed whole.
    """
    script = str(index_root() / TOOLS[name])
    sys.argv[0] = script
    runpy.run_path(script, run_name='__main__')


train = partial(run, 'train')
test = partial(run, 'test')
verify_dataset = partial(run, 'verify-dataset')
prepare_imagenet21k = partial(run, 'prepare-imagenet21k')
convert = partial(run, 'convert')
publish = partial(run, 'publish')
export_onnx = partial(run, 'export-onnx')


def main() -> None:
    """``python -m cosub_mm TOOL ARGUMENTS``.

    Raises:
        SystemExit: with the tool's exit code, or 2 for an unknown tool.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name not in TOOLS:
        print(f'usage: python -m cosub_mm {{{",".join(TOOLS)}}} ...', file=sys.stderr)
        raise SystemExit(0 if name in ('-h', '--help') else 2)
    del sys.argv[1]
    run(name)
