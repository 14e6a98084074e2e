"""Compare the training strategies on real pictures, by the protocol of docs/study.md.

    python tools/analysis_tools/study.py                    # the main arms: make study
    python tools/analysis_tools/study.py --part lam         # the paper's Table 5
    python tools/analysis_tools/study.py --part rate        # drop rates
    python tools/analysis_tools/study.py --part tune-lr     # the baseline's learning rate; then
    python tools/analysis_tools/study.py --part tune-rate   # its drop rate

The same command goes on where it was interrupted, and writes table and plot of what there is. Runs
of other configs or code are refused.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cosub_mm.analysis.study.protocol import ARMS, PARTS, hold_protocol, runs_of
from cosub_mm.analysis.study.report import write_report
from cosub_mm.analysis.study.runner import RunFailed, make_runs, results_in
from cosub_mm.launch.errors import UserError, run_tool, user_errors
from cosub_mm.launch.values import at_least
from cosub_mm.model_hub import index_root

# What tuning looks at in place of the test pictures.
TUNE = 'test_dataloader.dataset.split=tune'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--part', choices=PARTS, default='main')
    parser.add_argument('--arms', nargs='+', default=[], choices=list(ARMS), metavar='ARM')
    parser.add_argument('--seeds', type=at_least(1), help='only the first so many seeds')
    parser.add_argument('--jobs', type=int, default=2, help='runs side by side, one thread each')
    parser.add_argument('--data-root', help='folder of the four files of Fashion-MNIST')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/study'))
    parser.add_argument('--report', action='store_true', help='only write table and plot')
    parser.add_argument(
        '--settings',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='of all runs, e.g. a short trial; part of the protocol',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> None:
    """Make what is missing, and write the report."""
    args = parse_args(argv)
    root = index_root()
    # Tuning looks at other pictures, and must not lie among the runs that are reported.
    tunes = args.part.startswith('tune')
    work_dir = (args.work_dir / args.part if tunes else args.work_dir).resolve()
    settings = [*args.settings, *([TUNE] if tunes else [])]
    with user_errors('looking at the study so far'):
        if args.jobs < 1:
            raise ValueError(f'--jobs {args.jobs} must be at least 1.')
        fingerprint = hold_protocol(work_dir, root / 'configs/study', settings)
        runs = runs_of(args.part, args.arms)
        if args.seeds is not None:
            runs = [run for run in runs if run.seed < args.seeds]
    try:
        if not args.report:
            make_runs(runs, work_dir, root, fingerprint, settings, args.data_root, args.jobs, _say)
        results = results_in(work_dir, fingerprint)
    except RunFailed as error:
        _say(write_report(results_in(work_dir, fingerprint), args.part, work_dir / 'report'))
        raise UserError(str(error)) from None
    missing = [run.folder for run in runs if run.folder not in results]
    _say('\n' + write_report(results, args.part, work_dir / 'report'))
    if missing:
        _say(f'{len(missing)} of {len(runs)} runs are missing; the same command makes them.')
    _say(f'written to {work_dir / "report"}')


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(run_tool(main))
