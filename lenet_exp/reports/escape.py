"""Texts that anybody may have given (names, values, commands): Markdown and matplotlib show them as they are."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SIGNS = re.compile(
    r"[\\`*\[\]~|@]"  # markup, links, columns, mentions
    r"|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"  # within a word it is no markup
    r"|:(?=[/\w])"  # of an address, which Markdown would make a link, or an emoji
    r"|(?<=\bwww)\."
)
_MARKUP = re.compile(r'[&<>"\\`*_\[\]~|@!#{}]|:(?=/)|(?<=\bwww)\.')
_FIRST = re.compile(r"^(\s*)([-+=#]|\d+(?=[.)]))")


def inline(text: str) -> str:
    """As Markdown within a line or a cell."""
    text = _CONTROLS.sub(" ", text)
    text = _SIGNS.sub(r"\\\g<0>", text)
    return re.sub("&", "&amp;", text).replace("<", "&lt;").replace(">", "&gt;")


def as_line(text: str) -> str:
    """As a line of Markdown of its own: no heading, no list."""
    return _FIRST.sub(lambda m: f"{m[1]}\\{m[2]}" if not m[2].isdigit() else f"{m[1]}{m[2]}\\", inline(text))


def code(text: str) -> str:
    """As code, where Markdown can show it so."""
    return inline(text) if re.search(r"[`<>&]|[\x00-\x1f]", text) else f"`{text}`"


def html(text: str) -> str:
    """As HTML that stands within Markdown: what either could take for markup is written by its number."""
    return _MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", _CONTROLS.sub(" ", text))


def no_math(text: str) -> str:
    """For matplotlib, which takes what stands between dollars as TeX and fails where it is none."""
    return text.replace("$", r"\$")
