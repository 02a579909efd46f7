"""Measure the cost of sweeps with 100 to 10,000 runs, and whether any cost grows faster than the
number of runs.

Recorded curves replace the training (`scale_recorded.py`). All other parts of a sweep are real:
composing, checking, and storing the jobs, worker processes, run folders, uploads to MLflow, and the
end of the sweep. The benchmark also measures commands that users run before or after a sweep: a dry
run, the same command again, `lenet-compare`, `lenet-sweep status` and `list`, `lenet-sync`, and
MLflow's sorted table in Chromium, if it is installed. It runs one command at a time. CPU times are
more reliable than wall times.

    python -m benchmarks.scale --json scale.jsonl               # with SQLite; writes a line after
                                                                each size
    python -m benchmarks.scale --show scale.jsonl --plot benchmarks/scale.png

The sweep sets `tracking.models=best tracking.plots=false`. To measure the cost of a model and plots
for each run, add `--more tracking.models=all tracking.plots=true --sizes 96 1008`.

Data folder with FashionMNIST: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.kills import environment, started_by
from benchmarks.measure import positive
from benchmarks.scale_show import show
from benchmarks.search_table import EPOCHS, FLAGS

if TYPE_CHECKING:
    from playwright.sync_api import HttpCredentials

TICK = os.sysconf("SC_CLK_TCK")
SMALL = {"activation": ["relu"], "regularization.dropout_rate": ["0", "0.2"]}
# For each number of runs: the flags that have fewer values than in the full grid, and the number of
# seeds.
SIZES = {96: (SMALL, 1), 1008: ({}, 1), 3024: ({}, 3), 10080: ({}, 10)}
SAMPLED = 0.25  # seconds between two samples of the sweep's main process
# Some recorded curves diverged, for which a sweep ends with status 1.
GOOD_STATUSES = (0, 1)
# commands after the sweep, by name
AFTER = {
    "compare": ("compare",),
    "status": ("sweep", "status"),
    "list": ("sweep", "list"),
    "sync": ("sync",),
}


@dataclass(frozen=True)
class Cost:
    """The cost of a command.

    Attributes:
        seconds: wall time in seconds.
        cpu: CPU time in seconds, including child processes except for the workers of a sweep.
        memory: peak memory of the main process in MB.
    """

    seconds: float
    cpu: float
    memory: float


@dataclass
class Scale:
    """The measurements for one size of sweep.

    Attributes:
        runs: number of runs in the sweep.
        store: type of the store: sqlite, http, or https.
        commands: costs keyed by command, such as `sweep`, `again`, and `dry run`.
        phases: CPU times in seconds. `jobs`, `runs`, and `end` refer to the main process while it
            creates the jobs, while the jobs run (mostly uploads), and at the end. `workers` refers
            to all workers.
        bytes: sizes in bytes of the run folders, the sweep folder, MLflow's artifacts, and MLflow's
            database.
        page: time in seconds until MLflow's sorted table shows its first rows; None if it was not
            measured.
    """

    runs: int
    store: str
    commands: dict[str, Cost] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    page: float | None = None


def main() -> None:
    """Run the benchmark for each size, or show earlier measurements."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--sizes", type=positive, nargs="+", default=list(SIZES), choices=list(SIZES)
    )
    options.add_argument(
        "--uri", help="a store instead of SQLite; each size is an experiment of its own there"
    )
    options.add_argument("--more", nargs="+", default=[], help="flags for the line")
    options.add_argument("--json", type=Path, metavar="FILE", help="append a line a size there")
    options.add_argument(
        "--show", type=Path, metavar="FILE", help="measure nothing: show what was kept there"
    )
    options.add_argument("--plot", type=Path, metavar="FILE", help="with --show: draw it")
    settings = options.parse_args()
    if settings.show:
        lines = settings.show.read_text().splitlines()
        show([json.loads(line) for line in lines], settings.plot)
        return

    kept = []
    for size in settings.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            kept.append(asdict(measure(size, Path(scratch), settings.uri, settings.more)))
        if settings.json:
            with settings.json.open("a") as file:
                file.write(json.dumps(kept[-1]) + "\n")
    show(kept, None)


def line(size: int, uri: str | None, more: Sequence[str]) -> list[str]:
    """Return the command line arguments of a sweep.

    Args:
        size: number of runs, one of `SIZES`.
        uri: address of the store; None for SQLite.
        more: additional flags.
    """
    narrower, seeds = SIZES[size]
    words = [
        "-m",
        "dataset=fashion_mnist",
        "dataset.train_size=10000",
        "batch_size=128",
        f"num_epoch={EPOCHS}",
        "engine=native",
    ]
    for flag, values in FLAGS.items():
        words.append(f"{flag}={','.join(narrower.get(flag, values))}")
    words.append(f"seed=range({seeds})")
    if not more:
        words += ["tracking.models=best", "tracking.plots=false"]
    if uri:
        words += [f"tracking.uri={uri}", f"tracking.experiment=scale_{size}"]
    return [*words, *more]


def measure(size: int, outputs: Path, uri: str | None, more: Sequence[str]) -> Scale:
    """Run the sweep and the other commands for one size, and return the measurements."""
    store, _, _ = (uri or "sqlite").partition(":")
    measured = Scale(size, store)
    train = ["-m", "benchmarks.scale_recorded", *line(size, uri, more)]
    measured.commands["dry run"] = command([*train, "sweep.dry_run=true"], outputs)
    measured.commands["sweep"], measured.phases = sweep(train, outputs)
    measured.commands["again"] = command(train, outputs)
    for name, words in AFTER.items():
        measured.commands[name] = command(["-m", "lenet_exp", *words], outputs)
    for name in ("runs", "sweeps", "mlartifacts", "mlflow.db"):
        measured.bytes[name] = tree(outputs / name)
    measured.page = page_seconds(outputs, uri)
    return measured


def command(arguments: Sequence[str], outputs: Path) -> Cost:
    """Run Python with these arguments and return the cost of the process."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment(outputs), stdout=log, stderr=log
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in GOOD_STATUSES:
            log.seek(0)
            sys.exit(
                f"benchmarks.scale: {' '.join(arguments)}: status {process.returncode}\n"
                f"{log.read().decode()}"
            )
    return Cost(
        seconds=time.perf_counter() - start,
        cpu=used.ru_utime + used.ru_stime,
        memory=used.ru_maxrss / 1024,
    )


@dataclass
class Samples:
    """What is sampled while a sweep runs.

    Attributes:
        memory: largest memory of the main process in MB.
        cpu_jobs: CPU time of the main process, in seconds, until it has created the jobs.
        cpu_runs: the same until all workers have ended.
        workers: CPU time of each worker in seconds, keyed by process ID.
    """

    memory: float = 0.0
    cpu_jobs: float = 0.0
    cpu_runs: float = 0.0
    workers: dict[int, float] = field(default_factory=dict)

    def add(self, pid: int, outputs: Path) -> None:
        """Add a sample of the main process and its workers.

        Raises:
            OSError: one of these processes has ended.
        """
        cpu, memory = of_process(pid)
        self.memory = max(self.memory, memory)
        if not list(outputs.glob("sweeps/*/sweep.json")):
            self.cpu_jobs = cpu
        children = started_by(pid)
        cpu_of_children = {child: of_process(child)[0] for child in children}
        self.workers |= cpu_of_children
        if children or not self.workers:
            self.cpu_runs = cpu


def sweep(arguments: Sequence[str], outputs: Path) -> tuple[Cost, dict[str, float]]:
    """Run a sweep, and return the cost of its main process and its CPU times in seconds, keyed by
    phase.
    """
    start = time.perf_counter()
    samples = Samples()
    log = outputs.with_name(f"{outputs.name}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment(outputs), stdout=file, stderr=file
        )
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            with contextlib.suppress(OSError):
                samples.add(process.pid, outputs)
            time.sleep(SAMPLED)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in GOOD_STATUSES:
        sys.exit(
            f"benchmarks.scale: the sweep ended with status {process.returncode}\n"
            f"{log.read_text()[-3000:]}"
        )
    log.unlink()

    # the times from wait4 include those of the workers
    cpu_of_workers = sum(samples.workers.values())
    cpu = used.ru_utime + used.ru_stime - cpu_of_workers
    phases = {
        "jobs": samples.cpu_jobs,
        "runs": samples.cpu_runs - samples.cpu_jobs,
        "end": cpu - samples.cpu_runs,
        "workers": cpu_of_workers,
    }
    return Cost(time.perf_counter() - start, cpu, samples.memory), phases


def of_process(pid: int) -> tuple[float, float]:
    """Return the CPU time in seconds of a process without its children, and its own memory in
    MB.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith("RssAnon"):
            _, kilobytes, _ = row.split()
            return ticks / TICK, int(kilobytes) / 1024
    raise ProcessLookupError(pid)  # the process has ended


def tree(path: Path) -> int:
    """Return the size in bytes of a file, or the total size of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def page_seconds(outputs: Path, uri: str | None) -> float | None:
    """Return the time in seconds until MLflow's UI shows the sweep's table, sorted by accuracy.

    Return None if Chromium or Playwright is not installed.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if browser is None:
        return None
    with served(outputs, uri) as (address, login), sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=browser, args=["--headless", "--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": 1600, "height": 1000}, http_credentials=login)
        page.set_default_timeout(300_000)
        start = time.perf_counter()
        page.goto(address)
        page.locator(".ag-center-cols-container .ag-row").first.wait_for()
        seconds = time.perf_counter() - start
        chromium.close()
    return seconds


@contextlib.contextmanager
def served(outputs: Path, uri: str | None) -> Iterator[tuple[str, HttpCredentials | None]]:
    """Start `lenet-ui`, and yield the first address that it prints and, if it starts a server, the
    server's login.
    """
    where = [f"tracking.uri={uri}"] if uri else []
    arguments = [sys.executable, "-u", "-m", "lenet_exp", "ui", "port=0", *where]
    with subprocess.Popen(
        arguments, env=environment(outputs), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            lines = []
            for printed in process.stdout:
                lines.append(printed.strip())
                if lines[-1].startswith("Press Ctrl-C"):
                    break
            address = next(text for text in lines if text.startswith("http"))
            match = re.search(r"^user (\S+), password (\S+)", "\n".join(lines), re.MULTILINE)
            login: HttpCredentials | None = None
            if match is not None:
                login = {"username": match[1], "password": match[2]}
            yield address, login
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
