"""The code that `benchmarks/breaks.py` breaks exists, and every promise has a break."""

from __future__ import annotations

import re

import pytest

from benchmarks.breaks import BREAKS, PROMISES, ROOT


def rows() -> list[str]:
    """The promises of the page's table."""
    table = re.findall(r"^\| (.*?) \| ", (ROOT / PROMISES).read_text(), re.MULTILINE)
    return [row for row in table if row not in {"guarantee", "---"}]


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_names_code_and_tests_that_are_there(name):
    what = BREAKS[name]
    assert (ROOT / what.file).read_text().count(what.old) == 1
    assert what.new != what.old
    files, _, only = what.tests.partition(" -k ")
    tests = "".join((ROOT / file).read_text() for file in files.split())
    words = set(re.findall(r"\w+", only)) - {"and", "or", "not"}
    assert [word for word in words if re.search(rf"def test_\w*{word}", tests) is None] == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_quotes_the_promise_that_it_breaks(name):
    what = BREAKS[name]
    if what.page == PROMISES:
        assert sum(row.startswith(what.promise) for row in rows()) == 1
    else:
        assert what.promise in " ".join((ROOT / what.page).read_text().split())


def test_every_promise_is_broken():
    promises = [what.promise for what in BREAKS.values()]
    assert len(rows()) > 10
    assert [row for row in rows() if not row.startswith(tuple(promises))] == []


def test_a_promise_names_its_tests_by_their_paths():
    page = (ROOT / PROMISES).read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", page)
    assert len(named) > len(rows())
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert re.findall(r"`test_\w+\.py`", page) == []  # several folders may have one
