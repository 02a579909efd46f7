"""Separates the ink in a picture into drawings, each of which consists of strokes that belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lenet_exp.prediction.pictures.paper import Array, Mask

SURE, POSSIBLE = 0.55, 0.35  # minimum amount of ink: in at least one pixel of a stroke, and in all of its pixels
SPECK = 0.2  # groups smaller than this fraction of the largest group are specks


@dataclass(frozen=True)
class _Group:
    """Strokes that belong together, represented by their row and column ranges (ends excluded) and their labels."""

    top: int
    bottom: int
    left: int
    right: int
    labels: tuple[int, ...]

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def with_(self, other: _Group) -> _Group:
        return _Group(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
            labels=self.labels + other.labels,
        )


def find_drawings(amount: Array, several: bool) -> list[Mask]:
    """Return a mask for each drawing, in reading order; an empty list if there are no drawings.

    Args:
        amount: amount of ink, with shape (height, width).
        several: whether there may be several drawings. Otherwise, all ink is treated as a single drawing.
    """
    labels, groups = _strokes(amount)
    if not groups:
        return []
    if not several:
        return [np.isin(labels, [label for group in groups for label in group.labels])]
    groups = _merged(groups)
    return [np.isin(labels, group.labels) for group in _in_reading_order(groups)]


def _strokes(amount: Array) -> tuple[np.ndarray, list[_Group]]:
    possible = amount > POSSIBLE
    labels, count = ndimage.label(possible, np.ones((3, 3)))
    if not count:
        return labels, []
    surest = ndimage.maximum(amount, labels, np.arange(1, count + 1))
    boxes = ndimage.find_objects(labels)
    found = [
        _Group(rows.start, rows.stop, columns.start, columns.stop, labels=(number,))
        for number, ((rows, columns), most) in enumerate(zip(boxes, surest, strict=True), 1)
        if most > SURE
    ]
    if len(found) > 1:  # drop a table's edge or part of a shadow
        inner = [g for g in found if not _frames(g, amount.shape)]
        found = inner or found
    side = max((max(g.height, g.width) for g in found), default=0)
    return labels, [g for g in found if max(g.height, g.width) >= max(SPECK * side, 2)]


def _frames(box: _Group, shape: tuple[int, ...]) -> bool:
    """Return whether a group extends along most of an edge of the picture."""
    height, width = shape
    along = (box.left == 0 or box.right == width) and box.height > 0.6 * height
    return along or ((box.top == 0 or box.bottom == height) and box.width > 0.6 * width)


def _merged(groups: list[_Group]) -> list[_Group]:
    """Merge pieces of the same drawing: pieces above each other, and small pieces next to a larger piece."""
    while True:
        tallest = max(g.height for g in groups)
        pairs = [
            (_apart(a, b), i, j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups[:i])
            if _belong(a, b, tallest)
        ]
        if not pairs:
            break
        _, i, j = min(pairs)
        groups = [g for n, g in enumerate(groups) if n not in (i, j)] + [groups[i].with_(groups[j])]
    return [g for g in groups if g.height >= 0.4 * tallest]  # remaining small groups are dashes or dots


def _belong(a: _Group, b: _Group, tallest: int) -> bool:
    small, large = sorted((a, b), key=lambda box: box.height)
    overlap = min(a.right, b.right) - max(a.left, b.left)
    above = max(a.top, b.top) - min(a.bottom, b.bottom)
    if small.height < 0.5 * tallest:  # part of a digit, such as the bar of a 5 or the stem of a 4
        near = 0.3 if overlap > 0 else 0.15
        return max(above, -overlap) < near * large.height
    return overlap >= 0.5 * min(a.width, b.width) and above < 0.25 * small.height


def _apart(a: _Group, b: _Group) -> float:
    across = max(0, max(a.left, b.left) - min(a.right, b.right))
    down = max(0, max(a.top, b.top) - min(a.bottom, b.bottom))
    return float(np.hypot(across, down))


def _in_reading_order(groups: list[_Group]) -> list[_Group]:
    """Sort groups row by row. A group belongs to a row if its vertical center is within the row."""
    rows: list[list[_Group]] = []
    for group in sorted(groups, key=lambda g: g.top + g.bottom):
        middle = (group.top + group.bottom) / 2
        for row in rows:
            if min(g.top for g in row) <= middle <= max(g.bottom for g in row):
                row.append(group)
                break
        else:
            rows.append([group])
    return [g for row in rows for g in sorted(row, key=lambda g: g.left)]
