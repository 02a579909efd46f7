"""Opens picture files of anybody's: formats that are only pixels, and sizes that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.files import check_regular

if TYPE_CHECKING:
    from PIL import Image

# Pillow goes by the content, whatever the file is called, and runs Ghostscript on one that is PostScript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 50_000_000  # a large photograph; `lenet-predict` needs 1 GB of memory for it


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
