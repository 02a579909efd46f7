"""Texts that anybody may have given (names, values, commands): Markdown, matplotlib and spreadsheets show them as they
are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

from lenet_exp.errors import printable

_SIGNS = re.compile(
    r"[\\`*\[\]~|@]"  # markup, links, columns, mentions
    r"|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"  # within a word it is no markup
    r"|:(?=[/\w])"  # of an address, which Markdown would make a link, or an emoji
    r"|(?<=\bwww)\."
)
_MARKUP = re.compile(r'[&<>"\\`*_\[\]~|@!#{}]|:(?=/)|(?<=\bwww)\.')
_FIRST = re.compile(r"^(\s*)([-+=#]|\d+(?=[.)]))")
_FORMULA = re.compile(r"\s*[-+=@].")  # `-` alone is none
_NUMBER = re.compile(r"[-+]?(\d[\d.]*|\.\d+|inf|nan)([eE][-+]?\d+)?")


def inline(text: str) -> str:
    """As Markdown within a line or a cell."""
    text = printable(text)
    text = _SIGNS.sub(r"\\\g<0>", text)
    return re.sub("&", "&amp;", text).replace("<", "&lt;").replace(">", "&gt;")


def as_line(text: str) -> str:
    """As a line of Markdown of its own: no heading, no list."""
    return _FIRST.sub(lambda m: f"{m[1]}\\{m[2]}" if not m[2].isdigit() else f"{m[1]}{m[2]}\\", inline(text))


def code(text: str) -> str:
    """As code, where Markdown can show it so."""
    return inline(text) if re.search("[`<>&]", text) or printable(text) != text else f"`{text}`"


def html(text: str) -> str:
    """As HTML that stands within Markdown: what either could take for markup is written by its number."""
    return _MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", printable(text))


def no_math(text: str) -> str:
    """For matplotlib, which takes what stands between dollars as TeX and fails where it is none."""
    return text.replace("$", r"\$")


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """CSV with a column for each key. A spreadsheet takes no cell as a formula."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
