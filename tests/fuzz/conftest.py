from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """Fail a test that hangs."""

    def too_long(*_: object) -> None:
        raise RuntimeError("the test hangs")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
