"""Shows the validation images that decide between the two best configurations."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.images import Right
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.errors import UserError
from lenet_exp.folders.records import Record
from lenet_exp.training.score import unpacked

if TYPE_CHECKING:
    from torch import Tensor

MOST = 10


def deciding_images(comparison: Comparison) -> str:
    """Return HTML with the validation images on which the leader and the next configuration differ
    most often, and how often each is right.

    Return an empty string if the images or the runs' results for them are not available.
    """
    leads = zip(comparison.groups, comparison.leads, strict=True)
    other = next((group for group, lead in leads if lead is not None), None)
    record = comparison.leader.finished[0].provenance if comparison.leader is not None else None
    if comparison.leader is None or other is None or not isinstance(record, Record):
        return ""
    digest, two = record.data_digests.get("validation", ""), (comparison.leader, other)
    from lenet_exp.data.images import validation_images  # imports torch, which takes a second

    try:
        raw = validation_images(record.config, digest)
        found = [_right(group, digest, len(raw.labels)) for group in two]
    except UserError:
        return ""
    common = sorted(found[0].keys() & found[1].keys())
    counts = [np.sum([right[key] for key in common], axis=0) for right in found]
    apart = np.abs(counts[0] - counts[1])
    chosen = [
        int(i) for i in np.argsort(-apart, kind="stable")[:MOST] if len(common) > 1 and apart[i]
    ]
    if not chosen:
        return ""
    names = record.config.dataset.class_names or []
    figures = []
    for i in chosen:
        label, said = int(raw.labels[i]), f"{counts[0][i]} vs. {counts[1][i]}"
        name = escape(names[label] if label < len(names) else str(label))
        image = f'<img src="{_png(raw.images[i] * (255 // raw.white))}" alt="{name}" width="84" height="84">'
        figures.append(f"<figure>{image}<figcaption>{name}<br>{said}</figcaption></figure>")
    first, second = (escape(comparison.name(group)) for group in two)
    how = f"True class, and how many runs are right, of {len(common)} each, with the weights of their models."
    return (
        f"<details open><summary>Validation images on which {first} and {second} differ most</summary>"
        f'<p class="small">{how}</p><div class="images">{"".join(figures)}</div></details>'
    )


def _right(group: Group, digest: str, images: int) -> Right:
    """Return which validation images the runs classify correctly, if these are the images with the
    digest.
    """
    found: dict[Replicate, NDArray[np.bool_]] = {}
    for run in group.finished:
        record = run.provenance
        if not isinstance(record, Record) or record.best_right is None:
            continue
        right = unpacked(record.best_right)
        if record.data_digests.get("validation") == digest and len(right) == images:
            found[run.replicate] = right
    return found


def _png(image: Tensor) -> str:
    """Return an image with shape (height, width) or (3, height, width) and pixels in [0, 255] as a
    data address.
    """
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray((image if image.ndim == 2 else image.movedim(0, 2)).numpy()).save(
        content, "PNG"
    )
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
