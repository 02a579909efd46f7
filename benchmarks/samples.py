"""Create the sample files that commands in the documentation use: pictures, a dataset, and a model.

`python -m benchmarks.samples` always writes the same files to ./samples and downloads nothing.

    samples/seven.png       the digit 7, dark on light
    samples/my scan.jpg     the digit 4 in chalk, light on dark
    samples/set             a custom dataset with a folder of pictures for each class: circle,
                            cross, square
    samples/colors          a custom dataset in color with 20 classes, such as red_circle and
                            blue_square
    samples/ancestor.pkl    the bundled MNIST model, in the format of the original argparse script

To train on the datasets, run

    lenet-train dataset=folder data_root=samples dataset.folder=set dataset.val_size=30
        batch_size=10 num_epoch=10
    lenet-train dataset=folder data_root=samples dataset.folder=colors dataset.name=colors
        dataset.channels=3 dataset.val_size=200 dataset.stratified=true batch_size=20 num_epoch=5
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw
from torch import nn

from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.models.shipped import shipped_file
from tests.prediction.drawn import STYLES, draw
from tests.training.trained.argparse_script import LeNet5, save

FOLDER = Path("samples")
CLASSES = ("circle", "cross", "square")
COLORS = ("red", "green", "blue", "yellow", "white")
COLOR_CLASSES = [f"{color}_{name}" for color in COLORS for name in (*CLASSES, "line")]
IMAGES = {"train": 40, "test": 10}  # number of images per class
SIDE = 28


def main() -> None:
    """Write all sample files and print their paths."""
    FOLDER.mkdir(exist_ok=True)
    written = [
        draw(7, STYLES["black on white"], FOLDER / "seven"),
        draw(4, STYLES["chalk"], FOLDER / "my scan"),
        own_set(FOLDER / "set"),
        own_set(FOLDER / "colors", COLOR_CLASSES),
        ancestors(FOLDER / "ancestor.pkl"),
    ]
    print("written:", ", ".join(map(str, written)))


def own_set(folder: Path, classes: Sequence[str] = CLASSES) -> Path:
    """Create a dataset of pictures <folder>/<part>/<class>/*.png, light on dark, and return its
    folder.
    """
    draws = np.random.default_rng(28)
    for part, images in IMAGES.items():
        for name in classes:
            class_folder = folder / part / name
            class_folder.mkdir(parents=True, exist_ok=True)
            for number in range(images):
                shape(name, draws).save(class_folder / f"{number:02}.png")
    return folder


def shape(name: str, draws: np.random.Generator) -> Image.Image:
    """Draw a shape of a class with a random size and position: in gray, or in color for a name such
    as red_circle.
    """
    color, _, kind = name.rpartition("_")
    size = int(draws.integers(10, 20))
    left, top = draws.integers(2, SIDE - size - 1, 2).tolist()
    right = left + size
    bottom = top + size
    shade = int(draws.integers(160, 256))
    mode = "L"
    fill: int | tuple[int, ...] = shade
    if color:
        mode = "RGB"
        fill = tuple(part * shade // 255 for part in ImageColor.getrgb(color))

    picture = Image.new(mode, (SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    if kind == "circle":
        pen.ellipse((left, top, right, bottom), outline=fill, width=2)
    elif kind == "square":
        pen.rectangle((left, top, right, bottom), outline=fill, width=2)
    else:
        pen.line((left, top, right, bottom), fill=fill, width=2)
    if kind == "cross":
        pen.line((left, bottom, right, top), fill=fill, width=2)
    return picture


def ancestors(path: Path) -> Path:
    """Save the bundled MNIST model as a pickled module, and return its path."""
    network = LeNet5(nn.SELU, dropout=0.0)
    shipped = shipped_file("mnist")
    assert shipped is not None
    network.load_state_dict(load_file(shipped).network.state_dict())
    save(network.eval(), path)
    return path


if __name__ == "__main__":
    main()
