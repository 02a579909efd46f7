"""Makes cfe5d23.tar.xz and cfe5d23.json: what that commit leaves in an outputs folder, and what it says of it.

With PLACE=/tmp/lenet_exp-cfe5d23, a clone of that commit in $PLACE/source and an environment with the oldest supported
dependencies (`.ci/oldest.py`) in $PLACE/python, under neutral names of host and user:

    unshare --uts sh -c "hostname machine; env -i LOGNAME=user HOME=$PLACE/home PATH=$PLACE/python/bin:/usr/bin:/bin \
        python tests/upgrade/make.py"
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACE = Path("/tmp/lenet_exp-cfe5d23")
OUTPUTS, UNDISTURBED = PLACE / "outputs", PLACE / "undisturbed"
SMALL = ("dataset=digits", "batch_size=32", "num_iter_echo=100", "engine=auto", "tracking.plots=false")
LONG = ("dataset=digits", "batch_size=2", "num_epoch=8", "optimizer.lr=0.001", "num_iter_echo=500", "num_threads=1")
SPACE = ("optimizer.lr=tag(log,interval(1e-4,0.3))", "optimizer.momentum=choice(0.5,0.9)")
SEARCH = ("-m", "hydra/sweeper=search", "n_trials=5", "search.seed=3", "+search.pruner_options.reduction_factor=2")
COMMANDS = {
    "grid": ("-m", *SMALL, "num_epoch=2", "activation=selu,rrelu", "seed=0,1", "sweep.workers=1"),
    "search": (*SEARCH, *SMALL, "num_epoch=6", "sweep.workers=1", *SPACE),
    "interrupted": ("-m", *LONG, "seed=0,1,2", "sweep.workers=1"),
    "alone": (*LONG, "seed=7"),
}


def start(program: str, *arguments: str, outputs: Path = OUTPUTS) -> subprocess.Popen[str]:
    environment = os.environ | {"LENET_EXP_OUTPUTS": str(outputs), "PYTHONPATH": str(PLACE / "source")}
    command = [sys.executable, "-m", "lenet_exp", program, *arguments]
    return subprocess.Popen(command, cwd=PLACE, env=environment, text=True, stdout=subprocess.PIPE)


def lenet(program: str, *arguments: str, outputs: Path = OUTPUTS) -> str:
    return start(program, *arguments, outputs=outputs).communicate()[0]


def written(program: str, *arguments: str) -> Any:
    """What a command writes with output=."""
    lenet(program, *arguments, f"output={PLACE}/written.json")
    return json.loads((PLACE / "written.json").read_text())


def interrupt(*arguments: str, when: Callable[[], bool], how: int) -> None:
    process = start("train", *arguments)
    while not when():
        time.sleep(0.005)
        assert process.poll() is None, "it ended before it was interrupted"
    process.send_signal(how)
    process.wait()


def new(folder: str, known: set[str]) -> list[Path]:
    """The run folders or sweep folders of other names."""
    return [path for path in (OUTPUTS / folder).iterdir() if path.name not in known]


def make() -> dict[str, str]:
    """Fills the outputs folder; the names of its sweeps, and of the run that was interrupted alone."""
    made: dict[str, str] = {}

    def note(name: str) -> None:
        (made[name],) = (path.name for path in new("sweeps", set(made.values())))

    lenet("train", *COMMANDS["grid"])
    note("grid")
    lenet("train", *COMMANDS["search"])
    note("search")
    lenet("compare", f"sweep={made['grid']}", "confirm=1", "seeds=3", "run=true")
    note("confirmation")
    known = {path.name for path in new("runs", set())}

    def three_epochs() -> bool:
        logs = [path / "run.log" for path in new("runs", known)]
        return any(log.is_file() and log.read_text().count("INFO epoch ") >= 3 for log in logs)

    def second_of_three() -> bool:
        ended = [(path / "record.json").is_file() for path in new("runs", known)]
        return sorted(ended) == [False, True]

    interrupt(*COMMANDS["alone"], when=three_epochs, how=signal.SIGTERM)
    (made["alone"],) = (path.name for path in new("runs", known))
    known.add(made["alone"])
    interrupt(*COMMANDS["interrupted"], when=second_of_three, how=signal.SIGKILL)
    note("interrupted")
    time.sleep(35)  # its worker writes a checkpoint and leaves
    return made


def in_mlflow(outputs: Path) -> dict[str, Any]:
    """What MLflow shows of each run and sweep, by the name of its folder."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "lenet_exp")
    return {
        run.data.tags.get("run_folder") or run.data.tags["sweep"]: {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "metrics": run.data.metrics,
            "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            "tags": {k: v for k, v in run.data.tags.items() if k != "mlflow.note.content"},
        }
        for run in client.search_runs([experiment.experiment_id])
    }


def expected(made: dict[str, str]) -> dict[str, Any]:
    for name in ("interrupted", "alone"):
        lenet("train", *COMMANDS[name], outputs=UNDISTURBED)
    records = [json.loads(path.read_text()) for path in UNDISTURBED.glob("runs/*/record.json")]
    return {
        "made": made,
        "commands": COMMANDS,
        "flags": {program: lenet(program, "--cfg", "job") for program in ("train", "predict")},
        "compare": {n: written("compare", f"sweep={made[n]}") for n in ("grid", "search", "confirmation")},
        "champion": written("predict", "dataset=digits"),
        "leader": written("predict", f"sweep={made['grid']}", "dataset=digits"),
        "undisturbed": {record["fingerprint"]: record["weights_digest"] for record in records},
        "undisturbed_mlflow": in_mlflow(UNDISTURBED),
    }


if __name__ == "__main__":
    for folder in (OUTPUTS, UNDISTURBED):
        shutil.rmtree(folder, ignore_errors=True)
    left = make()
    with tarfile.open(PLACE / "cfe5d23.tar.xz", "w:xz", preset=9) as archive:
        archive.add(OUTPUTS, "outputs")
    text = json.dumps(expected(left), indent=1, sort_keys=True).replace(str(UNDISTURBED), str(OUTPUTS))
    (PLACE / "cfe5d23.json").write_text(text + "\n")
