"""Predictions as pictures: labels under an image, label maps over an image, and a legend."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ['class_palette', 'draw_classification', 'draw_segmentation', 'overlay']

_LINE = 16


def class_palette(num_classes: int, palette: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """RGB colours of the classes, (num_classes, 3) uint8: the data set's, or evenly spread hues."""
    if palette is not None and len(palette) >= num_classes:
        return np.asarray(palette, dtype=np.uint8)[:num_classes]
    hues = [
        Image.new('HSV', (1, 1), (i * 255 // num_classes, 200, 230)) for i in range(num_classes)
    ]
    return np.array([hue.convert('RGB').getpixel((0, 0)) for hue in hues], dtype=np.uint8)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, opacity: float = 0.6
) -> np.ndarray:
    """Colour every pixel of ``image`` by its class.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) class indices; indices outside the palette (the ignored 255) stay clear.
        palette: (classes, 3) uint8 RGB.
        opacity: weight of the colour.

    Returns:
        (H, W, 3) uint8.
    """
    known = (labels >= 0) & (labels < len(palette))
    colours = palette[np.where(known, labels, 0)]
    mixed = (1 - opacity) * image + opacity * colours
    return np.where(known[..., None], mixed, image).astype(np.uint8)


def draw_segmentation(
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    classes: Sequence[str],
    palette: np.ndarray,
    side: int = 160,
) -> Image.Image:
    """Image, truth (if known) and prediction side by side, over a legend of the classes present.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: (H, W) class indices.
        truth: (H, W) class indices, or ``None``.
        classes: their names.
        palette: (classes, 3) uint8 RGB.
        side: narrower images are enlarged, by whole pixels, so that there is something to see.
    """
    panels = [('image', image)]
    if truth is not None:
        panels.append(('truth', overlay(image, truth, palette)))
    panels.append(('prediction', overlay(image, prediction, palette)))
    maps = [prediction] if truth is None else [prediction, truth]
    present = np.unique(np.concatenate([labels.ravel() for labels in maps]))
    entries = [(classes[i], tuple(int(c) for c in palette[i])) for i in present if i < len(palette)]
    factor = max(1, math.ceil(side / image.shape[1]))
    height, width = (factor * length for length in image.shape[:2])
    total = width * len(panels)
    rows = _legend_rows(entries, total)
    canvas = Image.new('RGB', (total, height + _LINE * (1 + len(rows))), 'white')
    draw = ImageDraw.Draw(canvas)
    for i, (title, panel) in enumerate(panels):
        draw.text((i * width + 2, 2), title, fill='black', font=_font())
        picture = Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(picture, (i * width, _LINE))
    for row, line in enumerate(rows):
        for x, name, colour in line:
            y = height + _LINE * (1 + row)
            draw.rectangle((x + 2, y + 3, x + 12, y + 13), fill=colour, outline='black')
            draw.text((x + 16, y + 2), name, fill='black', font=_font())
    return canvas


def _legend_rows(entries: list[tuple[str, tuple]], width: int) -> list[list[tuple]]:
    """Break legend entries into rows of at most ``width`` pixels: (x, name, colour)."""
    rows, x = [], width
    for name, colour in entries:
        needed = int(_font().getlength(name)) + 24
        if x + needed > width or not rows:
            rows.append([])
            x = 0
        rows[-1].append((x, name, colour))
        x += needed
    return rows


def draw_classification(
    image: np.ndarray, predicted: str, score: float, true: str | None, side: int = 224
) -> Image.Image:
    """The image with its predicted and true class beneath, green where they agree.

    Args:
        image: (H, W, 3) uint8 RGB.
        predicted: name of the predicted class.
        score: its score.
        true: name of the true class, or ``None``.
        side: short images are enlarged to this width so that the text fits.
    """
    picture = Image.fromarray(image)
    scale = max(1.0, side / picture.width)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    canvas = Image.new('RGB', (picture.width, picture.height + 2 * _LINE), 'white')
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    colour = 'black' if true is None else 'green' if true == predicted else 'red'
    text = f'predicted: {predicted} ({score:.2f})'
    draw.text((2, picture.height + 2), text, fill=colour, font=_font())
    if true is not None:
        draw.text((2, picture.height + _LINE + 2), f'true: {true}', fill='black', font=_font())
    return canvas


def _font() -> ImageFont.ImageFont:
    return ImageFont.load_default()
