"""Jobs of lost places are retried, and places that never start end the sweep.

tests/sweeps/test_schedules.py tests all orders of events.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError
from lenet_exp.executors.places import MOST_UNREADY, ClosePlace, OpenPlace, Places, ReportEnd, StartJob
from lenet_exp.executors.work import JobEnd
from lenet_exp.folders.job import Job


def job(number: int) -> Job:
    return Job(number, f"job {number}", {}, [], Config(), "f", str(number), Path("outputs"))


def places(*numbers: int, retries: int = 1) -> Places:
    """Return places with these jobs waiting."""
    made = Places("hydra/launcher=cluster", retries=retries)
    for number in numbers:
        made.submit(job(number))
    return made


def test_job_of_a_lost_place_is_retried_elsewhere_up_to_the_limit():
    made = places(0)
    for turn in (1, 2):
        assert made.fill(1) == [OpenPlace(turn)]
        made.ready(turn)
        assert made.fill(1) == [StartJob(turn, turn, job(0))]
        actions = made.lost(turn, "its node was lost")
    assert actions == [ClosePlace(2), ReportEnd(JobEnd(0, lost="its node was lost"))]


def test_uncounted_loss_costs_no_retry_but_time_limit_ends_job():
    made = places(0, retries=0)
    for turn in (1, 2, 3):
        made.fill(1)
        made.ready(turn)
        made.fill(1)
        if turn < 3:
            assert made.lost(turn, "its time was up", counts=False) == [ClosePlace(turn)]
    over = JobEnd(0, lost="over the time limit of 3 s", over_limit=True)
    assert made.ended(3, 3, over) == [ReportEnd(over)]


def test_late_repeated_and_stale_messages_change_nothing():
    made, lost = places(0, 1), JobEnd(0, lost="killed by SIGKILL")
    made.fill(1)
    made.ready(1)
    assert made.fill(1) == [StartJob(1, 1, job(0))]
    assert made.ended(1, 1, lost) == []
    assert made.fill(1) == [StartJob(1, 2, job(0))]  # the second attempt, at the same place
    assert made.ended(1, 1, lost) == []
    assert made.running == {0}
    assert (made.is_current(1, 1), made.is_current(1, 2)) == (False, True)
    assert made.lost(1, "it does not answer") == [ClosePlace(1), ReportEnd(JobEnd(0, lost="it does not answer"))]
    assert made.ended(1, 2, JobEnd(0, value=0.9)) == made.lost(1, "once more") == []
    made.ready(1)
    assert made.fill(1) == [OpenPlace(2)]


def test_places_that_never_start_are_one_line_unless_another_works():
    made = places(0, 1)
    made.fill(1)
    made.ready(1)
    made.fill(1)
    for _ in range(MOST_UNREADY):
        (opened,) = made.fill(2)
        made.lost(opened.place, "no memory")
    assert made.fill(2) == []  # the working place may run both
    assert made.ended(1, 1, JobEnd(0, value=0.9)) == [ReportEnd(JobEnd(0, value=0.9))]
    assert made.fill(2) == [StartJob(1, 2, job(1))]
    made.lost(1, "its node was lost")
    for _ in range(MOST_UNREADY):
        (opened,) = made.fill(2)
        made.lost(opened.place, "no memory")
    with pytest.raises(UserError) as ended:
        made.fill(2)
    assert str(ended.value).startswith("hydra/launcher=cluster: ")
    assert "no memory" in str(ended.value)
