"""Draws a picture of the validation images that a network misclassifies with the highest
confidence.

The picture is drawn without matplotlib, because the workers of a sweep draw it and do not import
matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from lenet_exp.amounts import number_of
from lenet_exp.data.images import TrainingData
from lenet_exp.data.normalization import unscale
from lenet_exp.training.evaluate import predict_logits

MOST = 25
COLUMNS = 5
SIDE = 128  # height and width in pixels of an enlarged image
TILE = 190  # width in pixels of a tile, which consists of an image and its caption
# Sizes in pixels: margin around the picture, gap between rows, height of a caption line, height of
# the title.
MARGIN, GAP, LINE, TITLE = 16, 18, 19, 42
PAPER, INK, TRUTH, WRONG = "#ffffff", "#111827", "#4b5563", "#b91c1c"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Misclassified:
    """A misclassified validation image.

    Attributes:
        index: index of the image in the dataset's tensors.
        confidence: probability of the predicted class, greater than 0 and at most 1.
    """

    index: int
    truth: int
    said: int
    confidence: float


def find_mistakes(
    network: nn.Module, data: TrainingData, predictions: Tensor
) -> list[Misclassified]:
    """Return all misclassified validation images, highest confidence first.

    Confidences are computed only for misclassified images.

    Args:
        predictions: classes that the network predicted for the validation images, with shape
            (n_val,).
    """
    index, said = data.val_index, predictions.cpu()
    truth = data.labels[index].cpu()
    wrong = (said != truth).nonzero()[:, 0]
    logits = predict_logits(network, data.images[index[wrong.to(index.device)]])
    confidence = logits.softmax(1).gather(1, said[wrong, None])[:, 0]
    order = confidence.argsort(descending=True, stable=True)
    columns = (index.cpu()[wrong], truth[wrong], said[wrong], confidence)
    return [
        Misclassified(*row)
        for row in zip(*(column[order].tolist() for column in columns), strict=True)
    ]


def mistakes_picture(
    mistakes: Sequence[Misclassified], data: TrainingData, name: str
) -> bytes | None:
    """Draw up to 25 mistakes, five per row, with their true classes, predicted classes, and
    confidences.

    Args:
        mistakes: all mistakes, in the order in which to draw them. The title shows their number.
        name: name of the run, for the title.

    Returns:
        The picture as a PNG; None if there are no mistakes.
    """
    if not mistakes:
        return None
    shown, names = mistakes[:MOST], dict(enumerate(data.class_names))
    rows, step = -(-len(shown) // COLUMNS), SIDE + 6 + 2 * LINE + GAP
    size = (2 * MARGIN + COLUMNS * TILE, MARGIN + TITLE + rows * step)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    counted = f"{number_of(len(mistakes), 'mistake')} on {len(data.val_index):,} validation images"
    title = (
        f"{name}: {counted if len(mistakes) <= MOST else f'the {MOST} most confident of {counted}'}"
    )
    pen.text(
        (size[0] / 2, MARGIN),
        _fitting(title, size[0] - 2 * MARGIN, _font(15)),
        INK,
        _font(15),
        anchor="ma",
    )
    images = unscale(data.images[[m.index for m in shown]].cpu(), data.normalization)
    for i, (mistake, image) in enumerate(zip(shown, images, strict=True)):
        center, top = MARGIN + (i % COLUMNS + 0.5) * TILE, MARGIN + TITLE + i // COLUMNS * step
        sheet.paste(_enlarged(image), (round(center - SIDE / 2), top))
        truth, said = (
            names.get(label, f"output {label}") for label in (mistake.truth, mistake.said)
        )
        confidence = f", {mistake.confidence:.1%}"
        for line, (start, text, end, color) in enumerate(
            (("true ", truth, "", TRUTH), ("predicted ", said, confidence, WRONG))
        ):
            room = TILE - 8 - _font(13).getlength(start + end)
            caption = start + _fitting(text, room, _font(13)) + end
            pen.text((center, top + SIDE + 6 + line * LINE), caption, color, _font(13), anchor="ma")
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _enlarged(image: Tensor) -> Image.Image:
    """Convert an image with shape (channels, side, side) and values in [0, 1] to an enlarged
    picture.
    """
    pixels = (image * 255).round().to(torch.uint8)
    small = Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.movedim(0, 2)).numpy())
    return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _fitting(text: str, room: float, font: Font) -> str:
    """Truncate text to fit the available width, in pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


_font = cache(ImageFont.load_default)
