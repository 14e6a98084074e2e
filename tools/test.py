#!/usr/bin/env python
"""Test a trained model of any task: ``python tools/test.py CONFIG CHECKPOINT [options]``."""

import sys
from collections.abc import Sequence

import cosub_mm  # noqa: F401  (registers)
from cosub_mm.launch import run as launch
from cosub_mm.launch.arguments import test_arguments
from cosub_mm.launch.errors import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (None: this process's own) and return the exit code."""
    return run_tool(lambda line: launch.test(test_arguments(line)), argv)


if __name__ == '__main__':
    sys.exit(main())
