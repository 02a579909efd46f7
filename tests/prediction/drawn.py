"""Draw digits with PIL in several styles, as a person may draw or scan them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# Strokes on the unit square.
STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [
        [
            (0.5, 0.1),
            (0.25, 0.3),
            (0.22, 0.6),
            (0.4, 0.9),
            (0.6, 0.9),
            (0.78, 0.6),
            (0.75, 0.3),
            (0.5, 0.1),
        ]
    ],
    1: [[(0.5, 0.1), (0.5, 0.9)]],
    2: [
        [
            (0.25, 0.3),
            (0.35, 0.13),
            (0.6, 0.12),
            (0.72, 0.3),
            (0.6, 0.5),
            (0.25, 0.88),
            (0.78, 0.88),
        ]
    ],
    3: [
        [
            (0.25, 0.15),
            (0.6, 0.12),
            (0.72, 0.28),
            (0.45, 0.47),
            (0.72, 0.6),
            (0.7, 0.8),
            (0.5, 0.9),
            (0.25, 0.85),
        ]
    ],
    4: [[(0.35, 0.1), (0.25, 0.55), (0.75, 0.55)], [(0.65, 0.2), (0.62, 0.92)]],
    5: [
        [
            (0.72, 0.12),
            (0.33, 0.12),
            (0.3, 0.45),
            (0.6, 0.42),
            (0.74, 0.62),
            (0.62, 0.85),
            (0.28, 0.86),
        ]
    ],
    6: [
        [
            (0.65, 0.1),
            (0.4, 0.3),
            (0.28, 0.65),
            (0.4, 0.88),
            (0.62, 0.85),
            (0.68, 0.65),
            (0.5, 0.55),
            (0.32, 0.68),
        ]
    ],
    7: [[(0.22, 0.14), (0.78, 0.14), (0.5, 0.55), (0.42, 0.92)]],
    8: [
        [
            (0.5, 0.5),
            (0.3, 0.32),
            (0.48, 0.1),
            (0.7, 0.28),
            (0.5, 0.5),
            (0.27, 0.7),
            (0.5, 0.92),
            (0.74, 0.7),
            (0.5, 0.5),
        ]
    ],
    9: [
        [(0.7, 0.3), (0.5, 0.12), (0.32, 0.3), (0.48, 0.48), (0.7, 0.3), (0.66, 0.6), (0.58, 0.92)]
    ],
}


@dataclass(frozen=True)
class Style:
    """The size and colors of a drawing, the position and scale of its digit, and the file's
    extension.
    """

    size: tuple[int, int]
    width: int
    mode: str
    paper: tuple[int, ...] | int | str
    ink: tuple[int, ...] | int | str
    ending: str = "png"
    noise: float = 0
    corner: tuple[int, int] = (0, 0)
    scale: float = 1.0


STYLES = {
    "black on white": Style((280, 280), 22, "RGB", (255, 255, 255), (0, 0, 0)),
    "as in MNIST": Style((28, 28), 3, "L", 0, 255),
    "chalk": Style((900, 600), 32, "RGB", (30, 60, 30), (240, 240, 220), "jpg", 6, (200, 50), 0.8),
    "transparent": Style(
        (400, 400), 20, "RGBA", (0, 0, 0, 0), (0, 0, 0, 255), "png", 0, (50, 90), 0.6
    ),
    "blue pen, scanned": Style(
        (640, 480), 40, "RGB", (238, 238, 221), (17, 34, 136), "jpg", 8, (100, 20), 0.9
    ),
}


def draw(digit: int, style: Style, path: Path) -> Path:
    """Draw a digit to `path` plus the style's extension, and return the file."""
    image = Image.new(style.mode, style.size, style.paper)
    pen = ImageDraw.Draw(image)
    left, top = style.corner
    side = min(style.size) * style.scale
    for stroke in STROKES[digit]:
        points = [(left + x * side, top + y * side) for x, y in stroke]
        pen.line(points, fill=style.ink, width=style.width, joint="curve")
    if style.noise:
        pixels = np.asarray(image)
        noise = np.random.default_rng(digit).normal(0, style.noise, pixels.shape)
        image = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    file = path.with_suffix(f".{style.ending}")
    image.save(file)
    return file
