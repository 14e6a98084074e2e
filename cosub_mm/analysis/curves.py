"""Training curves of finished or running trainings, from what mmengine writes."""

import json
from collections.abc import Sequence
from pathlib import Path

__all__ = ['plot_curves', 'read_scalars']


def read_scalars(work_dir: str | Path) -> list[dict]:
    """All values logged in a work dir, in the order of their step.

    A training that was interrupted and resumed has a log for each start; where they overlap, the
    later one counts.

    Args:
        work_dir: of one training; ``*/vis_data/scalars.json`` below it is read.

    Returns:
        One dict a logged step: ``step`` and the values by name. Training and validation are logged
        apart, and may share a step.
    """
    by_step: dict[tuple, dict] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                values = json.loads(line)
            except ValueError:
                continue  # a line that an interruption cut off
            # Validation logs no loss; by epoch, its steps count epochs.
            by_step[('loss' in values, values.get('step', 0))] = values
    return [by_step[key] for key in sorted(by_step)]


def plot_curves(
    panels: Sequence[tuple[str, str, dict[str, str | Path]]], out: str | Path
) -> list[str]:
    """Draw one panel a quantity, with a curve for each training.

    Args:
        panels: (title, name of the logged value, {label: work dir}).
        out: picture to write; the folder is made.

    Returns:
        What could not be drawn, ``'label: value'``, because the log does not hold it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 3.6), layout='constrained')
    FigureCanvasAgg(figure)
    missing = []
    for axes, (title, key, runs) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for label, work_dir in runs.items():
            points = [(v['step'], v[key]) for v in read_scalars(work_dir) if key in v]
            if points:
                axes.plot(*zip(*points), label=label, marker='.' if len(points) < 20 else None)
            else:
                missing.append(f'{label}: {key}')
        axes.set(title=title, xlabel='epoch' if key.startswith('accuracy') else 'iteration')
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    return missing
