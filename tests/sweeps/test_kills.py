"""After SIGKILL at any point and a rerun, the results equal those of an undisturbed run.

The kills come at each kind of point where a run or a sweep writes something, or where its uploading
process changes MLflow (tests/tools/strikes.py; a quarter of them in CI), and at random times while
workers train. `python -m benchmarks.kills` repeats the random kills a hundred times.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.kills import batter, differences, run_calmly
from tests.tools.commands import SMALL, Done, end, start, succeeded
from tests.tools.stores import client, files, models, points, runs
from tests.tools.strikes import STRIKE, TRACE, UPLOADER_STRIKE, UPLOADER_TRACE
from tests.tools.warm import Process

QUICK = (*SMALL, "num_threads=1", "tracking.plots=false")
RUN = (*QUICK, "num_epoch=3", "tracking.models=none")
MODEL = (*QUICK, "num_epoch=1")
SWEEP = ("-m", "hydra/launcher=basic", *QUICK, "num_epoch=1", "tracking.models=none", "seed=0,1")
EPOCHS = 16
TRAINING = (
    "training.ema_decay=0.95",
    "training.label_smoothing=0.1",
    "training.clip_norm=1",
    "training.patience=3",
)
NETWORK = (
    "activation=prelu,rrelu",
    "regularization.dropout_rate=0.2",
    "augmentation=[shift,flip,elastic,erase]",
)
BARE = ("tracking.plots=false", "tracking.models=none", f"num_epoch={EPOCHS}")
OPTIONS = (*SMALL, *BARE, "optimizer=sgd,adam", "schedule=one_cycle", *NETWORK, *TRAINING)
# only the steps of these metrics are compared
MEASURED = {"epoch_seconds", "images_per_second", "seconds_to_best"}


class Calm:
    """An undisturbed command: the points that it reaches and the results that it leaves."""

    def __init__(self, line: tuple[str, ...], folder: Path, empty_store: Path) -> None:
        self.line = line
        self._folder = folder
        self._empty = empty_store
        traces = {TRACE: folder / "trace", UPLOADER_TRACE: folder / "uploader_trace"}
        done = self._start(folder / "outputs", **{name: str(path) for name, path in traces.items()})
        succeeded(done)
        self.points = traces[TRACE].read_text().splitlines()
        self.uploader_points = traces[UPLOADER_TRACE].read_text().splitlines()
        self.results = results_in(folder / "outputs")

    def struck(self, number: int, *, uploader: bool = False) -> dict[str, Any]:
        """Return the results after a kill of the command or of its uploading process at a point,
        and a rerun.
        """
        victim = UPLOADER_STRIKE if uploader else STRIKE
        status = 0 if uploader else -9
        # A new name for each kill, because this process keeps connections to the databases that it
        # has read.
        outputs = self._folder / f"{victim.lower()}-{number}"

        done = self._start(outputs, **{victim: str(number)})
        assert done.returncode == status, done.stderr
        succeeded(self._start(outputs))

        results = results_in(outputs)
        shutil.rmtree(outputs)
        return results

    def _start(self, outputs: Path, **environment: str) -> Done:
        if not outputs.exists():
            shutil.copytree(self._empty, outputs)
        return end(
            start(*self.line, outputs=outputs, module="tests.tools.strikes", env=environment)
        )


def results_in(outputs: Path) -> dict[str, Any]:
    """Return everything that must not depend on kills: states, digests, curves, artifacts, models
    and file names.
    """
    store = client(outputs)
    results: dict[str, Any] = {"models": len(models(store))}
    for run in runs(store):
        assert run.info.run_name not in results  # no duplicates
        curves = {}
        for metric, curve in points(store, run.info.run_id).items():
            curves[metric] = [(step, value) for step, value, _ in curve]
            if metric in MEASURED:
                curves[metric] = [step for step, _, _ in curve]
        results[run.info.run_name] = (*uploaded(store, run), curves)
    for sweep in runs(store, "sweep"):
        assert sweep.info.run_name not in results
        last_values = {}
        for metric, curve in points(store, sweep.info.run_id).items():
            last_values[metric] = curve[-1][1]  # a sweep logs a point per start
        results[sweep.info.run_name] = (*uploaded(store, sweep), last_values)

    paths = [*(outputs / "runs").rglob("*"), *(outputs / "sweeps").rglob("*")]
    results["files"] = sorted(
        str(path.relative_to(outputs))
        for path in paths
        if path.name != "owner.json" and path.parent.name != "ended"  # both are of one start
    )
    return results


def uploaded(store: MlflowClient, run: Run) -> tuple[Any, ...]:
    """Return what MLflow has about a run or a sweep, without its metrics."""
    tags = run.data.tags
    return (
        run.info.status,
        tags.get("fingerprint"),
        tags.get("weights_digest"),
        tags.get("outcome"),
        "mlflow.parentRunId" in tags,
        files(store, run.info.run_id),
    )


@pytest.fixture(scope="module")
def calm(empty_store, tmp_path_factory):
    """Return a function that runs each command once without a kill."""
    calm_commands: dict[tuple[str, ...], Calm] = {}

    def run(line: tuple[str, ...]) -> Calm:
        if line not in calm_commands:
            calm_commands[line] = Calm(line, tmp_path_factory.mktemp("calm"), empty_store)
        return calm_commands[line]

    return run


def differing(
    command: Calm, numbers: list[int], *, uploader: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the points at which a kill changes the final results, each with the pairs of results
    that differ.
    """
    assert numbers
    points = command.uploader_points if uploader else command.points
    differences = {}
    for number in numbers:
        after_kill = command.struck(number, uploader=uploader)
        changed = {}
        for name in command.results.keys() | after_kill.keys():
            pair = (command.results.get(name), after_kill.get(name))
            if pair[0] != pair[1]:
                changed[name] = pair
        if changed:
            differences[f"{number}: {points[number]}"] = changed
    return differences


def of_each_kind(points: list[str], middle: int, end: int) -> list[int]:
    """Return the first point after each kind of point, for the start, the middle and the end of the
    command.
    """
    firsts: dict[tuple[int, str], int] = {}
    preceding = ["", *points[:-1]]  # kills differ only in the kind of the preceding point
    for number, point in enumerate(preceding):
        part = (number >= middle) + (number >= end)
        firsts.setdefault((part, point), number)
    return list(firsts.values())


def last(points: list[str], point: str) -> int:
    return len(points) - 1 - points[::-1].index(point)


FEW_OR_ALL = pytest.mark.parametrize(
    "step",
    [
        pytest.param(4, marks=pytest.mark.slow(seconds=25)),
        pytest.param(1, marks=pytest.mark.by_hand),
    ],
)


@FEW_OR_ALL
def test_run_killed_at_any_point_ends_like_undisturbed_run(calm, step):
    """The kills come before, during and after checkpoints and uploads, at the start and at the
    end.
    """
    points = calm(RUN).points
    state = "replace state-N-N.safetensors"
    history = "replace history.json"
    assert {state, history} <= set(points)
    kinds = of_each_kind(points, points.index(history) + 1, last(points, state))
    after_checkpoints = [number for number in kinds if points[number - 1] == history]
    assert differing(calm(RUN), sorted({*kinds[::step], *after_checkpoints})) == {}


@FEW_OR_ALL
@pytest.mark.parametrize("line", [MODEL, SWEEP], ids=["run", "sweep"])
def test_command_with_killed_uploader_ends_like_undisturbed_one(calm, line, step):
    """The kills come before and after each kind of change in MLflow, also during the upload of the
    model.
    """
    points = calm(line).uploader_points
    assert {
        "MlflowClient.create_run",
        "MlflowClient.set_terminated",
        "replace delivered.json",
    } <= set(points)
    kinds = of_each_kind(points, 0, last(points, "MlflowClient.set_terminated"))
    assert differing(calm(line), kinds[::step], uploader=True) == {}


@FEW_OR_ALL
def test_sweep_killed_at_any_point_ends_like_undisturbed_sweep(calm, step):
    sweep = calm(SWEEP)
    run = calm(RUN)
    first_job = sweep.points.index("replace job.json")
    after_the_last_run = last(sweep.points, "unlink N") + 1
    kinds = of_each_kind(sweep.points, first_job, after_the_last_run)
    points_of_sweep = []  # those that a single run does not have
    for number in kinds:
        is_in_run = first_job <= number < after_the_last_run
        if not is_in_run or sweep.points[number] not in run.points:
            points_of_sweep.append(number)

    names = {sweep.points[number] for number in points_of_sweep}
    assert {"replace jobs.jsonl", "replace sweep.json"} <= names
    assert differing(sweep, points_of_sweep[::step]) == {}


@pytest.mark.by_hand
def test_repeatedly_killed_sweep_ends_like_undisturbed_sweep(empty_store, tmp_path):
    """The runs use augmentation and flags of `training`; the kills come at random times of parallel
    training.
    """

    def sweep(outputs: Path) -> Process:
        if not outputs.exists():
            shutil.copytree(empty_store, outputs)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return start("-m", *OPTIONS, outputs=outputs, start_new_session=True, **quiet)

    undisturbed = run_calmly(sweep, tmp_path / "calm")
    assert len(undisturbed) == 4
    assert min(trained for _, trained in undisturbed.values()) < EPOCHS  # patience ended some runs
    batter(sweep, tmp_path / "battered", ("sweep", "worker", "all"), random.Random(1))
    assert differences(tmp_path / "battered", undisturbed) == []
