"""Train for long under kills, full disks and damaged files, and say which promises were kept.

A small cosub classifier is trained undisturbed by two processes, then again and again while
processes are killed at random and the training is resumed. docs/reliability.md says what is
promised. Ends with 1 when a promise was broken.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cosub_mm.launch.errors import UserError, run_tool  # noqa: E402
from cosub_mm.launch.values import at_least, folder, positive  # noqa: E402
from tools.soak_parts.campaign import Campaign  # noqa: E402
from tools.soak_parts.report import table, write_report  # noqa: E402
from tools.soak_parts.training import make_data, write_config  # noqa: E402
from tools.soak_parts.verdict import judge  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line of the soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=positive, default=30, help='default: 30')
    parser.add_argument('--work-dir', type=folder, help='kept; default: a folder that is deleted')
    parser.add_argument('--seed', type=int, default=0, help='of kills and faults')
    parser.add_argument('--epochs', type=at_least(1), help='of a training; default: by the minutes')
    parser.add_argument(
        '--step-seconds', type=float, default=0.05, help='no step is shorter; default: .05'
    )
    parser.add_argument(
        '--nan',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='pictures that are not a number, in a few steps',
    )
    return parser.parse_args(argv)


def run(argv: Sequence[str] | None = None) -> bool:
    """Soak, print and write the table; returns whether all promises were kept."""
    args = parse_args(argv)
    if not 0 <= args.step_seconds < float('inf'):
        raise UserError('--step-seconds must be 0 or more.')
    with tempfile.TemporaryDirectory(prefix='soak_') as temporary:
        folder = (args.work_dir or Path(temporary)).absolute()
        if args.work_dir and folder.exists() and any(folder.iterdir()):
            raise UserError(f'{folder} is not empty; give another --work-dir.')
        return _soak(args, folder, ' '.join(['tools/soak.py', *(argv or sys.argv[1:])]))


def _soak(args: argparse.Namespace, folder: Path, command: str) -> bool:
    say = partial(print, flush=True)
    data = folder / 'data'
    make_data(data)
    # A sixth of the time for the undisturbed training, by the length of its steps.
    seconds = 60 * args.minutes
    epochs = args.epochs or max(6, round(seconds / 6 / (args.step_seconds * 16 + 0.5)))
    training = write_config(folder / 'soak.py', data, epochs)
    nan = tuple(training.iterations * i // 5 + 1 for i in range(1, 5)) if args.nan else ()
    campaign = Campaign(
        training,
        folder,
        seconds,
        say,
        args.seed,
        args.step_seconds,
        steps_between=min(150, training.iterations // 3),
        nan=nan,
    )
    say(f'{training.epochs} epochs of {training.steps} steps, in {folder}')
    starts = campaign.run()
    promises = judge(starts, training, folder)
    text = table(promises, shlex.join(shlex.split(command)), campaign.elapsed)
    say('\n' + text)
    if args.work_dir:
        say('Written: ' + ', '.join(map(str, write_report(folder, promises, starts, text))))
    return all(promise.kept for promise in promises)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; the exit code."""
    return run_tool(lambda line: int(not run(line)), argv)


if __name__ == '__main__':
    sys.exit(main())
