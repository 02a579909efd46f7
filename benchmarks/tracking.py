"""Tracking takes less than 3% of the time for a default run on MNIST, excluding startup and creating the store.

Each run is trained by lenet_exp.runs.run.run in a separate process. The data is loaded, mlflow is imported, and the
store is created before the clock starts. The benchmark measures the time for which training waits: in the methods
`live` and `send` of BackgroundDelivery, and in the functions that create the record and write the run folder.

    python -m benchmarks.tracking                      # three runs of 50 epochs
    python -m benchmarks.tracking --models all none    # alternate between runs with and without the model in MLflow

The first export of a model in a process includes importing torch.export. Therefore, the time for the export is also
shown for a second run in the same process, as in a sweep.

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import wraps
from statistics import median
from typing import Any

from benchmarks.measure import Seconds, keep, parser, positive
from benchmarks.training import torchvision_images
from lenet_exp.config.compose import compose

TOTAL, EXPORT, EXPORT_AGAIN = "run", "final: model export", "model export, second run of the process"


class Clock:
    """Measures the total time of functions, grouped by part.

    If a timed function calls another timed function, the time in the inner function counts only for the inner part.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def time(self, owner: Any, name: str, part: str) -> None:
        """Replace the function `owner.name` with a version whose time is added to `part`."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            # `send` and `flush` count for the part of the timed function that calls them.
            self._open.append(self._open[-1] if self._open and name in {"send", "flush"} else part)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._open.pop()

        setattr(owner, name, timed)

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def measure(models: str, epochs: int) -> dict[str, float]:
    """Train a run in this process, and return its total time and the times of tracking in seconds, keyed by part."""
    from lenet_exp.data.images import load_training_data
    from lenet_exp.folders.checkpoints import Checkpoints
    from lenet_exp.folders.run_folder import RunFolder
    from lenet_exp.machine import cpu_count
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.runs import run as lenet_run
    from lenet_exp.runs import training
    from lenet_exp.runs.jobs import lone_job
    from lenet_exp.tracking.delivery import deliver
    from lenet_exp.tracking.delivery.background import BackgroundDelivery
    from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
    from lenet_exp.training.execution import choose_device

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as outputs:
        os.environ["LENET_EXP_OUTPUTS"] = outputs
        config = compose([f"tracking.models={models}", f"num_epoch={epochs}"])
        load_training_data(config, choose_device(config.device))
        delivery = StoreDelivery(config.tracking)
        assert delivery.store is not None
        log_to_console()

        clock = Clock()
        clock.time(lenet_run, "begin", "record")
        clock.time(training, "final_record", "record")
        for name in ("start", "finish"):
            clock.time(RunFolder, name, "run folder")
        for name in ("write", "write_results"):
            clock.time(Checkpoints, name, "commits")
        clock.time(BackgroundDelivery, "live", "live: curves")
        clock.time(BackgroundDelivery, "send", "final: metrics, tags, files")
        clock.time(deliver, "_log_pictures", "final: plots")
        clock.time(deliver, "log_model", EXPORT)
        start = time.perf_counter()
        result = lenet_run.run(lone_job(config), BackgroundDelivery(delivery), default_threads=cpu_count())
        parts = {TOTAL: time.perf_counter() - start, **clock.seconds}
        assert result.outcome == "finished"
        assert result.mlflow_run_id is not None

        if EXPORT in parts:
            before = clock.seconds[EXPORT]
            again = compose([f"tracking.models={models}", "num_epoch=1", "seed=1"])
            lenet_run.run(lone_job(again), BackgroundDelivery(delivery), default_threads=cpu_count())
            parts[EXPORT_AGAIN] = clock.seconds[EXPORT] - before
        return parts


def tracking(parts: dict[str, float]) -> float:
    """Return the total time of tracking in seconds, which is the sum over its parts."""
    return sum(seconds for part, seconds in parts.items() if part not in {TOTAL, EXPORT_AGAIN})


def show(models: str, runs: list[dict[str, float]]) -> Seconds:
    """Print the median time of each part, in seconds and as a percentage of the run's time."""
    parts = {part: [r[part] for r in runs] for part in runs[0]}
    spent = [tracking(r) for r in runs]
    shares = [s / r[TOTAL] for s, r in zip(spent, runs, strict=True)]
    print(f"\ntracking.models={models:<32} seconds  share")
    for part, values in parts.items():
        share = median(v / r[TOTAL] for v, r in zip(values, runs, strict=True))
        print(f"{part:<45} {median(values):9.3f} {share:6.2%}")
    print(f"{'tracking':<45} {median(spent):9.3f} {median(shares):6.2%}")
    print(f"tracking / run: {median(shares):.2%} ({min(shares):.2%} to {max(shares):.2%}), goal < 3%")
    if EXPORT_AGAIN in parts:
        later = [
            (s - r[EXPORT] + r[EXPORT_AGAIN]) / (r[TOTAL] - r[EXPORT] + r[EXPORT_AGAIN])
            for s, r in zip(spent, runs, strict=True)
        ]
        print(f"with the second run's export: {median(later):.2%} ({min(later):.2%} to {max(later):.2%})")
    return parts


def main() -> None:
    """Run the benchmark and print the times of tracking."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--epochs", type=positive, default=50, help="default 50")
    options.add_argument("--models", nargs="+", default=["all"], choices=["all", "none"], help="default all")
    asked = options.parse_args()
    torchvision_images(compose(), "tracking")

    runs: dict[str, list[dict[str, float]]] = {models: [] for models in asked.models}
    spawn = multiprocessing.get_context("spawn")
    for _ in range(asked.repeats):
        for models in runs:
            with ProcessPoolExecutor(1, mp_context=spawn) as fresh:
                found = fresh.submit(measure, models, asked.epochs).result()
            runs[models].append(found)
            print(f"tracking.models={models}: {tracking(found):.3f} of {found[TOTAL]:.1f} s", flush=True)
    seconds = {models: show(models, done) for models, done in runs.items()}
    print(f"\nmnist, {asked.epochs} epochs, {asked.repeats} runs each")
    keep(asked, "tracking", seconds)


if __name__ == "__main__":
    main()
