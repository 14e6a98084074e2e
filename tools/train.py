#!/usr/bin/env python
"""Train a model of any task: ``python tools/train.py CONFIG [options]``."""

import sys
from collections.abc import Sequence

from cosub_mm.launch.starting import stop_while_starting

if __name__ == '__main__':
    stop_while_starting()  # the next imports take seconds

import cosub_mm  # noqa: F401  (registers)
from cosub_mm.launch import run as launch
from cosub_mm.launch.arguments import train_arguments
from cosub_mm.launch.errors import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (None: this process's own) and return the exit code."""
    return run_tool(lambda line: launch.train(train_arguments(line)), argv)


if __name__ == '__main__':
    sys.exit(main())
