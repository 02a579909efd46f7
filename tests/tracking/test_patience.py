"""When a store that failed is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from lenet_exp.tracking import patience
from lenet_exp.tracking.patience import LONGEST_AWAY_SECONDS, Patience, seconds_of


@pytest.fixture
def clock(monkeypatch):
    """A clock of the test's own, and what was slept by it."""

    class Clock:
        now = 1000.0

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(patience.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(patience.time, "sleep", clock.sleep)
    return clock


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), (" 0 ", 0.0), (None, None), ("", None), ("soon", None), ("-3", None), ("1e9", None)],
)
def test_what_a_server_says_in_seconds(header, seconds):
    assert seconds_of(header) == seconds


def test_what_a_server_says_as_a_date():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < seconds_of(later) <= 100
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def pauses(clock, told):
    """Seconds until a store is asked again, each time that it fails."""
    patient, found = Patience(), []
    for _ in range(7):
        patient.failed(in_vain=False, told=told)
        start = clock.now
        while not patient.is_back():
            clock.now += 1
        found.append(clock.now - start)
    return found


def test_each_time_later(clock):
    assert pauses(clock, None) == [60, 120, 240, 480, 600, 600, 600]


def test_not_before_it_said_and_within_bounds(clock):
    assert pauses(clock, 2.0) == [5, 10, 20, 40, 80, 160, 320]
    assert pauses(clock, 300.0) == [300, 600, 600, 600, 600, 600, 600]
    assert pauses(clock, 1e6) == [LONGEST_AWAY_SECONDS] * 7


def test_once_it_answers_it_is_as_new(clock):
    patient = Patience()
    patient.failed(in_vain=True, told=30.0)
    assert patient.away
    patient.answered()
    assert (patient.away, patient.is_back(), patient.may_be_asked()) == (False, True, True)


def test_at_the_last_chance_a_few_seconds_are_waited_for(clock):
    patient = Patience()
    patient.failed(in_vain=False, told=8.0)
    assert patient.may_be_asked()
    assert clock.now == 1008.0
    patient.failed(in_vain=False, told=60.0)
    assert not patient.may_be_asked()
    assert clock.now == 1008.0


def test_one_that_kept_us_waiting_is_not_waited_for_again_a_moment_later(clock):
    patient = Patience()
    patient.failed(in_vain=True, told=None)
    assert not patient.may_be_asked()
    clock.now += 10
    assert patient.may_be_asked()
