"""Updates a sweep's own MLflow run while the sweep is running: counts, the best so far, the leaderboard, and the time
left.

Points are logged only if a value changed. Everything else is in tags, which the end of the sweep replaces.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from lenet_exp.comparison.compare import Comparison, compare_so_far
from lenet_exp.folders.sweep_progress import SweepProgress
from lenet_exp.machine import now_ms
from lenet_exp.reports.files.description import live_description
from lenet_exp.reports.search_words import best_words, progress_words
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.stores.mlflow_runs import LIVE, SHOWN, set_tags
from lenet_exp.tracking.stores.points import log_metrics
from lenet_exp.tracking.stores.store import Store
from lenet_exp.tracking.sweeps.parent import counts
from lenet_exp.tracking.sweeps.report import LONGEST, links_of

TELL_SECONDS = 8.0  # with other uploads of the same thread, MLflow's view is at most 10 s old
RESTS = 100  # pause this many times as long as the comparison took; comparing 10,000 runs is slow


class LiveReport:
    """The live report of one session of a sweep.

    Args:
        what: name of the sweep's own run, for messages.
    """

    def __init__(self, delivery: StoreDelivery, what: str) -> None:
        self._delivery = delivery
        self._what = what
        self._asked_at = self._compared_at = -math.inf
        self._compared_for = 0.0
        self._comparisons: list[Comparison] = []
        self._told: dict[str, float] = {}
        self._closed = False

    def next(self, progress: SweepProgress) -> Callable[[], None] | None:
        """Return an action that uploads the state of the sweep; None if it was uploaded a moment ago."""
        if self._closed or time.monotonic() - self._asked_at < TELL_SECONDS:
            return None
        self._asked_at = time.monotonic()
        return partial(self._tell, progress)

    def close(self) -> None:
        """Stop reporting; the end of the sweep reports the rest."""
        self._closed = True

    def _tell(self, progress: SweepProgress) -> None:
        self._delivery.attempt(self._what, partial(self._send, progress=progress), last=False)

    def _send(self, store: Store, *, progress: SweepProgress) -> None:
        from mlflow.entities import Metric

        run_id = self._delivery.parent
        if self._closed or run_id is None:
            return
        values, now = counts(progress.plan, progress.results), now_ms()
        changed = {name: value for name, value in values.items() if self._told.get(name) != value}
        log_metrics(store, run_id, [Metric(k, v, now, progress.plan.starts) for k, v in changed.items()])
        self._told = values
        said = f"{time.strftime('%H:%M:%S')}: {progress_words(progress)}"
        tags = {"sweep_progress": said, SHOWN: LIVE}
        tags |= {"sweep_best": best} if (best := best_words(progress.plan, progress.results)) else {}
        self._compare(progress)
        description = live_description(said, self._comparisons, links_of(store, progress.results))
        set_tags(store, run_id, tags | {"mlflow.note.content": description[:LONGEST]})

    def _compare(self, progress: SweepProgress) -> None:
        if time.monotonic() - self._compared_at < RESTS * self._compared_for:
            return
        start = time.monotonic()
        self._comparisons = compare_so_far(progress.plan, progress.results)
        self._compared_at, self._compared_for = time.monotonic(), time.monotonic() - start
