"""The time left in a sweep: from the pace of its epochs, the parallel runs, and the uploads."""

from __future__ import annotations

import pytest

from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import END_SECONDS, RUN_SECONDS, UPLOADS_BEGIN, SweepProgress


def left(*, spent: float = 4.0, **known: object) -> float | None:
    """Return the time left in a sweep that started 100 s ago and has trained two epochs."""
    values = {"trained": 2, "done": 2, "left": 5, "seconds": 100.0} | known
    return SweepProgress(SweepPlan(created_ms=0), [], [], spent=spent, **values).seconds_left


def test_time_left_depends_on_epochs_but_not_on_startup():
    assert left(runs_left=3, places=2) == pytest.approx((5 * 2 + 3 * RUN_SECONDS) / 2 + END_SECONDS)
    assert left(runs_left=1, places=2) == pytest.approx(5 * 2 + RUN_SECONDS + END_SECONDS)  # the other place is idle
    assert left(runs_left=3, trained=0) is None


def test_time_left_includes_uploads():
    assert left(runs_left=2, places=2, upload=0.5) == pytest.approx(5 + RUN_SECONDS + 0.5 + END_SECONDS)
    assert left(runs=200, runs_left=40, places=40, upload=1.0) == UPLOADS_BEGIN + 200 - 100 + END_SECONDS
    assert left(left=0, upload=0.5) == 0.5 + END_SECONDS
    behind = left(left=0, upload=0.5, runs=30, uploaded=19, waiting=11)  # 19 uploads took 95 s
    assert behind == pytest.approx(11 * 5 / 2 + END_SECONDS)
