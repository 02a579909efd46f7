"""The states of `StoreConnection`: when a process uses its store and when it skips it."""

from __future__ import annotations

import pytest

from lenet_exp.config.schema import Tracking
from lenet_exp.tracking.stores import connection
from lenet_exp.tracking.stores.connection import AWAY_SECONDS, WAITED_SECONDS, StoreConnection
from lenet_exp.tracking.stores.store import StoreUnavailable
from lenet_exp.tracking.stores.time_limit import CallLimit


class World:
    """A simulated clock, and a store that may be unreachable.

    Attributes:
        now: value of `time.monotonic()`.
        outage: reason why the store cannot be opened; None if it can.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.outage: str | None = None

    def open_store(self, *_: object, **__: object) -> object:
        if self.outage is not None:
            raise StoreUnavailable(self.outage)
        return object()

    def uses_store(
        self, connected: StoreConnection, *, last: bool, error: Exception | None = None
    ) -> bool:
        """Return whether the connection executes an upload, which may raise this error."""
        is_used = False

        def action(store: object) -> bool:
            nonlocal is_used
            is_used = True
            if error is not None:
                raise error
            return True

        connected.attempt("this", action, last=last)
        return is_used


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(connection, "open_store", world.open_store)
    monkeypatch.setattr(connection.time, "monotonic", lambda: world.now)
    return world


def warnings(caplog) -> int:
    return sum(record.levelname == "WARNING" for record in caplog.records)


def fail(world, connected, reason):
    """Let an upload fail for this reason."""
    world.outage = reason
    world.uses_store(connected, last=True, error=OSError(reason))
    world.outage = None


def test_failing_store_gets_only_last_uploads_and_one_warning(world, tmp_path, caplog):
    connected = StoreConnection(Tracking(), tmp_path, CallLimit())
    for _ in range(2):
        fail(world, connected, "Connection refused")
        assert not world.uses_store(connected, last=False)
        world.now += AWAY_SECONDS

    fail(world, connected, "Connection refused")
    assert world.uses_store(connected, last=True)
    assert world.uses_store(connected, last=False)  # the store has answered
    assert warnings(caplog) == 1


@pytest.mark.parametrize("reason", ["Read timed out", "database is locked"])
def test_store_that_timed_out_is_skipped_even_for_last_uploads(world, tmp_path, reason):
    connected = StoreConnection(Tracking(), tmp_path, CallLimit())
    fail(world, connected, reason)
    assert not world.uses_store(connected, last=True)

    world.now += WAITED_SECONDS
    assert not world.uses_store(connected, last=False)
    assert world.uses_store(connected, last=True)


def test_error_of_one_run_affects_only_that_run_and_warns_once(world, tmp_path, caplog):
    connected = StoreConnection(Tracking(), tmp_path, CallLimit())
    for _ in range(2):
        assert world.uses_store(connected, last=False, error=ValueError("too long"))
    assert warnings(caplog) == 1
    assert world.uses_store(connected, last=False)


def test_moved_outputs_folder_is_not_created_again(tmp_path, caplog):
    moved = tmp_path / "outputs"
    connected = StoreConnection(Tracking(), moved, CallLimit(), outputs_existed=True)

    connected.open()

    assert connected.attempt("a run", lambda store: store.experiment_id) is None
    assert not moved.exists()
    assert warnings(caplog) == 0
