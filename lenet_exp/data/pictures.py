"""Opens picture files of anybody's: formats that are only pixels, and sizes that fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.files import check_regular

if TYPE_CHECKING:
    from PIL import Image

# Pillow goes by the content, whatever the file is called, and runs Ghostscript on one that is PostScript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
TINT = 16  # levels that channels of a gray picture may differ by: those of a scan or a JPEG do
MAX_PIXELS = 50_000_000  # a large photograph; `lenet-predict` needs 1 GB of memory for it

log = logging.getLogger("lenet_exp")


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """The picture in a file; its pixels are read where they are asked for, inside of the `with`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is none of these formats, damaged or too large; one line.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        check_regular(path)
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(
                    f"{opened.width}x{opened.height}; must not exceed {MAX_PIXELS // 10**6} million pixels"
                )
            yield opened
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as e:
        raise ValueError(f"none of {', '.join(FORMATS)}") from e
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise ValueError((str(e).strip().splitlines() or [type(e).__name__])[0]) from e


def warn_if_colored(what: str, picture: Image.Image) -> None:
    """Warns, once for each `what`, where a picture has colors: the network sees it in gray."""
    from PIL import ImageChops

    red, *others = picture.convert("RGB").split()
    if any(ImageChops.difference(red, channel).point(lambda level: level > TINT).getbbox() for channel in others):
        _warn_of_colors(what)


@cache
def _warn_of_colors(what: str) -> None:
    log.warning("%s: its pictures have colors; the network sees them in gray", what)
