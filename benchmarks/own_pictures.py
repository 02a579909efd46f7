"""Measure the accuracy on simulated photographs of digits, for each type of difficulty.

Use the results to tune how pictures are prepared for the network.

    python -m benchmarks.own_pictures                  # classify 40 pictures of each type with the bundled MNIST model
    python -m benchmarks.own_pictures --keep FOLDER    # also save the pictures, with the network's input for mistakes

The digits are handwritten (enlarged validation images from MNIST) or printed (fonts DejaVu and cmss10). The
pictures in tests/prediction/photographs.py, which test the preparation, share no fonts, strokes, or code with these.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, zoom

from lenet_exp.api import compose
from lenet_exp.config.schema import Dataset
from lenet_exp.data.images import load_training_data
from lenet_exp.errors import DataError
from lenet_exp.prediction.pictures.classify import Picture, classify, read_picture
from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.models.shipped import shipped_file

FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "cmss10.ttf")
KINDS = ("plain", "ruled", "uneven light", "colored ink", "turned", "all of it")
Pixels = np.ndarray


def handwriting(data_root: str) -> tuple[Pixels, Pixels]:
    """Return validation images from MNIST (n, 32, 32) in [0, 1], and their labels."""
    config = compose(["dataset=mnist", f"data_root={data_root}", "engine=torch"])
    data = load_training_data(config, torch.device("cpu"))
    index = data.val_index[:2000]
    images = data.images[index, 0].numpy() / 2 + 0.5
    # The margins of the images are cropped later.
    return images, data.labels[index].numpy()


def glyph(digit: int, written: Pixels | None, tall: int, degrees: float, draws: np.random.Generator) -> Pixels:
    """Draw a digit and crop it to its ink.

    Args:
        written: handwritten image of the digit; None for a printed digit.
        tall: height of the digit in pixels, before it is rotated.
        degrees: angle by which the digit is rotated.

    Returns:
        The ink (height, width), from 0 (none) to 1.
    """
    if written is not None:
        rows, columns = np.nonzero(written.max(1) > 0.4)[0], np.nonzero(written.max(0) > 0.4)[0]
        cut = np.pad(written[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 2)
        large = zoom(cut, tall / len(rows), order=3)
        sheet = Image.fromarray((255 / (1 + np.exp(-18 * (large - 0.45)))).astype(np.uint8))
    else:
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / str(draws.choice(FONTS))
        sheet = Image.new("L", (2 * tall, 2 * tall))
        ImageDraw.Draw(sheet).text(
            (tall, tall), str(digit), fill=255, font=ImageFont.truetype(str(path), int(1.35 * tall)), anchor="mm"
        )
    turned = sheet.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    box = turned.point(lambda v: 255 * (v > 60)).getbbox()
    return np.asarray(turned.crop(box), dtype=np.float64) / 255


def photograph(kind: str, number: int, images: Pixels, labels: Pixels) -> tuple[Image.Image, int]:
    """Return a simulated photograph (RGB) of a certain type and the digit in it."""
    draws = np.random.default_rng([77, KINDS.index(kind), number])
    everything = kind == "all of it"
    width, height = [(480, 640), (800, 600), (1000, 700), (400, 400)][number % 4]
    tall = int(min(height * draws.uniform(0.25, 0.6), 0.62 * width))
    turn = 15.0 if kind == "turned" or everything else 3.0
    printed, degrees = number % 3 == 2, float(draws.uniform(-turn, turn))
    chosen = int(draws.integers(len(labels)))
    digit = int(labels[chosen])
    mark = glyph(digit, None if printed else images[chosen], tall, degrees, draws)
    left = int(draws.integers(8, max(9, width - mark.shape[1] - 8)))
    top = int(draws.integers(8, max(9, height - mark.shape[0] - 8)))
    mark = mark[:, : width - left]
    ink = np.zeros((height, width))
    ink[top : top + mark.shape[0], left : left + mark.shape[1]] = mark
    paper, pen = draws.uniform(215, 255) * np.ones(3), draws.uniform(0, 70, 3)
    if kind == "colored ink" or everything:
        hue = draws.uniform(0, 2 * np.pi)
        tint = np.cos(hue + np.array([0, 2.1, 4.2]))
        paper = draws.uniform(110, 215) + 35 * tint * draws.uniform(0.2, 1)
        pen = paper.mean() + draws.uniform(-60, 0) - 90 * tint
        if number % 5 == 0:  # chalk
            paper, pen = draws.uniform(20, 70, 3), draws.uniform(180, 250) - 40 * (1 + tint)
    scene = np.tile(paper.clip(0, 255), (height, width, 1))
    if kind == "ruled" or everything:
        rule(scene, number, draws)
    scene += ink.clip(0, 1)[..., None] * draws.uniform(0.75, 1) * (pen.clip(0, 255) - scene)
    y, x = np.mgrid[:height, :width] / max(height, width)
    if kind == "uneven light" or everything:
        corner = draws.uniform(0, 1, 2)
        far = np.hypot(y - corner[0], x - corner[1])
        scene *= (1.05 - draws.uniform(0.3, 0.65) * far)[..., None]
        if number % 2:
            inside = (np.hypot(y - draws.uniform(), x - draws.uniform()) < draws.uniform(0.3, 0.6)).astype(float)
            scene *= 1 - draws.uniform(0.2, 0.45) * gaussian_filter(inside, draws.uniform(4, 40))[..., None]
    scene = gaussian_filter(scene, (draws.uniform(0.3, 1.8),) * 2 + (0,))
    scene += draws.normal(0, draws.uniform(0, 7), scene.shape)
    return Image.fromarray(scene.clip(0, 255).astype(np.uint8)), digit


def rule(scene: Pixels, number: int, draws: np.random.Generator) -> None:
    """Draw ruled lines or squares into a picture, in a color between that of the paper and that of its shadow."""
    height, width, _ = scene.shape
    apart, thick = int(draws.uniform(0.05, 0.16) * height), int(draws.integers(1, 5))
    shade = scene[0, 0] * draws.uniform(0.5, 0.85, 3)
    lines = Image.new("L", (width, height))
    pen, slope = ImageDraw.Draw(lines), np.tan(np.radians(draws.uniform(-5, 5)))
    for at in range(-height, 2 * height, apart):
        pen.line([(0, at), (width, at + slope * width)], fill=255, width=thick)
        if number % 2:
            pen.line([(at, 0), (at - slope * height, height)], fill=255, width=thick)
            pen.line([(at + height, 0), (at + height - slope * height, height)], fill=255, width=thick)
    scene += (np.asarray(lines) / 255)[..., None] * (shade - scene)


def _read(path: Path, dataset: Dataset) -> list[Picture]:
    """Return the picture, or an empty list if no digit was found."""
    try:
        return [read_picture(path, dataset)]
    except DataError:
        return []


def main() -> None:
    """Classify the pictures and print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="pictures of a kind")
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    images, labels = handwriting(os.environ.get("LENET_EXP_DATA", "data"))
    dataset = compose(["dataset=mnist"]).dataset
    shipped = shipped_file("mnist")
    assert shipped is not None
    model = load_file(shipped)
    right: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        keep = arguments.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        for kind in arguments.kinds:
            for number in range(arguments.count):
                picture, digit = photograph(kind, number, images, labels)
                path = keep / f"{kind.replace(' ', '_')}_{number:02d}_{digit}.jpg"
                picture.save(path, quality=85)
                answers = classify(model, found) if (found := _read(path, dataset)) else []
                said = [a.label for a in answers]
                right[kind] += said == [digit]
                for answer in answers if said != [digit] else ():
                    saw = Image.fromarray(answer.picture.frame.numpy()).resize((140, 140), 0)
                    saw.save(path.with_suffix(f".said_{answer.label}.png"))
                if said != [digit]:
                    print(f"{path.name}: {said or 'no digit'}")
            print(f"{kind}: {right[kind]} of {arguments.count}")
    print(f"all: {sum(right.values())} of {arguments.count * len(arguments.kinds)}")


if __name__ == "__main__":
    main()
