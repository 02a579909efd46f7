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
        show([json.loads(line) for line in settings.show.read_text().splitlines()], settings.plot)
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
    grid = [f"{flag}={','.join(narrower.get(flag, values))}" for flag, values in FLAGS.items()]
    base = [
        "dataset=fashion_mnist",
        "dataset.train_size=10000",
        "batch_size=128",
        f"num_epoch={EPOCHS}",
    ]
    light = [] if more else ["tracking.models=best", "tracking.plots=false"]
    where = [f"tracking.uri={uri}", f"tracking.experiment=scale_{size}"] if uri else []
    return ["-m", *base, "engine=native", *grid, f"seed=range({seeds})", *light, *where, *more]


def measure(size: int, outputs: Path, uri: str | None, more: Sequence[str]) -> Scale:
    """Run the sweep and the other commands for one size, and return the measurements."""
    measured = Scale(size, (uri or "sqlite").partition(":")[0])
    train = ["-m", "benchmarks.scale_recorded", *line(size, uri, more)]
    measured.commands["dry run"] = command([*train, "sweep.dry_run=true"], outputs)
    measured.commands["sweep"], measured.phases = sweep(train, outputs)
    measured.commands["again"] = command(train, outputs)
    for name, program, *words in (
        ("compare", "compare"),
        ("status", "sweep", "status"),
        ("list", "sweep", "list"),
        ("sync", "sync"),
    ):
        measured.commands[name] = command(["-m", "lenet_exp", program, *words], outputs)
    measured.bytes = {
        name: tree(outputs / name) for name in ("runs", "sweeps", "mlartifacts", "mlflow.db")
    }
    measured.page = page_seconds(outputs, uri)
    return measured


def command(arguments: Sequence[str], outputs: Path) -> Cost:
    """Run Python with these arguments and return the cost of the process."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment(outputs), stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (
            0,
            1,
        ):  # the status is 1 because some recorded curves diverged
            said.seek(0)
            sys.exit(
                f"benchmarks.scale: {' '.join(arguments)}: status {process.returncode}\n{said.read().decode()}"
            )
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def sweep(arguments: Sequence[str], outputs: Path) -> tuple[Cost, dict[str, float]]:
    """Run a sweep, and return the cost of its main process and its CPU times in seconds, keyed by
    phase.
    """
    start, memory, workers = time.perf_counter(), 0.0, dict[int, float]()
    marks = {"jobs": 0.0, "runs": 0.0}
    log = outputs.with_name(f"{outputs.name}.log")
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment(outputs), stdout=said, stderr=said
        )
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            with contextlib.suppress(OSError):
                used, resident = of_process(process.pid)
                memory = max(memory, resident)
                if not list(outputs.glob("sweeps/*/sweep.json")):
                    marks["jobs"] = used
                children = started_by(process.pid)
                workers |= {pid: of_process(pid)[0] for pid in children}
                if children or not workers:
                    marks["runs"] = used
            time.sleep(SAMPLED)
        _, status, total = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # the status is 1 because some recorded curves diverged
        sys.exit(
            f"benchmarks.scale: the sweep ended with status {process.returncode}\n{log.read_text()[-3000:]}"
        )
    log.unlink()
    # the times from wait4 include those of the workers
    own = total.ru_utime + total.ru_stime - sum(workers.values())
    phases = {
        "jobs": marks["jobs"],
        "runs": marks["runs"] - marks["jobs"],
        "end": own - marks["runs"],
    }
    return Cost(time.perf_counter() - start, own, memory), phases | {
        "workers": sum(workers.values())
    }


def of_process(pid: int) -> tuple[float, float]:
    """Return the CPU time in seconds of a process without its children, and its own memory in
    MB.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    rss = next(
        (
            x
            for x in Path(f"/proc/{pid}/status").read_text().splitlines()
            if x.startswith("RssAnon")
        ),
        None,
    )
    if rss is None:  # the process has ended
        raise ProcessLookupError(pid)
    return (int(fields[11]) + int(fields[12])) / TICK, int(rss.split()[1]) / 1024


def tree(path: Path) -> int:
    """Return the size in bytes of a file, or the total size of all files in a folder."""
    return sum(
        p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()
    )


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
            for line in process.stdout:
                lines.append(line.strip())
                if lines[-1].startswith("Press Ctrl-C"):
                    break
            address = next(line for line in lines if line.startswith("http"))
            match = re.search(r"^user (\S+), password (\S+)", "\n".join(lines), re.MULTILINE)
            login: HttpCredentials | None = None
            if match is not None:
                login = {"username": match[1], "password": match[2]}
            yield address, login
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
