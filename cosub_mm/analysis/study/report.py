"""Table and plot of what has been run so far."""

from collections import defaultdict
from pathlib import Path

from cosub_mm.analysis.tables import draw, markdown, write_csv

from .protocol import ARMS, LAMS, RATES
from .statistics import compare, spread

__all__ = ['by_arm', 'main_table', 'sweep_table', 'write_report']

HEAD = (
    'arm',
    'seeds',
    'top-1 mean',
    'std',
    'difference to supervised',
    '95% interval',
    'p',
    'verdict',
    'hours a run',
    'core hours a run',
    'accuracy per core hour',
)


def by_arm(results: dict[str, dict], key: str = 'accuracy') -> dict[str, dict[int, float]]:
    """Arm -> seed -> value of its result."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for result in results.values():
        found[result['arm']][result['seed']] = float(result[key])
    return dict(found)


def main_table(results: dict[str, dict]) -> list[tuple]:
    """A row for each arm that has a run; what is missing is counted in the second column."""
    accuracy = by_arm(results)
    seconds, core_seconds = by_arm(results, 'seconds'), by_arm(results, 'core_seconds')
    baseline = accuracy.get('supervised', {})
    rows = []
    for arm, planned in ARMS.items():
        values = accuracy.get(arm)
        if not values:
            continue
        middle, deviation = spread(list(values.values()))
        hours = spread(list(seconds[arm].values()))[0] / 3600
        core_hours = spread(list(core_seconds[arm].values()))[0] / 3600
        compared = ('', '', '', '')
        if arm != 'supervised' and baseline:
            found = compare(values, baseline)
            interval = f'{found.low:+.2f} to {found.high:+.2f}' if found.low == found.low else ''
            compared = (f'{found.difference:+.2f}', interval, f'{found.p:.3f}', found.verdict)
        rows.append(
            (
                arm,
                f'{len(values)} of {planned}',
                f'{middle:.2f}',
                f'{deviation:.2f}',
                *compared,
                f'{hours:.3f}',
                f'{core_hours:.3f}',
                f'{middle / max(core_hours, 1e-9):.0f}',
            )
        )
    return rows


def sweep_table(results: dict[str, dict], part: str) -> tuple[tuple[str, ...], list[tuple]]:
    """Mean and deviation by lambda (the paper's Table 5), drop rate, or what was tuned."""
    accuracy = by_arm(results)
    if part == 'lam':
        arms = {f'lam_{lam}': (lam,) for lam in LAMS}
        head = ('lambda',)
    elif part == 'rate':
        arms = {f'{c}_rate_{rate}': (c, rate) for rate in RATES for c in ('supervised', 'cosub')}
        head = ('arm', 'drop rate')
    else:
        arms = {arm: (arm,) for arm in accuracy if arm.startswith('tune_')}
        head = ('setting',)
    rows = []
    for arm, cells in arms.items():
        if arm in accuracy:
            middle, deviation = spread(list(accuracy[arm].values()))
            rows.append((*cells, len(accuracy[arm]), f'{middle:.2f}', f'{deviation:.2f}'))
    return (*head, 'seeds', 'top-1 mean', 'std'), rows


def write_report(results: dict[str, dict], part: str, out: Path) -> str:
    """Write ``PART.md``, ``PART.csv`` and ``PART.png``; returns the table."""
    if part == 'main':
        head, rows = HEAD, main_table(results)
    else:
        head, rows = sweep_table(results, part)
    if not rows:
        return 'Nothing has been run yet.'
    text = markdown(head, rows)
    write_csv(out / f'{part}.csv', head, rows)
    (out / f'{part}.md').write_text(text + '\n', encoding='utf-8')
    draw(out / f'{part}.png', lambda axes: _plot(axes, results, part), (7, 4))
    return text


def _plot(axes, results: dict[str, dict], part: str) -> None:
    """Main arms: paired differences, each seed a point; sweeps: accuracies."""
    accuracy = by_arm(results)
    baseline = accuracy.get('supervised', {})
    arms = [arm for arm in ARMS if arm in accuracy] if part == 'main' else _swept(accuracy, part)
    for place, arm in enumerate(arms):
        values = accuracy[arm]
        if part == 'main':
            shown = [values[seed] - baseline[seed] for seed in values if seed in baseline]
        else:
            shown = list(values.values())
        if shown:
            axes.scatter(shown, [place] * len(shown), s=12)
            axes.scatter([spread(shown)[0]], [place], marker='|', s=300, color='black')
    axes.set_yticks(range(len(arms)), arms)
    if part == 'main':
        axes.axvline(0, linewidth=0.8, color='grey')
    what = 'top-1, difference to supervised of the same seed (points)'
    axes.set(xlabel=what if part == 'main' else 'top-1 accuracy (%)')


def _swept(accuracy: dict, part: str) -> list[str]:
    begin = {'lam': 'lam_', 'tune-lr': 'tune_lr_', 'tune-rate': 'tune_'}.get(part)
    return [arm for arm in accuracy if (arm.startswith(begin) if begin else '_rate_' in arm)]
