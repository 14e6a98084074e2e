"""The demo's sheet of scenes: what was to be found, and what was found."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from cosub_mm.engine.hooks.drawing import overlay

__all__ = ['scene_sheet']

SCENES_SHOWN = 10
# Scenes beside each other, and the opacity of the labels.
ACROSS, OPACITY = 2, 0.65


def scene_sheet(
    scenes: str | Path,
    label_maps: Mapping[str, str | Path],
    metainfo: Mapping,
    out: str | Path,
) -> None:
    """Draw the first validation scenes: picture, truth, predictions, over a legend.

    The first ones by name, whatever they show: nobody has chosen them.

    Args:
        scenes: the data set ``scenes`` that :func:`~cosub_mm.demo.data.make_demo_data` wrote.
        label_maps: title -> folder of PNG label maps named as the scenes, 1 + index of the class.
        metainfo: ``classes`` and their ``palette``, RGB.
        out: picture to write.

    Raises:
        FileNotFoundError: no scenes, or a scene without its label map.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    paths = sorted(Path(scenes, 'images', 'validation').glob('*.jpg'))[:SCENES_SHOWN]
    if not paths:
        raise FileNotFoundError(f'There are no validation scenes in {scenes}.')
    palette = np.array(metainfo['palette'], np.uint8)
    folders = {'truth': Path(scenes, 'annotations', 'validation'), **label_maps}
    columns, rows = 1 + len(folders), -(-len(paths) // ACROSS)
    figure = Figure((1.3 * columns * ACROSS, 1.35 * rows + 0.7), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns * ACROSS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, path in enumerate(paths):
        row, first = i // ACROSS, columns * (i % ACROSS)
        image = np.asarray(Image.open(path).convert('RGB'))
        panels = {'picture': image}
        for title, folder in folders.items():
            # 0, the rim of a digit, becomes 255, which no class has.
            labels = np.asarray(Image.open(Path(folder, f'{path.stem}.png'))) - np.uint8(1)
            panels[title] = overlay(image, labels, palette, OPACITY)
        for axes, (title, panel) in zip(grid[row, first:], panels.items()):
            axes.imshow(panel, interpolation='nearest')
            axes.set_title(title if row == 0 else '', fontsize=9)
    patches = [Patch(color=c / 255, label=n) for n, c in zip(metainfo['classes'], palette)]
    figure.legend(handles=patches, loc='outside lower center', ncols=len(patches), fontsize=8)
    figure.savefig(out, dpi=110)
