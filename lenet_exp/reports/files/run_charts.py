"""Charts of a run as SVG: learning curves and confusion matrices.

Writing SVG takes about a millisecond, whereas a matplotlib figure takes 0.2 s, almost as long as
training a small network. A viewer uses its own fonts, so class names can be in any script.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence

from lenet_exp.config.metric import Metric
from lenet_exp.errors import printable
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.score import named_matrix

ACCURACY = Metric()
TRAIN, VALIDATION = "#6b7280", "#2563eb"
PANEL = 368, 254  # width and height of a chart in pixels
MOST_MARKERS = 30  # maximum number of epochs that are drawn as points
MOST_COUNTS = 20  # maximum number of classes in a confusion matrix with numbers
MOST_NAMES = 64  # maximum number of names on an axis
LONGEST_NAME = 16  # maximum number of characters of a class name on an axis
DARKEST = 153, 16, 32  # color of the largest fraction: red, green, blue


def curves_svg(epochs: Sequence[EpochResult], title: str, metric: Metric = ACCURACY) -> str:
    """Return a chart of the training and validation loss and accuracy versus epoch, with the best
    epoch marked.
    """
    x = [e.epoch for e in epochs]
    best = max(epochs, key=lambda e: (metric.sign * e.value, -e.epoch))
    parts = [_text(450, 22, title, size=15)]
    for left, what, unit in ((62, "loss", 1), (514, "accuracy", 100)):
        lines = {
            part: [unit * getattr(e, f"{part}_{what}") for e in epochs] for part in ("train", "val")
        }
        xs = _Axis(x, left, PANEL[0], most=8, whole=True)
        ys = _Axis([v for line in lines.values() for v in line], 56 + PANEL[1], -PANEL[1], most=6)
        parts += _grid(xs, ys, what, "%" if unit > 1 else "")
        for (_, line), color in zip(lines.items(), (TRAIN, VALIDATION), strict=True):
            points = [
                (xs.at(e), ys.at(v)) for e, v in zip(x, line, strict=True) if math.isfinite(v)
            ]
            path = " ".join(f"{at_x:.1f},{at_y:.1f}" for at_x, at_y in points)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'
            )
            if len(points) < MOST_MARKERS:
                parts += [_circle(*point, 2.5, f'fill="{color}"') for point in points]
    marked = f'fill="none" stroke="{VALIDATION}"'
    parts.append(_circle(xs.at(best.epoch), ys.at(100 * best.val_accuracy), 5, marked))
    parts.append(
        _text(
            514 + PANEL[0] / 2, 46, f"best {metric.text(best.value)}, epoch {best.epoch}", size=13
        )
    )
    for at, name, color in (
        (90, "training (running mean)", TRAIN),
        (290, "validation", VALIDATION),
    ):
        parts.append(
            f'<path d="M{at - 28} 42h22" stroke="{color}" stroke-width="2"/>'
            + _text(at, 46, name, "start")
        )
    return _svg(900, 360, parts)


def confusion_svg(
    counts: list[list[int]], class_names: Sequence[str], title: str, part: str = "validation"
) -> str:
    """Return a chart of a confusion matrix, with counts as text if there are at most 20 classes.

    Only errors are colored, because the diagonal would dominate the color scale.

    Args:
        part: name of the dataset split, for the title.
    """
    names, counts = named_matrix(counts, class_names)
    shares = [
        [0.0 if i == j else n / max(sum(row), 1) for j, n in enumerate(row)]
        for i, row in enumerate(counts)
    ]
    top, many = max(map(max, shares)) or 0.01, len(names) > MOST_COUNTS
    shown = [
        (i, f"{names[i]:.{LONGEST_NAME}}")
        for i in range(0, len(names), -(-len(names) // MOST_NAMES))
    ]
    angle = 90 if many else 45 if any(len(name) > 2 for _, name in shown) else 0
    side, left, up = 640 if many else 430, 130 if angle else 60, 44
    cell, right, low = side / len(names), left + side, up + side
    parts = [_text((left + right) / 2, 24, f"{title}: {part}", size=15)]
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            x, y, shade = left + j * cell, up + i * cell, shares[i][j] / top
            if shade:
                fill = ",".join(str(round(255 + (c - 255) * shade)) for c in DARKEST)
                parts.append(
                    f'<path d="M{x:.1f} {y:.1f}h{cell:.1f}v{cell:.1f}h-{cell:.1f}z" fill="rgb({fill})"/>'
                )
            if n and not many:
                style = ' font-weight="bold"' if i == j else ' fill="white"' if shade > 0.5 else ""
                parts.append(_text(x + cell / 2, y + cell / 2 + 4, str(n), style=style))
    for i, name in shown:
        at, size = (i + 0.5) * cell, 9 if many else 12
        parts.append(_text(left - 6, up + at + size / 3, name, "end", size=size))
        x, y = left + at, low + 16 - angle / 10
        turned = f' transform="rotate(-{angle} {x:.1f} {y:.1f})"' if angle else ""
        parts.append(_text(x, y, name, "end" if angle else "middle", size=size, style=turned))
    parts.append(
        f'<rect x="{left}" y="{up}" width="{side}" height="{side}" fill="none" stroke="black"/>'
    )
    bottom = low + (100 if angle else 24)
    parts.append(
        _text((left + right) / 2, bottom + 14, "predicted", size=13)
        + _upright(18, (up + low) / 2, "true")
    )
    scale = "".join(
        f'<stop offset="{at}" stop-color="{color}"/>'
        for at, color in ((0, f"rgb{DARKEST}"), (1, "white"))
    )
    parts.append(f'<linearGradient id="scale" x2="0" y2="1">{scale}</linearGradient>')
    parts.append(
        f'<rect x="{right + 24}" y="{up}" width="16" height="{side}" fill="url(#scale)" stroke="{TRAIN}"/>'
    )
    for share, y in ((top, up + 5), (top / 2, up + side / 2 + 5), (0.0, low + 5)):
        parts.append(_text(right + 46, y, f"{share:.{1 if top < 0.1 else 0}%}", "start"))
    return _svg(
        right + 110,
        bottom + 26,
        [*parts, _upright(right + 100, (up + low) / 2, "fraction of the true class")],
    )


class _Axis:
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
        finite = list(filter(math.isfinite, values)) or [0.0]
        margin = 0.05 * (max(finite) - min(finite)) or 0.05 * abs(max(finite)) or 0.05
        self.low, self._high = min(finite) - margin, max(finite) + margin
        self._start, self._length = start, length
        power = 10.0 ** math.floor(math.log10((self._high - self.low) / most))
        steps = (max(power * factor, float(whole)) for factor in (1, 2, 5, 10, 20))
        step = next(step for step in steps if (self._high - self.low) / step <= most)
        self.ticks = [
            n * step for n in range(math.ceil(self.low / step), math.floor(self._high / step) + 1)
        ]

    def at(self, value: float) -> float:
        """Return the coordinate of a value in pixels."""
        return self._start + (value - self.low) / (self._high - self.low) * self._length


def _grid(x: _Axis, y: _Axis, label: str, unit: str) -> Iterator[str]:
    left, low, (width, height) = x.at(x.low), y.at(y.low), PANEL
    for tick in x.ticks:
        yield f'<path d="M{x.at(tick):.1f} {low:.1f}v{-height}" stroke="#e5e7eb"/>'
        yield _text(x.at(tick), low + 18, f"{tick:.6g}")
    for tick in y.ticks:
        yield f'<path d="M{left:.1f} {y.at(tick):.1f}h{width}" stroke="#e5e7eb"/>'
        yield _text(left - 6, y.at(tick) + 4, f"{tick:.6g}{unit}", "end")
    yield f'<path d="M{left:.1f} {low - height:.1f}v{height}h{width}" fill="none" stroke="black"/>'
    yield _text(left + width / 2, low + 40, "epoch", size=13)
    yield _upright(left - 48, low - height / 2, label)


def _upright(x: float, y: float, text: str) -> str:
    return _text(x, y, text, size=13, style=f' transform="rotate(-90 {x:.1f} {y:.1f})"')


def _circle(x: float, y: float, radius: float, style: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {style}/>'


def _text(
    x: float, y: float, text: str, anchor: str = "middle", *, size: int = 12, style: str = ""
) -> str:
    escaped = html.escape(printable(text))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{style}>{escaped}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([start, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"])
