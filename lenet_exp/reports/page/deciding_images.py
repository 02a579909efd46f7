"""Shows the validation images that decide between the two best configurations."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
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

# Maximum number of images that are shown.
MOST = 10


def deciding_images(comparison: Comparison) -> str:
    """Return HTML with the validation images on which the leader and the next configuration differ
    most often, and how often each is right.

    Return an empty string if the images or the runs' results for them are not available.
    """
    leader = comparison.leader
    if leader is None:
        return ""
    record = leader.finished[0].provenance
    other = _next_configuration(comparison)
    if other is None or not isinstance(record, Record):
        return ""

    from lenet_exp.data.images import validation_images  # imports torch, which takes a second

    digest = record.data_digests.get("validation", "")
    try:
        raw = validation_images(record.config, digest)
        right_of_leader = _right(leader, digest, len(raw.labels))
        right_of_other = _right(other, digest, len(raw.labels))
    except UserError:
        return ""

    replicates = sorted(right_of_leader.keys() & right_of_other.keys())
    if len(replicates) < 2:
        return ""
    leader_counts = _right_counts(right_of_leader, replicates)
    other_counts = _right_counts(right_of_other, replicates)
    indices = _most_different(leader_counts, other_counts)
    if not indices:
        return ""

    class_names = record.config.dataset.class_names or []
    figures = []
    for i in indices:
        label = int(raw.labels[i])
        name = class_names[label] if label < len(class_names) else str(label)
        scale = 255 // raw.white
        counts = f"{leader_counts[i]} vs. {other_counts[i]}"
        figures.append(_figure(raw.images[i] * scale, name, counts))

    names = f"{escape(comparison.name(leader))} and {escape(comparison.name(other))}"
    explanation = (
        f"True class, and how many runs are right, of {len(replicates)} each, "
        "with the weights of their models."
    )
    return (
        f"<details open><summary>Validation images on which {names} differ most</summary>"
        f'<p class="small">{explanation}</p>'
        f'<div class="images">{"".join(figures)}</div></details>'
    )


def _next_configuration(comparison: Comparison) -> Group | None:
    """Return the best configuration that is compared with the leader; None if there is none."""
    for group, lead in zip(comparison.groups, comparison.leads, strict=True):
        if lead is not None:
            return group
    return None


def _right(group: Group, digest: str, images: int) -> Right:
    """Return which validation images each run classifies correctly.

    Runs whose results are unknown, or are about other images, are left out.

    Args:
        digest: digest of the images.
        images: number of images.
    """
    right_of_replicate: dict[Replicate, NDArray[np.bool_]] = {}
    for run in group.finished:
        record = run.provenance
        if not isinstance(record, Record) or record.best_right is None:
            continue
        right = unpacked(record.best_right)
        if record.data_digests.get("validation") == digest and len(right) == images:
            right_of_replicate[run.replicate] = right
    return right_of_replicate


def _right_counts(right_of_replicate: Right, replicates: Sequence[Replicate]) -> NDArray[np.int64]:
    """Return how many of the replicates classify each image correctly, with shape (images,)."""
    is_right = [right_of_replicate[replicate] for replicate in replicates]
    counts: NDArray[np.int64] = np.sum(is_right, axis=0)
    return counts


def _most_different(leader_counts: NDArray[np.int64], other_counts: NDArray[np.int64]) -> list[int]:
    """Return the indices of the images on which two configurations differ, largest difference
    first.

    Args:
        leader_counts, other_counts: number of runs that classify each image correctly, with shape
            (images,).
    """
    differences = np.abs(leader_counts - other_counts)
    largest_first = np.argsort(-differences, kind="stable")[:MOST]
    return [int(i) for i in largest_first if differences[i]]


def _figure(image: Tensor, class_name: str, counts: str) -> str:
    """Return an image with its class and the counts of runs as a caption."""
    name = escape(class_name)
    return (
        f'<figure><img src="{_png(image)}" alt="{name}" width="84" height="84">'
        f"<figcaption>{name}<br>{counts}</figcaption></figure>"
    )


def _png(image: Tensor) -> str:
    """Return an image with shape (height, width) or (3, height, width) and pixels in [0, 255] as a
    data address.
    """
    from PIL import Image

    is_gray = image.ndim == 2
    # Pillow expects the colors of an image as its last dimension.
    pixels = image if is_gray else image.movedim(0, 2)
    content = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
