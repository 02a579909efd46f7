"""When a store that failed is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from lenet_exp.tracking.delivery import patience
from lenet_exp.tracking.delivery.patience import LONGEST_AWAY_SECONDS, Patience, seconds_of


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
    [("120", 120.0), (" 0 ", 0.0), (None, None), ("soon", None), ("-3", None), ("1e9", None)],
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


def test_each_time_later_and_not_before_it_said_and_within_bounds(clock):
    assert pauses(clock, None) == [60, 120, 240, 480, 600, 600, 600]
    assert pauses(clock, 2.0) == [5, 10, 20, 40, 80, 160, 320]
    assert pauses(clock, 300.0) == [300, 600, 600, 600, 600, 600, 600]
    assert pauses(clock, 1e6) == [LONGEST_AWAY_SECONDS] * 7
