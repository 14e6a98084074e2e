"""Tables and plots of the analyses: printed, and written into one folder."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ['draw', 'markdown', 'write_csv']


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; numbers as they are given."""
    lines = [f'| {" | ".join(map(str, row))} |' for row in (head, *rows)]
    lines.insert(1, '|' + '---|' * len(head))
    return '\n'.join(lines)


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The same table for other programs; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerows((head, *rows))


def draw(path: Path, plot: Callable, size: tuple[float, float] = (6.0, 4.0)) -> None:
    """Write a picture.

    Args:
        path: of the picture; its folder is made.
        plot: called with the axes to draw on.
        size: in inches.
    """
    # Without pyplot, which keeps figures and asks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasAgg(figure)
    plot(figure.subplots())
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
