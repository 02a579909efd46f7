"""Escapes untrusted text (names, values, commands) for Markdown, HTML, matplotlib, and
spreadsheets; NaN for JSON.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lenet_exp.errors import printable
from lenet_exp.files import Json

_SIGNS = re.compile(
    r"[\\`*\[\]~|@]"  # markup, links, columns, mentions
    r"|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"  # an underscore within a word is not markup
    # A colon can start an emoji or be part of an address, which Markdown would turn into a link.
    r"|:(?=[/\w])"
    r"|(?<=\bwww)\."
)
_MARKUP = re.compile(r'[&<>"\\`*_\[\]~|@!#{}]|:(?=/)|(?<=\bwww)\.')
_FIRST = re.compile(r"^(\s*)([-+=#]|\d+(?=[.)]))")
_FORMULA = re.compile(r"\s*[-+=@].")  # a single `-` is not a formula
_NUMBER = re.compile(r"[-+]?(\d[\d.]*|\.\d+|inf|nan)([eE][-+]?\d+)?")


def inline(text: str) -> str:
    """Escape text for use in a line or a table cell of Markdown."""
    escaped = _SIGNS.sub(r"\\\g<0>", printable(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_line(text: str) -> str:
    """Escape text for use as a line of Markdown, so that the line is neither a heading nor a list
    item.
    """
    return _FIRST.sub(_escaped_start, inline(text))


def _escaped_start(match: re.Match[str]) -> str:
    """Escape the start of a heading (`#`), of a list item (`-`), or of a numbered one (`1.`)."""
    indentation, start = match.groups()
    # A number cannot be escaped, but the period or the parenthesis after it can.
    return f"{indentation}{start}\\" if start.isdigit() else f"{indentation}\\{start}"


def code(text: str) -> str:
    """Format text as Markdown code, or escape the text if Markdown cannot show it as code."""
    has_special_characters = re.search("[`<>&]", text) is not None
    if has_special_characters or printable(text) != text:
        return inline(text)
    return f"`{text}`"


def html(text: str) -> str:
    """Escape text for use in HTML within Markdown.

    Characters with a special meaning in HTML or Markdown become character references.
    """
    return _MARKUP.sub(_character_reference, printable(text))


def _character_reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def no_math(text: str) -> str:
    """Escape dollar signs for matplotlib, which would parse text between them as TeX."""
    return text.replace("$", r"\$")


def finite(value: Any) -> Any:
    """Replace NaN and infinity in nested lists and dicts with None, because JSON does not support
    these values.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def csv_text(rows: Sequence[Mapping[str, Json]]) -> str:
    """Format rows as CSV, with a column for each key. Spreadsheets cannot interpret a cell as a
    formula.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    for row in rows:
        writer.writerow([_cell(row.get(column, "")) for column in columns])
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    is_number = _NUMBER.fullmatch(text) is not None
    if _FORMULA.match(text) and not is_number:
        return f"'{text}"
    return text
