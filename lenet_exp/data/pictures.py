"""Safe reader for picture files from any source.

Only pixel-based formats and pictures that fit in memory are accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.config.image_shape import COLOR
from lenet_exp.files import check_regular

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from lenet_exp.config.schema import Dataset

# Pillow detects the format from the content, not the name, and would run Ghostscript for a
# PostScript file.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
TINT = 16  # tolerated difference between the channels of a gray picture, as in scans and JPEGs
MAX_PIXELS = 50_000_000  # a large photograph; `lenet-predict` needs 1 GB of memory for it

log = logging.getLogger("lenet_exp")


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture file for the duration of a `with` block. Its pixels are read on demand.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the format is not supported, or the file is corrupt or too large; the message is
            a single line.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        check_regular(path)
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(
                    f"{opened.width}x{opened.height} pixels; a picture must have at most "
                    f"{MAX_PIXELS // 10**6} million pixels"
                )
            yield opened
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as e:
        raise ValueError(f"expected one of: {', '.join(FORMATS)}") from e
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise ValueError((str(e).strip().splitlines() or [type(e).__name__])[0]) from e


def read_picture(path: Path, dataset: Dataset) -> np.ndarray:
    """Return the pixels of a dataset's picture, shape (height, width) or, in color, (3, height,
    width), uint8.

    If `image_size` is set, the picture is scaled to it.

    Raises:
        ValueError: the file is not a picture, or does not have 8 bits per channel and the colors of
            the dataset.
    """
    import numpy as np
    from PIL import ImageOps

    with open_picture(path) as opened:
        picture: Image.Image = opened
        deep = ";16" in str(
            getattr(opened, "tile", "")
        )  # Pillow reads colors with 16 bits as 8 bits
        if picture.mode.startswith("P"):
            raise ValueError("it has a palette; convert it to RGB or gray")
        if picture.mode.startswith(("I", "F")) or deep:
            raise ValueError(
                f"it has more than 8 bits per channel (mode {picture.mode}); convert it to 8 bits"
            )
        if dataset.channels == COLOR and picture.mode != "RGB":
            raise ValueError(
                f"its mode is {picture.mode}; with dataset.channels=3, all pictures must be RGB"
            )
        if (
            dataset.channels == COLOR or dataset.image_size is not None
        ):  # other sets keep the pixels of older releases
            picture = ImageOps.exif_transpose(picture)
        if dataset.channels != COLOR:
            warn_if_colored(f"dataset={dataset.name}", picture)
        converted = picture.convert("RGB" if dataset.channels == COLOR else "L")
    pixels = np.asarray(
        converted if dataset.image_size is None else fitted(converted, dataset.image_size)
    )
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if dataset.channels == COLOR else pixels


def fitted(picture: Image.Image, size: int) -> Image.Image:
    """Scale a picture so that its longer side has `size` pixels, and center it on a black square of
    that size.
    """
    from PIL import Image

    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if width == height:
        return picture
    square = Image.new(picture.mode, (size, size))
    square.paste(picture, ((size - width) // 2, (size - height) // 2))
    return square


def warn_if_colored(what: str, picture: Image.Image) -> None:
    """If a picture has colors, log a warning that the picture is converted to gray.

    Args:
        what: name of the dataset or file, for the message. The warning is logged only once per
            name.
    """
    from PIL import ImageChops

    red, *others = picture.convert("RGB").split()
    if any(
        ImageChops.difference(red, channel).point(lambda level: level > TINT).getbbox()
        for channel in others
    ):
        _warn_of_colors(what)


@cache
def _warn_of_colors(what: str) -> None:
    log.warning("%s: colors are converted to gray", what)
