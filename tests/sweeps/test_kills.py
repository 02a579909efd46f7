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

from benchmarks.kills import batter, differences, run_calmly
from tests.tools.commands import SMALL, Done, end, start
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
MEASURED = {
    "epoch_seconds",
    "images_per_second",
    "seconds_to_best",
}  # only their steps are compared


class Calm:
    """An undisturbed command: the points that it reaches and the results that it leaves."""

    def __init__(self, line: tuple[str, ...], folder: Path, empty_store: Path) -> None:
        self.line = line
        self._folder = folder
        self._empty = empty_store
        traces = {TRACE: folder / "trace", UPLOADER_TRACE: folder / "uploader_trace"}
        done = self._start(folder / "outputs", **{name: str(path) for name, path in traces.items()})
        assert done.returncode == 0, done.stderr
        self.points = traces[TRACE].read_text().splitlines()
        self.uploader_points = traces[UPLOADER_TRACE].read_text().splitlines()
        self.left = left(folder / "outputs")

    def struck(self, number: int, *, uploader: bool = False) -> dict[str, Any]:
        """Return the results after a kill of the command or of its uploading process at a point,
        and a rerun.
        """
        victim = UPLOADER_STRIKE if uploader else STRIKE
        # A new name for each kill, because this process keeps connections to the databases that it
        # has read.
        outputs = self._folder / f"{victim.lower()}-{number}"

        done = self._start(outputs, **{victim: str(number)})
        assert done.returncode == (0 if uploader else -9), done.stderr
        again = self._start(outputs)
        assert again.returncode == 0, again.stderr

        results = left(outputs)
        shutil.rmtree(outputs)
        return results

    def _start(self, outputs: Path, **environment: str) -> Done:
        if not outputs.exists():
            shutil.copytree(self._empty, outputs)
        return end(
            start(*self.line, outputs=outputs, module="tests.tools.strikes", env=environment)
        )


def left(outputs: Path) -> dict[str, Any]:
    """Return everything that must not depend on kills: states, digests, curves, artifacts, models
    and file names.
    """
    store = client(outputs)
    found: dict[str, Any] = {"models": len(models(store))}
    for kind in ("run", "sweep"):
        for run in runs(store, kind):
            assert run.info.run_name not in found  # no duplicates
            curves = points(store, run.info.run_id)
            found[run.info.run_name] = (
                run.info.status,
                {
                    tag: run.data.tags.get(tag)
                    for tag in ("fingerprint", "weights_digest", "outcome")
                },
                "mlflow.parentRunId" in run.data.tags,
                {
                    name: [(step, None if name in MEASURED else value) for step, value, _ in curve]
                    for name, curve in curves.items()
                }
                if kind == "run"
                else {
                    name: curve[-1][1] for name, curve in curves.items()
                },  # a sweep logs a point per start
                files(store, run.info.run_id),
            )
    kept = [
        path
        for kind in ("runs", "sweeps")
        for path in (outputs / kind).rglob("*")
        if path.name != "owner.json"
    ]
    # of one start
    found["files"] = sorted(str(p.relative_to(outputs)) for p in kept if p.parent.name != "ended")
    return found


@pytest.fixture(scope="module")
def calm(empty_store, tmp_path_factory):
    """Return a function that runs each command once without a kill."""
    known: dict[tuple[str, ...], Calm] = {}

    def run(line: tuple[str, ...]) -> Calm:
        if line not in known:
            known[line] = Calm(line, tmp_path_factory.mktemp("calm"), empty_store)
        return known[line]

    return run


def differing(
    line: Calm, numbers: list[int], *, uploader: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the points at which a kill changes the final results, each with the pairs of results
    that differ.
    """
    assert numbers
    points = line.uploader_points if uploader else line.points
    differences = {}
    for number in numbers:
        after_kill = line.struck(number, uploader=uploader)
        names = line.left.keys() | after_kill.keys()
        changed = {name: (line.left.get(name), after_kill.get(name)) for name in names}
        changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
        if changed:
            differences[f"{number}: {points[number]}"] = changed
    return differences


def of_each_kind(points: list[str], middle: int, end: int) -> list[int]:
    """Return the first point after each kind of point, for the start, the middle and the end of the
    command.
    """
    # Kills differ only in the kind of the preceding point.
    kinds = [((n >= middle) + (n >= end), before) for n, before in enumerate(["", *points[:-1]])]
    return [n for n, kind in enumerate(kinds) if kinds.index(kind) == n]


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
    states = "replace state-N-N.safetensors"
    assert {states, "replace history.json"} <= set(points)
    kinds = of_each_kind(points, points.index("replace history.json") + 1, last(points, states))
    committed = [n for n in kinds if points[n - 1] == "replace history.json"]
    assert differing(calm(RUN), sorted({*kinds[::step], *committed})) == {}


@FEW_OR_ALL
@pytest.mark.parametrize("line", [MODEL, SWEEP], ids=["run", "sweep"])
def test_command_whose_uploader_was_killed_ends_like_undisturbed_command(calm, line, step):
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
    own = [
        n
        for n in kinds
        if not first_job <= n < after_the_last_run or sweep.points[n] not in run.points
    ]
    assert {"replace jobs.jsonl", "replace sweep.json"} <= {sweep.points[n] for n in own}
    assert differing(sweep, own[::step]) == {}


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
