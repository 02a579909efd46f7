"""Parse a comparison's page: its content without JavaScript, and the data for its charts."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        text: the text outside of scripts and styles.
        scripts: the texts of the scripts by ID, or by number for scripts without an ID.
        rows: the cells' texts in all rows of the tables, heads first.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self._into = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._into = tag
        if tag == "script":
            self._script = dict(attrs).get("id") or str(len(self.scripts))
            self.scripts[self._script] = ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style", "table"}:
            self._into = ""
        elif tag in {"a", "span"}:
            self._into = "td"

    def handle_data(self, data: str) -> None:
        if self._into == "script":
            self.scripts[self._script] += data
        elif self._into != "style":
            self.text += data
            is_in_cell = self._into in {"td", "th", "a", "span", "wbr"}
            if is_in_cell and self.rows and self.rows[-1]:
                self.rows[-1][-1] += data

    @property
    def addresses(self) -> list[str]:
        """Return every address that the page links to or could fetch."""
        names = {"src", "href", "xlink:href", "data", "action", "srcset"}
        return [value or "" for name, value in self.attributes if name in names]

    @property
    def ids(self) -> list[str]:
        return [value or "" for name, value in self.attributes if name == "id"]


def page(path: Path) -> Page:
    return Page(path.read_text())


def data_of(html: Page) -> Any:
    """Return the data for the charts; raise ValueError for a number that JSON does not allow."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(html.scripts["data"], parse_constant=refuse)
