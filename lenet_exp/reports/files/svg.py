"""Elements of SVG charts: axes, text, circles, and the document."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from lenet_exp.errors import printable


class Axis:
    """An axis with round numbers as ticks.

    Args:
        values: values to cover; those that are not finite are ignored.
        start: coordinate of the start in pixels.
        length: length in pixels; negative for an axis that points up.
        most: maximum number of ticks.
        whole: whether ticks must be whole numbers.

    Attributes:
        low: value at the start.
        ticks: values of the ticks.
    """

    def __init__(
        self,
        values: Sequence[float],
        start: float,
        length: float,
        *,
        most: int,
        whole: bool = False,
    ) -> None:
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            finite = [0.0]
        margin = _margin(min(finite), max(finite))
        self.low = min(finite) - margin
        self._high = max(finite) + margin
        self._start = start
        self._length = length

        step = _tick_step(self._high - self.low, most, whole=whole)
        first = math.ceil(self.low / step)
        last = math.floor(self._high / step)
        self.ticks = [number * step for number in range(first, last + 1)]

    def at(self, value: float) -> float:
        """Return the coordinate of a value in pixels."""
        return self._start + (value - self.low) / (self._high - self.low) * self._length


def _margin(lowest: float, highest: float) -> float:
    """Return how far an axis extends beyond its values: 5% of their range.

    If all values are equal, it is 5% of the value or, for zero, 0.05.
    """
    return 0.05 * (highest - lowest) or 0.05 * abs(highest) or 0.05


def _tick_step(span: float, most: int, *, whole: bool) -> float:
    """Return the smallest round step with which a span has at most `most` steps.

    A round step is 1, 2, or 5 times a power of ten. For example, 0.2 for a span of 0.9 and at most
    6 steps.
    """
    power = 10.0 ** math.floor(math.log10(span / most))
    smallest = 1.0 if whole else 0.0
    steps = [max(power * factor, smallest) for factor in (1, 2, 5, 10, 20)]
    return next(step for step in steps if span / step <= most)


def svg_upright_text(x: float, y: float, text: str) -> str:
    """Return text that reads upwards and is centered at a point."""
    return svg_text(x, y, text, size=13, style=f' transform="rotate(-90 {x:.1f} {y:.1f})"')


def svg_circle(x: float, y: float, radius: float, style: str) -> str:
    """Return a circle; `style` contains attributes such as `fill="black"`."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {style}/>'


def svg_text(
    x: float, y: float, text: str, anchor: str = "middle", *, size: int = 12, style: str = ""
) -> str:
    """Return text at a point.

    Args:
        anchor: which part of the text is at the point: start, middle, or end.
        style: further attributes, each with a space before it.
    """
    escaped = html.escape(printable(text))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{style}>'
        f"{escaped}</text>"
    )


def svg_document(width: float, height: float, parts: Sequence[str]) -> str:
    """Return a document with a white background, in which later parts cover earlier ones."""
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([start, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"])
