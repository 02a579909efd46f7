"""`benchmarks/breaks.py` changes existing code and has a break for every promise."""

from __future__ import annotations

import re

import pytest

from benchmarks.breaks import BREAKS, PROMISES, ROOT


def rows() -> list[str]:
    """Return the promises in the page's table."""
    table = re.findall(r"^\| (.*?) \| ", (ROOT / PROMISES).read_text(), re.MULTILINE)
    return [row for row in table if row not in {"guarantee", "---"}]


@pytest.mark.parametrize("name", BREAKS)
def test_break_names_existing_code_and_tests(name):
    change = BREAKS[name]
    assert (ROOT / change.file).read_text().count(change.old) == 1
    assert change.new != change.old
    files, _, only = change.tests.partition(" -k ")
    tests = "".join((ROOT / file).read_text() for file in files.split())
    words = set(re.findall(r"\w+", only)) - {"and", "or", "not"}
    assert [word for word in words if re.search(rf"def test_\w*{word}", tests) is None] == []


@pytest.mark.parametrize("name", BREAKS)
def test_break_quotes_promise_from_page(name):
    change = BREAKS[name]
    if change.page == PROMISES:
        assert sum(row.startswith(change.promise) for row in rows()) == 1
    else:
        assert change.promise in " ".join((ROOT / change.page).read_text().split())


def test_every_promise_has_a_break():
    promises = [change.promise for change in BREAKS.values()]
    assert len(rows()) > 10
    assert [row for row in rows() if not row.startswith(tuple(promises))] == []


def test_promises_name_existing_test_files():
    page = (ROOT / PROMISES).read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", page)
    assert len(named) == len(rows())
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert re.findall(r"`test_\w+\.py`", page) == []  # several folders may have one
