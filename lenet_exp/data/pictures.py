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

# Pillow detects the format from the content, and would run Ghostscript for a PostScript file.
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
        lines = str(e).strip().splitlines()
        raise ValueError(lines[0] if lines else type(e).__name__) from e


def read_picture(path: Path, dataset: Dataset) -> np.ndarray:
    """Return the pixels of a dataset's picture.

    If `image_size` is set, the picture is scaled to it.

    Returns:
        An array of shape (height, width) or, in color, (3, height, width); uint8.

    Raises:
        ValueError: the file is not a picture, or does not have 8 bits per channel and the colors of
            the dataset.
    """
    import numpy as np
    from PIL import ImageOps

    is_color = dataset.channels == COLOR
    with open_picture(path) as opened:
        _check_mode(opened, is_color)
        picture: Image.Image = opened
        if is_color or dataset.image_size is not None:
            # Other datasets keep the pixels of older releases.
            picture = ImageOps.exif_transpose(picture)
        if not is_color:
            warn_if_colored(f"dataset={dataset.name}", picture)
        converted = picture.convert("RGB" if is_color else "L")

    if dataset.image_size is not None:
        converted = fitted(converted, dataset.image_size)
    pixels = np.asarray(converted)
    if not is_color:
        return pixels
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_mode(picture: Image.Image, is_color: bool) -> None:
    """Check that a picture has 8 bits per channel and, if required, is in color.

    Raises:
        ValueError: the picture has another mode.
    """
    mode = picture.mode
    if mode.startswith("P"):
        raise ValueError("it has a palette; convert it to RGB or gray")
    # Pillow reads colors with 16 bits as 8 bits.
    has_16_bits = ";16" in str(getattr(picture, "tile", ""))
    if has_16_bits or mode.startswith(("I", "F")):
        raise ValueError(f"it has more than 8 bits per channel (mode {mode}); convert it to 8 bits")
    if is_color and mode != "RGB":
        raise ValueError(f"its mode is {mode}; with dataset.channels=3, all pictures must be RGB")


def fitted(picture: Image.Image, size: int) -> Image.Image:
    """Scale a picture until its longer side has `size` pixels, and center it on a black square."""
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
    for channel in others:
        difference = ImageChops.difference(red, channel)
        # The box around the pixels that are not gray; None if there are none.
        colored_box = difference.point(lambda level: level > TINT).getbbox()
        if colored_box:
            _warn_of_colors(what)
            return


@cache
def _warn_of_colors(what: str) -> None:
    log.warning("%s: colors are converted to gray", what)
