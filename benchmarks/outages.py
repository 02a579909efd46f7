"""While a store is unavailable, attempts to upload take less than 1% of a sweep's CPU time.

The benchmark runs a sweep on MNIST with three stores: an available store, a store that refuses connections, and a store
that accepts connections but never responds. For each store, it reports the CPU time for calls to the store, relative to
the total CPU time of the main process and its workers. The total includes imports, except for importing mlflow.

    python -m benchmarks.outages
    python -m benchmarks.outages --runs 4 --epochs 4

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import wraps
from statistics import median
from typing import Any

from benchmarks.measure import keep, parser, positive

REFUSES = "http://127.0.0.1:9"
STORES = ("there", "refuses", "hangs")


def measure(uri: str | None, line: list[str]) -> dict[str, float]:
    """Run a sweep in this process and measure its CPU time.

    Returns:
        CPU times in seconds, for calls to the store (`delivery`), this process (`process`), and its workers
        (`workers`).
    """
    from lenet_exp.commands.train import main as train
    from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
    from lenet_exp.tracking.stores.store import import_mlflow

    import_mlflow()
    inside, thread = {"delivery": 0.0}, threading.local()

    def clocked(name: str) -> None:
        function = getattr(StoreDelivery, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(thread, "inside", False):
                return function(*args, **kwargs)
            thread.inside, start = True, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                thread.inside = False
                inside["delivery"] += time.thread_time() - start

        setattr(StoreDelivery, name, timed)

    for name in ("__init__", "live", "send", "attempt"):
        clocked(name)
    with tempfile.TemporaryDirectory() as outputs:
        os.environ["LENET_EXP_OUTPUTS"] = outputs
        sys.argv = ["lenet-train", "-m", *line, *([f"tracking.uri={uri}"] if uri is not None else [])]
        before = cpu_seconds()
        try:
            train()
        except SystemExit as left:
            if left.code:
                raise
        own, workers = (b - a for a, b in zip(before, cpu_seconds(), strict=True))
    return inside | {"process": own, "workers": workers}


def cpu_seconds() -> tuple[float, float]:
    """Return the CPU times in seconds of this process and of its child processes that have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return used[0].ru_utime + used[0].ru_stime, used[1].ru_utime + used[1].ru_stime


def main() -> None:
    """Run the sweeps and print the fraction of CPU time for calls to the store."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--runs", type=positive, default=8, help="default 8")
    options.add_argument("--epochs", type=positive, default=10, help="default 10")
    asked = options.parse_args()
    line = [f"seed=range({asked.runs})", f"num_epoch={asked.epochs}"]
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STORES}
    for _ in range(asked.repeats):
        for name in STORES:
            with ExitStack() as around:
                uri = {"there": None, "refuses": REFUSES}.get(name)
                if name == "hangs":  # the kernel accepts connections, but nothing responds
                    silent = around.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
                    uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
                fresh = around.enter_context(ProcessPoolExecutor(1, mp_context=spawn))
                found[name].append(fresh.submit(measure, uri, line).result())
    print(f"\n{'the store':<12} delivery   process   workers   share of the sweep's CPU time")
    for name, all_parts in found.items():
        parts = {part: median(one[part] for one in all_parts) for part in all_parts[0]}
        share = parts["delivery"] / (parts["process"] + parts["workers"])
        print(f"{name:<12} {parts['delivery']:8.2f} {parts['process']:9.2f} {parts['workers']:9.2f}   {share:.2%}")
    print("goal: < 1% while it is away")
    keep(asked, "outages", found)


if __name__ == "__main__":
    main()
