"""The states of `StoreDelivery`: when a process uses its store and when it skips it."""

from __future__ import annotations

import pytest

from lenet_exp.config.schema import Tracking
from lenet_exp.tracking.delivery import store_delivery
from lenet_exp.tracking.delivery.store_delivery import AWAY_SECONDS, WAITED_SECONDS, StoreDelivery
from lenet_exp.tracking.stores.store import StoreUnavailable


class World:
    """A simulated clock, a store that may be unreachable, and the number of attempts."""

    def __init__(self) -> None:
        self.now, self.away, self.tried, self.opened = 1000.0, None, 0, 0

    def open_store(self, *_: object) -> object:
        if self.away is not None:
            raise StoreUnavailable(self.away)
        self.opened += 1
        return object()

    def asks(self, delivery: StoreDelivery, *, last: bool, error: Exception | None = None) -> bool:
        """Return whether the delivery used the store."""
        before = self.tried

        def action(store: object) -> bool:
            self.tried += 1
            if error is not None:
                raise error
            return True

        delivery.attempt("this", action, last=last)
        return self.tried > before


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(store_delivery, "open_store", world.open_store)
    monkeypatch.setattr(store_delivery.time, "monotonic", lambda: world.now)
    return world


def warnings(caplog) -> int:
    return sum(record.levelname == "WARNING" for record in caplog.records)


def fails(world, delivery, words):
    world.away = words
    world.asks(delivery, last=True, error=OSError(words))
    world.away = None


def test_failing_store_gets_only_last_uploads_and_one_warning(world, caplog):
    delivery = StoreDelivery(Tracking())
    for _ in range(2):
        fails(world, delivery, "Connection refused")
        assert not world.asks(delivery, last=False)
        world.now += AWAY_SECONDS
    fails(world, delivery, "Connection refused")
    assert world.asks(delivery, last=True)
    assert world.asks(delivery, last=False)  # the store has answered
    assert warnings(caplog) == 1


@pytest.mark.parametrize("words", ["Read timed out", "database is locked"])
def test_store_that_timed_out_is_skipped_even_for_last_uploads(world, words):
    delivery = StoreDelivery(Tracking())
    fails(world, delivery, words)
    assert not world.asks(delivery, last=True)
    world.now += WAITED_SECONDS
    assert not world.asks(delivery, last=False)
    assert world.asks(delivery, last=True)


def test_error_of_one_run_affects_only_that_run_and_warns_once(world, caplog):
    delivery = StoreDelivery(Tracking())
    for _ in range(2):
        assert world.asks(delivery, last=False, error=ValueError("too long"))
    assert warnings(caplog) == 1
    assert world.asks(delivery, last=False)


def test_recovered_store_opens_parent_run(world):
    world.away = "Connection refused"
    delivery = StoreDelivery(Tracking(), in_sweep=True)
    delivery.set_parent("the sweep", lambda store: "its run")
    assert delivery.parent is None
    world.away = None
    assert world.asks(delivery, last=True)
    assert delivery.parent == "its run"
