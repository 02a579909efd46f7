"""When a store that failed may be asked again: later each time, and not before the time that it said itself."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

AWAY_SECONDS = 60.0  # so long a store that failed is left alone, longer each time: each try may take its time-out
LONGEST_AWAY_SECONDS = 600.0  # however often it failed, and whatever it asks for
LEAST_AWAY_SECONDS = 5.0
WAITED_SECONDS = 10.0  # a store that kept us waiting is left alone for so long even where it is the last chance


class Patience:
    """Of one process with one store."""

    def __init__(self) -> None:
        self.answered()

    def answered(self) -> None:
        """It took what it was given."""
        self._failed_at = -math.inf
        self._pause = AWAY_SECONDS
        self._kept_waiting = False
        self._not_before = -math.inf

    @property
    def away(self) -> bool:
        """Whether the store failed when it was asked last."""
        return self._failed_at > -math.inf

    def is_back(self) -> bool:
        """Whether it is worth asking: the store did not fail lately."""
        return time.monotonic() >= max(self._failed_at + self._pause, self._not_before)

    def may_be_asked(self) -> bool:
        """Whether to ask where it is the last chance for long: unless the store kept us waiting a moment ago.

        A store that wants to be left alone for a few seconds is waited for.
        """
        now = time.monotonic()
        if self._kept_waiting and now - self._failed_at < WAITED_SECONDS:
            return False
        if self._not_before - now > WAITED_SECONDS:
            return False
        time.sleep(max(0.0, self._not_before - now))
        return True

    def failed(self, *, in_vain: bool, told: float | None) -> None:
        """Args:
        in_vain: it was waited for until a time limit.
        told: seconds for which it said that it wants to be left alone.
        """
        if self.away:
            self._pause = min(2 * self._pause, LONGEST_AWAY_SECONDS)
        elif told is not None:
            self._pause = min(max(told, LEAST_AWAY_SECONDS), LONGEST_AWAY_SECONDS)
        self._failed_at = time.monotonic()
        self._kept_waiting = self._kept_waiting or in_vain
        self._not_before = self._failed_at + min(told, LONGEST_AWAY_SECONDS) if told is not None else -math.inf


def is_in_vain(error: Exception) -> bool:
    """Whether it was waited for until a time limit."""
    return re.search(r"timed? ?out|database is locked", str(error), re.IGNORECASE) is not None


def is_too_much(error: Exception) -> bool:
    """Whether a server has too much to do."""
    return re.search(r"too many (429|503) error responses", str(error)) is not None


def asks_to_wait(uri: str) -> float | None:
    """For how many seconds a server that has too much to do wants to be left alone, by one request; None where it does
    not say. MLflow's own errors do not tell."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if not uri.startswith("http"):
        return None
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    try:
        answer = http_request(get_default_host_creds(uri), path, "GET", max_retries=0, raise_on_status=False)
    except Exception:
        return None
    return seconds_of(answer.headers.get("Retry-After")) if answer.status_code in {429, 503} else None


def seconds_of(retry_after: str | None) -> float | None:
    """Of a header Retry-After: seconds, or a date; None where it is neither."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", retry_after):
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
