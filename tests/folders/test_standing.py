"""How long a sweep will take: by the pace of its epochs, the places that train, and its uploads."""

from __future__ import annotations

import pytest

from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.standing import RUN_SECONDS, Standing, makespan


def left(*, spent: float = 4.0, **known: object) -> float | None:
    """Of a sweep that started 100 s ago and has trained two epochs."""
    told = {"trained": 2, "done": 2, "left": 5, "seconds": 100.0} | known
    return Standing(SweepPlan(created_ms=0), [], [], spent=spent, **told).seconds_left


def test_jobs_take_the_first_place_that_is_free():
    assert [makespan([2.0, 1.0, 1.0, 1.0], places) for places in (1, 2, 4)] == [5.0, 3.0, 2.0]
    assert makespan([], 2) == 0


def test_the_time_left_is_that_of_the_epochs_whatever_the_start_took():
    todo = [(1, 1.5), (2, 0.0), (2, 0.0)]  # 0.5, 4 and 4 s
    assert left(todo=todo, places=2) == pytest.approx(0.5 + 4 + 2 * RUN_SECONDS)
    assert left(todo=todo, places=1) == pytest.approx(8.5 + 3 * RUN_SECONDS)
    assert left(todo=[(1, 9.0)]) == pytest.approx(RUN_SECONDS)  # longer than an epoch takes
    assert left(todo=todo, trained=0) is None


def test_the_time_left_has_the_uploads_in_it():
    todo = [(1, 0.0), (1, 0.0)]
    assert left(todo=todo, places=2, upload=0.5) == pytest.approx(2 + RUN_SECONDS + 1.0)
    assert left(todo=todo, places=2, upload=0.5, uploads=40.0) == 40.0
    assert left(uploads=3.0) == 3.0
