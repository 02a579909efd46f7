"""That what `benchmarks/breaks.py` breaks is there to be broken."""

from __future__ import annotations

import pytest

from benchmarks.breaks import BREAKS, ROOT


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_names_code_and_tests_that_are_there(name):
    what = BREAKS[name]
    assert (ROOT / what.file).read_text().count(what.old) == 1
    assert what.new != what.old
    assert all((ROOT / test).exists() for test in what.tests)
