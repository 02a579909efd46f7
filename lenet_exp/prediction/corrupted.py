"""Evaluates a model on corrupted copies of the test set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lenet_exp.config.schema import Dataset
from lenet_exp.data.readers import RawImages
from lenet_exp.errors import ConfigError
from lenet_exp.prediction.corruptions import CORRUPTIONS, SIZE, corrupt
from lenet_exp.prediction.pictures.seen import seen_figure
from lenet_exp.prediction.score import TestOutputs, logits_of
from lenet_exp.reports.terminal.plain import PlainTable
from lenet_exp.tracking.models.load import TrainedModel
from lenet_exp.training.score import Score

WHITE = 255

log = logging.getLogger("lenet_exp")


def score_corrupted(
    model: TrainedModel, outputs: TestOutputs, digest: str, batch_size: int, device: torch.device
) -> dict[str, float]:
    """Return the accuracy of a model on the test set with each corruption, by the name of the corruption.

    Args:
        outputs: the model's outputs for the uncorrupted test set.
        digest: digest of the test set; corrupted images with the same digest are made only once.
    """
    raw = outputs.raw
    log.info("%s: evaluating on %d corrupted copies of the test set ...", model.name, len(CORRUPTIONS))
    found = {}
    for name in CORRUPTIONS:
        images = _corrupted(_TestImages(digest, raw), name)
        predictions = logits_of(model, images, raw.white, batch_size, device=device).argmax(1)
        found[name] = int((predictions == raw.labels).sum()) / len(raw.labels)
    return found


def check_images(dataset: Dataset, raw: RawImages) -> None:
    """Check that a test set can be corrupted.

    Raises:
        ConfigError: the images are not gray images of 28x28 pixels.
    """
    shape, white = tuple(raw.images.shape[1:]), raw.white
    if (shape, white) != ((SIZE, SIZE), WHITE):
        raise ConfigError(
            f"corrupted=true: the images of dataset={dataset.name} are {'x'.join(map(str, shape))} with values "
            f"up to {white}; they must be gray, {SIZE}x{SIZE} pixels, with values up to {WHITE}"
        )


def corruptions_figure(outputs: TestOutputs, score: Score, digest: str) -> Figure:
    """Return a figure of the first test image and its corrupted copies, each with the accuracy on all images."""
    shown = [(outputs.raw.images[0], f"no corruption\n{score.accuracy:.2%}")]
    shown += [
        (_corrupted(_TestImages(digest, outputs.raw), name)[0], f"{name}\n{accuracy:.2%}")
        for name, accuracy in score.corrupted.items()
    ]
    return seen_figure(shown)


def corruptions_table(clean: float, accuracies: Mapping[str, float]) -> PlainTable:
    """Return a table of the accuracy with each corruption and its difference from the accuracy without corruption."""
    table = PlainTable()
    table.add_column("corruption")
    for title in ("accuracy", "difference"):
        table.add_column(title, justify="right")
    mean = sum(accuracies.values()) / len(accuracies)
    for name, accuracy in {**accuracies, f"mean over {len(accuracies)} corruptions": mean}.items():
        table.add_row(name, f"{accuracy:.4f}", f"{accuracy - clean:+.4f}")
    return table


@dataclass(frozen=True)
class _TestImages:
    """A test set. Two test sets are equal if their digests are."""

    digest: str
    raw: RawImages = field(compare=False)


@lru_cache(maxsize=len(CORRUPTIONS))  # 118 MB for MNIST; the seeds of a sweep share the images
def _corrupted(images: _TestImages, name: str) -> Tensor:
    return corrupt(images.raw.images, name)
