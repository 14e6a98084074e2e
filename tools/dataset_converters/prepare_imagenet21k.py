"""Verify every image of ImageNet-21k and write the index that the data set class reads.

    python tools/dataset_converters/prepare_imagenet21k.py data/imagenet21k --workers 16

ROOT holds class folders, or the tar shards of fall 2011 or winter 2021, which are not unpacked.
Interrupt it at any time: the next call goes on with the classes that are not done.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from cosub_mm.datasets.imagenet21k.image_index import find_classes
from cosub_mm.datasets.imagenet21k.preparation import pack, prepare, report
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``; 1 if a class is without an image or could not be read."""
    return run_tool(run, argv)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder of the classes')
    parser.add_argument(
        '--workers', type=at_least(1), default=os.cpu_count(), help='processes that decode'
    )
    args = parser.parse_args(argv)
    try:
        with user_errors('preparing the classes'):
            total = len(find_classes(args.root))
            results = list(track(prepare(args.root, args.workers), 'Classes', total=total))
            failed = any(result.error or not result.kept for result in results)
            if not failed:
                pack(args.root)
    except KeyboardInterrupt:
        print('The same command goes on where this one stopped.', file=sys.stderr)
        raise
    print(report(sorted(results)))
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
