"""Draws a picture of the validation images that a network misclassifies with the highest
confidence.

The picture is drawn without matplotlib, because the workers of a sweep draw it and do not import
matplotlib.
"""

from __future__ import annotations

import io
import math
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

# Maximum number of images in the picture, and number of images in a row.
MOST = 25
COLUMNS = 5

# Sizes in pixels. An enlarged image is a square. A tile consists of an image and its caption, which
# has two lines.
SIDE = 128  # of an enlarged image
TILE = 190  # width of a tile
MARGIN = 16  # around the picture
TITLE = 42  # height of the title
LINE = 19  # height of a line of a caption
GAP = 18  # between rows
CAPTION_TOP = SIDE + 6  # from the top of a tile to its caption
ROW = CAPTION_TOP + 2 * LINE + GAP  # from the top of a row to the top of the next row

PAPER = "#ffffff"
INK = "#111827"
TRUTH = "#4b5563"
WRONG = "#b91c1c"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Misclassified:
    """A misclassified validation image.

    Attributes:
        index: index of the image in the dataset's tensors.
        truth: label of the true class.
        prediction: label of the predicted class.
        confidence: probability of the predicted class, greater than 0 and at most 1.
    """

    index: int
    truth: int
    prediction: int
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
    predictions = predictions.cpu()
    truth = data.labels[data.val_index].cpu()

    # Positions of the mistakes among the validation images. All further tensors have its shape,
    # (n_mistakes,).
    wrong = (predictions != truth).nonzero()[:, 0]
    truth = truth[wrong]
    predictions = predictions[wrong]
    index = data.val_index[wrong.to(data.val_index.device)]

    logits = predict_logits(network, data.images[index])
    confidence = logits.softmax(1).gather(1, predictions[:, None])[:, 0]
    order = confidence.argsort(descending=True, stable=True)

    rows = zip(
        index.cpu()[order].tolist(),
        truth[order].tolist(),
        predictions[order].tolist(),
        confidence[order].tolist(),
        strict=True,
    )
    return [Misclassified(*row) for row in rows]


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

    drawn = mistakes[:MOST]
    rows = math.ceil(len(drawn) / COLUMNS)
    width = 2 * MARGIN + COLUMNS * TILE
    height = MARGIN + TITLE + rows * ROW
    sheet = Image.new("RGB", (width, height), PAPER)
    _draw_title(sheet, _title(len(mistakes), data, name))

    indices = [mistake.index for mistake in drawn]
    images = unscale(data.images[indices].cpu(), data.normalization)
    for position, (mistake, image) in enumerate(zip(drawn, images, strict=True)):
        row, column = divmod(position, COLUMNS)
        center = MARGIN + (column + 0.5) * TILE
        top = MARGIN + TITLE + row * ROW
        sheet.paste(_enlarged(image), (round(center - SIDE / 2), top))
        _draw_caption(sheet, mistake, data.class_names, at=(center, top + CAPTION_TOP))

    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return content.getvalue()


def _title(number: int, data: TrainingData, name: str) -> str:
    """Return the title: `digits selu: 17 mistakes on 360 validation images`."""
    counted = f"{number_of(number, 'mistake')} on {len(data.val_index):,} validation images"
    if number > MOST:
        counted = f"the {MOST} most confident of {counted}"
    return f"{name}: {counted}"


def _draw_title(sheet: Image.Image, title: str) -> None:
    font = _font(15)
    text = _fitting(title, sheet.width - 2 * MARGIN, font)
    pen = ImageDraw.Draw(sheet)
    pen.text((sheet.width / 2, MARGIN), text, INK, font, anchor="ma")


def _draw_caption(
    sheet: Image.Image,
    mistake: Misclassified,
    class_names: Sequence[str],
    *,
    at: tuple[float, float],
) -> None:
    """Draw the true class and, below, the predicted class with its confidence.

    Args:
        at: the middle of the caption's upper edge, in pixels.
    """
    truth = _class_name(mistake.truth, class_names)
    prediction = _class_name(mistake.prediction, class_names)
    true_line = _caption_line("true ", truth)
    predicted_line = _caption_line("predicted ", prediction, f", {mistake.confidence:.1%}")

    x, y = at
    pen = ImageDraw.Draw(sheet)
    pen.text((x, y), true_line, TRUTH, _font(13), anchor="ma")
    pen.text((x, y + LINE), predicted_line, WRONG, _font(13), anchor="ma")


def _class_name(label: int, class_names: Sequence[str]) -> str:
    """Return the name of a class; a network can have more outputs than a dataset has classes."""
    if label < len(class_names):
        return class_names[label]
    return f"output {label}"


def _caption_line(start: str, class_name: str, end: str = "") -> str:
    """Return a line of a caption, with the class name truncated if the tile is too narrow."""
    font = _font(13)
    room = TILE - 8 - font.getlength(start + end)
    return start + _fitting(class_name, room, font) + end


def _enlarged(image: Tensor) -> Image.Image:
    """Convert an image with shape (channels, side, side) and values in [0, 1] to an enlarged
    picture.
    """
    pixels = (image * 255).round().to(torch.uint8)
    is_gray = len(pixels) == 1
    # Pillow expects the colors of an image as its last dimension.
    pixels = pixels[0] if is_gray else pixels.movedim(0, 2)
    picture = Image.fromarray(pixels.numpy())
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _fitting(text: str, room: float, font: Font) -> str:
    """Truncate text to fit the available width, in pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


@cache
def _font(size: float) -> Font:
    return ImageFont.load_default(size)
