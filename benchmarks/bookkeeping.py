"""Rerunning a finished sweep takes less time than composing its jobs with Hydra, and memory usage
does not grow.

First, the benchmark trains 1,000 short runs in a sweep. Meanwhile, it measures the memory of the
sweep's main process and its workers, not counting files and shared memory.

Then it reruns sweeps of 10, 100, and 1,000 finished jobs. It reports the time that each additional
job adds to the command, relative to the time that Hydra needs to compose the job. The goal is a
ratio of at most 0.5, which is possible because lenet_exp uses Hydra to compose each combination of
config group options only once.

    python -m benchmarks.bookkeeping --plot memory.png
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.kills import environment, started_by
from benchmarks.measure import keep, parser, positive, show_ratio
from lenet_exp.config.hydra_parts import hydra_app

SHORT = (
    "dataset=digits",
    "dataset.train_size=32",
    "batch_size=32",
    "num_epoch=1",
    "num_threads=1",
    "tracking.plots=false",
    "tracking.models=none",
)
GOAL = 0.5
COMPOSED = 20  # number of jobs that Hydra composes for comparison


# time in seconds and memory in MB, keyed by process
Memory = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Run the benchmark, and print the ratios and the memory usage."""
    options = parser(__doc__, repeats=3)
    options.add_argument(
        "--jobs", type=positive, nargs="+", default=[10, 100, 1000], help="default 10 100 1000"
    )
    options.add_argument(
        "--plot", type=Path, metavar="FILE", help="write a picture of the memory there"
    )
    settings = options.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch)
        memory = train(max(settings.jobs), outputs)
        show_memory(memory)
        if settings.plot:
            plot(memory, settings.plot)
        rerun(1, outputs)
        of_one_job = [rerun(1, outputs) for _ in range(settings.repeats)]
        added = {}
        for jobs in settings.jobs:
            added[jobs] = time_added_jobs(jobs, outputs, of_one_job)
    keep(settings, "bookkeeping", {"rerun": added, "memory": memory})


def time_added_jobs(
    jobs: int, outputs: Path, of_one_job: Sequence[float]
) -> list[tuple[float, float]]:
    """Rerun a sweep, and print and return the seconds that each additional job takes and that Hydra
    takes to compose a job, for each repetition.

    Args:
        of_one_job: duration of a sweep of one job in each repetition, in seconds.
    """
    rerun(jobs, outputs)  # the first rerun creates a new sweep of existing runs
    whole_sweep = []
    composed = []
    for _ in of_one_job:
        whole_sweep.append(rerun(jobs, outputs))
        composed.append(composing())

    added = []
    for whole, one in zip(whole_sweep, of_one_job, strict=True):
        added.append((whole - one) / (jobs - 1))
    print(
        f"{jobs} jobs: {median(whole_sweep):.2f} s; Hydra composes one in {median(composed):.3f} s"
    )
    name = f"{jobs} jobs, all finished: one more job / composing it"
    show_ratio(name, added, composed, f"<= {GOAL}")
    return list(zip(added, composed, strict=True))


def line(jobs: int) -> list[str]:
    """Return the command line arguments of a sweep with this number of jobs."""
    return ["-m", *SHORT, f"seed=range({jobs})"]


def train(jobs: int, outputs: Path) -> Memory:
    """Train short runs in a separate process, and sample the memory of each process every half
    second.
    """
    command = [sys.executable, "-m", "lenet_exp", "train", *line(jobs)]
    memory: Memory = defaultdict(list)
    sweep = subprocess.Popen(
        command, env=environment(outputs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    start = time.monotonic()
    names = {sweep.pid: "sweep"}
    while sweep.poll() is None:
        for pid in started_by(sweep.pid):
            names.setdefault(pid, f"worker {len(names)}")
        for pid, name in names.items():
            with contextlib.suppress(OSError):
                memory[name].append((time.monotonic() - start, own_megabytes(pid)))
        time.sleep(0.5)
    if sweep.returncode:
        sys.exit(f"benchmarks.bookkeeping: the sweep ended with status {sweep.returncode}")
    return dict(memory)


def own_megabytes(pid: int) -> float:
    """Return the resident memory of a process in MB, not counting files and shared memory."""
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("RssAnon:"):
            _, kilobytes, _ = row.split()
            return float(kilobytes) / 1024
    return 0.0  # the process has ended


def show_memory(memory: Memory) -> None:
    """Print each process's median memory in the second quarter and in the last quarter of the
    training time.
    """
    training = []  # times at which a worker was running
    for name, samples in memory.items():
        if name != "sweep":
            training += [seconds for seconds, _ in samples]
    first = min(training)
    last = max(training)
    for name, samples in memory.items():
        values = [megabytes for seconds, megabytes in samples if first <= seconds <= last]
        n = len(values)
        if n < 8:
            continue
        early = median(values[n // 4 : n // 2])
        late = median(values[3 * n // 4 :])
        print(
            f"{name}: {early:.0f} MB in the second quarter of the training, "
            f"{late:.0f} MB in the last"
        )


def plot(memory: Memory, path: Path) -> None:
    """Plot the memory of the processes over time and save the figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, samples in memory.items():
        axes.plot(*zip(*samples, strict=True), label=name)
    axes.set(
        xlabel="seconds", ylabel="own memory, MB", ylim=(0, None), title="short runs in one sweep"
    )
    axes.legend()
    figure.savefig(path, dpi=120)


def rerun(jobs: int, outputs: Path) -> float:
    """Return the duration in seconds of a sweep with this number of jobs, run in the current
    process.
    """
    from hydra.core.global_hydra import GlobalHydra

    from lenet_exp.commands.train import main as lenet_train

    GlobalHydra.instance().clear()
    os.environ["LENET_EXP_OUTPUTS"] = str(outputs)
    sys.argv = ["lenet-train", *line(jobs)]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        start = time.perf_counter()
        with contextlib.suppress(SystemExit):
            lenet_train()
        seconds = time.perf_counter() - start
    if f"{jobs} finished; 0 trained" not in quiet.getvalue():
        sys.exit(f"benchmarks.bookkeeping: not all were finished:\n{quiet.getvalue()}")
    return seconds


def composing() -> float:
    """Return the average time in seconds that Hydra takes to compose a job."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra_app():
        compose("train", overrides=[*SHORT, "seed=0"])
        start = time.perf_counter()
        for seed in range(COMPOSED):
            compose("train", overrides=[*SHORT, f"seed={seed}"])
        return (time.perf_counter() - start) / COMPOSED


if __name__ == "__main__":
    main()
