"""The time left in a sweep: from the pace of its epochs and the number of parallel runs."""

from __future__ import annotations

import pytest

from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import RUN_SECONDS, SweepProgress


def left(**known: object) -> float | None:
    """Return the time left in a sweep that started 100 s ago and has trained two epochs in 4 s."""
    values = {"trained": 2, "done": 2, "left": 5, "seconds": 100.0, "spent": 4.0} | known
    return SweepProgress(SweepPlan(created_ms=0), [], [], **values).seconds_left


def test_time_left_depends_on_epochs_but_not_on_startup():
    assert left(runs_left=3, places=2) == pytest.approx((5 * 2 + 3 * RUN_SECONDS) / 2)
    assert left(runs_left=1, places=2) == pytest.approx(5 * 2 + RUN_SECONDS)  # the other place is idle
    assert left(runs_left=3, trained=0) is None
