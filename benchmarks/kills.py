"""A sweep that is repeatedly killed (kill -9) and rerun ends with the same results as an
undisturbed sweep.

Each kill happens at a random time and affects the sweep's main process, one of its workers, its
uploading process, or several of these processes. At the end, MLflow must have a FINISHED run for
each job and no RUNNING runs. No point of a curve may be duplicated, and each weights digest must be
the same as in an undisturbed sweep.

    python -m benchmarks.kills --kills 100 --log kills.log
    python -m benchmarks.kills --kills 30 --victims uploader 'sweep and uploader'
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks.measure import parser, positive
from lenet_exp.addresses import sqlite_uri

DIGITS = ("dataset=digits", "batch_size=32", "tracking.plots=false")
LINES = {
    "network": (
        *DIGITS,
        "optimizer=sgd,adam",
        "activation=selu,prelu,rrelu",
        "regularization.dropout_rate=0,0.3",
        "seed=0,1",
    ),
    "options": (
        *DIGITS,
        "schedule=linear,cosine,one_cycle,step",
        "schedule.warmup=0.1",
        "augmentation=[shift,flip],affine,[elastic,erase]",
        "training.ema_decay=null,0.95",
        "training.label_smoothing=0.1",
        "training.clip_norm=1",
        "training.patience=20",
        "optimizer.nesterov=true",
        "regularization.dropout_rate=0.2",
    ),
}
VICTIMS = ("sweep", "worker", "uploader", "sweep and uploader", "all")
UPLOADER = b"lenet_exp.tracking.uploader.process"
TRAINING_SECONDS = 1.5  # maximum time from the start of the training to a kill
UPLOADING_SECONDS = 8.0  # the same for a kill of the uploading process, which first imports mlflow


def main() -> None:
    """Run the benchmark, and print the kills and the differences. Exit with status 1 if the results
    differ.
    """
    options = parser(__doc__, repeats=1)
    options.add_argument("--kills", type=positive, default=100, help="how often (default 100)")
    options.add_argument("--epochs", type=positive, default=100, help="epochs a run (default 100)")
    options.add_argument(
        "--line", choices=LINES, default="network", help="what is swept (default network)"
    )
    options.add_argument(
        "--victims",
        choices=VICTIMS,
        nargs="+",
        default=VICTIMS,
        help="what is killed (default: any)",
    )
    options.add_argument(
        "--seed", type=int, default=0, help="of the victims and moments (default 0)"
    )
    options.add_argument(
        "--log", type=Path, metavar="FILE", help="write what was killed there, too"
    )
    arguments = options.parse_args()

    start_sweep = partial(start, (*LINES[arguments.line], f"num_epoch={arguments.epochs}"))
    rng = random.Random(arguments.seed)
    victims = rng.choices(arguments.victims, k=arguments.kills)
    log_file: Path = arguments.log or Path(os.devnull)
    with tempfile.TemporaryDirectory() as scratch, log_file.open("w") as log:

        def tell(line: str) -> None:
            print(line, flush=True)
            print(line, file=log, flush=True)

        calm = run_calmly(start_sweep, Path(scratch) / "calm")
        battered = Path(scratch) / "battered"
        batter(start_sweep, battered, victims, rng, tell=tell)
        wrong = differences(battered, calm)
        if wrong:
            tell("\n".join(wrong))
        else:
            tell(
                f"{len(calm)} runs FINISHED, none RUNNING, no point doubled, "
                "all weights digests equal"
            )
    sys.exit(1 if wrong else 0)


class Process(Protocol):
    """The interface of subprocess.Popen that this benchmark uses."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status, or None if the process is still running."""

    def wait(self) -> int:
        """Wait until the process ends and return its exit status."""


def start(line: tuple[str, ...], outputs: Path) -> Process:
    """Start `lenet-train -m <line>` in a new session and return the process."""
    command = [sys.executable, "-m", "lenet_exp", "train", "-m", *line]
    return subprocess.Popen(
        command, env=environment(outputs), stdout=subprocess.DEVNULL, start_new_session=True
    )


def run_calmly(start: Callable[[Path], Process], outputs: Path) -> dict[str, tuple[str, int]]:
    """Run the sweep without kills and return its results, in the format of `results`."""
    status = start(outputs).wait()
    if status != 0:
        raise RuntimeError(f"the sweep ended with status {status}")
    return results(outputs)


def batter(
    start: Callable[[Path], Process],
    outputs: Path,
    victims: Sequence[str],
    rng: random.Random,
    tell: Callable[[str], None] = print,
) -> None:
    """Kill a sweep repeatedly and rerun it until it is finished and no upload was disturbed.

    Args:
        start: function that starts the sweep in an outputs folder.
        outputs: the outputs folder.
        victims: for each kill, which processes to kill, from `VICTIMS`.
        rng: random number generator for the times of the kills.
        tell: function that prints a line about each kill.
    """
    done = 0
    while True:
        sweep = start(outputs)
        lost_uploader = False
        while done < len(victims):
            victim = victims[done]
            if victim == "uploader" and lost_uploader:
                victim = "sweep"  # a sweep has only one uploading process
            longest = UPLOADING_SECONDS if "uploader" in victim else TRAINING_SECONDS
            if not _wait(sweep, rng.uniform(0, longest), training=rng.random() < 0.9):
                break
            struck = _kill(sweep, victim)
            done += bool(struck)
            tell(f"kill {done}: {victim}, processes {struck}, {_finished(outputs)} runs finished")
            if victim == "uploader":
                lost_uploader = True
            elif victim != "worker":
                break

        if done >= len(victims) or sweep.poll() is not None:
            sweep.wait()
        if sweep.poll() == 0 and not lost_uploader:
            if done < len(victims):
                raise RuntimeError(
                    f"the sweep ended after {done} of {len(victims)} kills; give it more epochs"
                )
            return


def differences(outputs: Path, calm: dict[str, tuple[str, int]]) -> list[str]:
    """Compare the results of a sweep with those of an undisturbed sweep, and return a line for each
    difference.
    """
    from mlflow import MlflowClient

    store = MlflowClient(sqlite_uri(outputs / "mlflow.db"))
    experiment = store.get_experiment_by_name("lenet_exp")
    assert experiment is not None
    experiment_ids = [experiment.experiment_id]
    logged_runs = store.search_runs(experiment_ids, "tags.kind = 'run'", max_results=1000)
    wrong = []
    states = Counter(run.info.status for run in logged_runs)
    if states != {"FINISHED": len(calm)}:
        wrong.append(f"runs: {dict(states)}")
    sweeps = store.search_runs(experiment_ids, "tags.kind = 'sweep'")
    states_of_sweeps = [sweep.info.status for sweep in sweeps]
    if states_of_sweeps != ["FINISHED"]:
        wrong.append(f"sweeps: {states_of_sweeps}")

    for run in logged_runs:
        _, epochs = calm[run.data.tags["fingerprint"]]
        for name in run.data.metrics:
            points = store.get_metric_history(run.info.run_id, name)
            steps = Counter(point.step for point in points)
            most = max(steps.values())
            if most > 1:
                wrong.append(f"{run.info.run_name}: {name} has {most} points at one step")
            if name == "val_accuracy" and sorted(steps) != list(range(1, epochs + 1)):
                wrong.append(f"{run.info.run_name}: {len(steps)} of {epochs} epochs")

    battered = results(outputs)
    for fingerprint, result in calm.items():
        if battered.get(fingerprint) != result:
            wrong.append(f"{fingerprint}: other weights or epochs")
    for folder in (outputs / "runs").iterdir():
        wrong += [f"left behind: {file}" for file in folder.glob("state-*")]
    return wrong


def results(outputs: Path) -> dict[str, tuple[str, int]]:
    """Return the weights digest and the number of epochs of each finished run, keyed by
    fingerprint.
    """
    results_by_fingerprint = {}
    for path in (outputs / "runs").glob("*/record.json"):
        record = json.loads(path.read_text())
        if record["outcome"] == "finished":
            result = (record["weights_digest"], record["epochs"])
            results_by_fingerprint[record["fingerprint"]] = result
    return results_by_fingerprint


def environment(outputs: Path) -> dict[str, str]:
    """Return the environment variables for a process that uses this outputs folder."""
    variables = {}
    for name, value in os.environ.items():
        if not name.startswith(("MLFLOW_", "HYDRA_")):
            variables[name] = value
    variables["LENET_EXP_OUTPUTS"] = str(outputs)
    variables["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    return variables


def _wait(sweep: Process, seconds: float, *, training: bool) -> bool:
    """Wait for some seconds and return whether the sweep is still running.

    Args:
        training: whether to wait first until the sweep has started to train.
    """
    while training and sweep.poll() is None and not workers_of(sweep):
        time.sleep(0.05)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and sweep.poll() is None:
        time.sleep(0.02)
    return sweep.poll() is None


def started_by(process: int) -> list[int]:
    """Return the IDs of the child processes of a process that are still running."""
    process_ids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            process_ids.append(int(stat.parent.name))
    return process_ids


def uploader_of(sweep: Process) -> list[int]:
    """Return the ID of the uploading process of a sweep, if it is running."""
    return [process for process in started_by(sweep.pid) if UPLOADER in command_of(process)]


def workers_of(sweep: Process) -> list[int]:
    """Return the IDs of the workers of a sweep that are running."""
    return [process for process in started_by(sweep.pid) if UPLOADER not in command_of(process)]


def command_of(process: int) -> bytes:
    """Return the command line of a process, or no bytes if the process has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(sweep: Process, victim: str) -> list[int]:
    """Kill some processes of a sweep, and return their IDs."""
    workers = workers_of(sweep)
    uploader = uploader_of(sweep)
    processes_of = {
        "sweep": [sweep.pid],
        "worker": workers[:1],
        "uploader": uploader,
        "sweep and uploader": [sweep.pid, *uploader],
        "all": [sweep.pid, *workers, *uploader],
    }
    struck = processes_of[victim]
    for pid in struck:
        try:
            os.killpg(pid, signal.SIGKILL)  # each process has its own process group
        except ProcessLookupError:
            # A process of a running sweep may have ended, but the sweep itself must exist.
            if pid != sweep.pid:
                os.kill(sweep.pid, 0)
    if sweep.pid in struck:
        sweep.wait()
    return struck


def _finished(outputs: Path) -> int:
    return len(list((outputs / "runs").glob("*/record.json")))


if __name__ == "__main__":
    main()
