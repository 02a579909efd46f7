"""Draw synthetic photographs of digits: ruled paper, uneven light, colored ink, rotation.

These photographs test the preparation of a user's pictures, so nothing may be tuned on them. The tuning used
`benchmarks/own_pictures.py`, which has other fonts (DejaVu, cmss10), other strokes (MNIST's handwriting), other
papers, inks, shadows and seeds, and shares no code with this file. This file uses the fonts STIX and Computer Modern
(roman, typewriter), and strokes that are smooth curves through the points in drawn.py, with added tremor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from tests.prediction.drawn import STROKES

FONTS = ("STIXGeneral.ttf", "cmr10.ttf", "cmtt10.ttf")
KINDS = ("ruled", "uneven light", "colored ink", "turned")
OF_A_KIND = 8
INKS = ((20, 20, 25), (25, 35, 120), (60, 60, 70))  # black ball-pen, blue ink, pencil
# Paper and ink of nearly the same gray level, which differ only in their color.
COLORS = (
    ((250, 248, 240), (215, 40, 50)),
    ((235, 240, 250), (240, 140, 30)),
    ((250, 225, 120), (200, 60, 60)),
    ((170, 205, 235), (230, 120, 160)),
    ((245, 245, 245), (60, 170, 90)),
    ((200, 230, 190), (225, 130, 90)),
    ((30, 70, 50), (240, 225, 120)),
    ((120, 150, 120), (190, 110, 110)),
)


@dataclass(frozen=True)
class Photograph:
    """A drawn photograph: its kind, its digit, and its pixels (RGB)."""

    name: str
    kind: str
    digit: int
    pixels: Image.Image

    def save(self, folder: Path) -> Path:
        path = folder / f"{self.name}.jpg"
        self.pixels.save(path, quality=82)
        return path


def photographs() -> list[Photograph]:
    """Return the same 32 photographs each time; digits are about equally frequent in each kind."""
    return [_photograph(kind, i) for kind in KINDS for i in range(OF_A_KIND)]


def _photograph(kind: str, i: int) -> Photograph:
    draws = np.random.default_rng([2121, KINDS.index(kind), i])
    digit = (3 * i + 2 * KINDS.index(kind)) % 10
    font = FONTS[i % 3] if i % 3 == 1 or i == 6 else None
    tall = int(draws.integers(170, 300))
    degrees = {"turned": (1 if i % 2 else -1) * (15 - i / 2)}.get(kind, draws.uniform(-4, 4))
    mark = _mark(digit, font, tall, float(degrees), draws)
    margin = 30 + int(tall * draws.uniform(0.12, 0.4))
    width, height = 640, 480
    left = int(draws.integers(30, max(31, width - margin - mark.shape[1])))
    top = int(np.clip((height - mark.shape[0]) / 2 + draws.integers(-40, 40), 0, height - mark.shape[0]))
    coverage = np.zeros((height, width))
    coverage[top : top + mark.shape[0], left : left + mark.shape[1]] = mark
    paper, ink = (244, 241, 232), INKS[int(draws.integers(len(INKS)))]
    if kind == "colored ink":
        paper, ink = COLORS[i]
    scene = np.empty((height, width, 3))
    scene[:] = paper
    if kind == "ruled":
        _rule(scene, i, draws)
    scene += (coverage * 0.93)[..., None] * (np.array(ink) - scene)
    if kind == "uneven light":
        scene *= _light(height, width, i, draws)[..., None]
    scene = gaussian_filter(scene, (draws.uniform(0.6, 1.4),) * 2 + (0,))
    scene += draws.normal(0, draws.uniform(2, 5), scene.shape)
    name = f"{kind.replace(' ', '_')}_{i}_{digit}"
    return Photograph(name, kind, digit, Image.fromarray(scene.clip(0, 255).astype(np.uint8)))


def _mark(digit: int, font: str | None, tall: int, degrees: float, draws: np.random.Generator) -> np.ndarray:
    """Return how much of each pixel the digit's ink covers (0 to 1), cropped to the digit."""
    side = 2 * tall
    sheet = Image.new("L", (2 * side, 2 * side))
    pen = ImageDraw.Draw(sheet)
    if font is not None:
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font
        pen.text((side, side), str(digit), fill=255, font=ImageFont.truetype(str(path), int(1.45 * side)), anchor="mm")
    else:
        nib = side * draws.uniform(0.035, 0.06)
        for stroke in STROKES[digit]:
            for x, y in _smooth(np.array(stroke) + draws.normal(0, 0.012, (len(stroke), 2))):
                at = (side / 2 + side * x, side / 2 + side * y)
                pen.ellipse([at[0] - nib, at[1] - nib, at[0] + nib, at[1] + nib], fill=255)
    turned = sheet.rotate(degrees, Image.Resampling.BICUBIC)
    cropped = turned.crop(turned.getbbox())
    small = cropped.resize((max(1, cropped.width // 2), max(1, cropped.height // 2)), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


def _smooth(points: np.ndarray) -> np.ndarray:
    """Return a Catmull-Rom curve through the points."""
    around = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 60)[:, None]
    pieces = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(pieces)


def _rule(scene: np.ndarray, i: int, draws: np.random.Generator) -> None:
    """Draw the slightly rotated lines or squares of an exercise book, in some cases with a red margin."""
    height, width, _ = scene.shape
    y, x = np.mgrid[:height, :width]
    slope, apart = np.tan(np.radians(draws.uniform(-3, 3))), draws.integers(45, 95)
    thick = draws.uniform(1.6, 3.2)
    color = np.array([(130, 160, 210), (150, 150, 155), (120, 180, 190)][i % 3])
    across = [y - slope * x] if i % 2 else [y - slope * x, x + slope * y]
    for distance in across:
        on = np.clip(thick / 2 + 0.5 - np.abs((distance + draws.uniform(0, apart)) % apart - apart / 2), 0, 1)
        scene += 0.85 * on[..., None] * (color - scene)
    if i in {1, 5}:
        on = np.clip(2 - np.abs(x + slope * y - 55), 0, 1)
        scene += on[..., None] * (np.array((220, 90, 100)) - scene)


def _light(height: int, width: int, i: int, draws: np.random.Generator) -> np.ndarray:
    """Return the light of a lamp from one side, the shadow of a hand, or both."""
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    angle = draws.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    light = np.full((height, width), 0.95)
    if i % 3 != 1:
        light = 0.62 + 0.6 * along
    if i % 3 != 0:
        edge = 0.12 * np.sin(5 * (x - y) + angle) + (x - 0.5) * np.sin(angle) - (y - 0.5) * np.cos(angle)
        light = light * (1 - 0.5 / (1 + np.exp(-edge * draws.uniform(14, 40))))
    return light.clip(0.18, 1.05)
