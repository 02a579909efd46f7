"""Searches that are resumed by name, by the same command, or after they were stopped or killed."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from lenet_exp.api import compose
from lenet_exp.folders.records import Outcome
from lenet_exp.runs.jobs import lone_job
from lenet_exp.training.epoch import EpochResult
from tests.searches.searched import LINE, SPACE, TrialResults, only_sweep, study_of, trials_of
from tests.tools.commands import Done, end, lenet_train, start
from tests.tools.stores import client, runs
from tests.tools.strikes import STRIKE, TRACE
from tests.tools.until import until

OWN = "name: own\n_target_: torch.nn.ELU\nmonotone: true\nalpha: {alpha}\n"


def options_with(folder: Path, alpha: float) -> str:
    """Write a custom activation and return the flag for its folder."""
    (folder / "activation").mkdir(parents=True)
    (folder / "activation" / "own.yaml").write_text(OWN.format(alpha=alpha))
    return f"--config-dir={folder}"


class Searched(NamedTuple):
    """A search of six trials that was resumed to eight by its name."""

    outputs: Path
    first: Done
    first_trials: list[TrialResults]
    rerun: Done


@pytest.fixture(scope="module")
def searched(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Search warm-ups of two of four epochs, too small learning rates, and a custom activation."""
    folder = tmp_path_factory.mktemp("searched")
    outputs = Path(shutil.copytree(empty_store, folder / "outputs"))
    space = (
        "optimizer.lr=tag(log,interval(1e-6,0.1))",
        *SPACE[1:4],
        "activation=relu,own",
        "schedule.warmup=0,0.5",
    )
    own = options_with(folder / "options", 1.0)
    line = ("-m", own, *LINE[1:], *space, "schedule=linear", "n_trials=6", "sweep.workers=1")
    first = lenet_train(*line, outputs=outputs)
    first_trials = trials_of(outputs)
    rerun = lenet_train(
        "-m", own, "sweep.resume=last", "n_trials=8", "sweep.workers=1", outputs=outputs
    )
    return Searched(outputs, first, first_trials, rerun)


@pytest.mark.slow(seconds=11)
def test_search_ends_at_n_trials_and_resumes_to_larger_n_trials(searched, main, monkeypatch):
    # 1: one diverged
    assert searched.first.returncode in {0, 1}, searched.first.stderr
    assert searched.rerun.returncode in {0, 1}, searched.rerun.stderr
    assert [trial.number for trial in searched.first_trials] == list(range(6))
    outputs = searched.outputs
    trials = trials_of(outputs)
    assert trials[:6] == searched.first_trials
    assert len(trials) == 8
    assert {trial.state for trial in trials} <= {"COMPLETE", "PRUNED"}

    plan = only_sweep(outputs).started()
    assert plan.outcome is Outcome.finished
    assert plan.runs == 8
    assert plan.search is not None
    assert plan.search.trials == 8
    assert plan.search.finished_trials == 8
    assert [word for word in plan.overrides if word.startswith("n_trials")] == ["n_trials=8"]
    best = study_of(outputs).best_trial
    assert re.search(rf"{best.value:.2%} by trial {best.number}\b", searched.rerun.stdout)

    (parent,) = runs(client(outputs), "sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["sweep_search"] == "tpe, asha"
    assert parent.data.metrics["trials"] == 8
    assert parent.data.metrics["runs"] == 8
    children = runs(client(outputs))
    parents = {run.data.tags["mlflow.parentRunId"] for run in children}
    assert parents == {parent.info.run_id}
    pruned_runs = [run for run in children if run.data.tags["outcome"] == "pruned"]
    pruned_trials = [trial for trial in trials if trial.state == "PRUNED"]
    assert len(pruned_runs) == len(pruned_trials)

    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    assert "8 trials" in main("status", program="sweep").stdout
    compared = main(program="compare")
    assert compared.returncode == 0
    assert compared.stderr == ""
    assert f"{len(pruned_runs)} pruned" in compared.stdout


@pytest.mark.slow(seconds=11)
def test_flag_of_option_is_searched_only_with_option(searched):
    trials = study_of(searched.outputs).trials
    has_momentum = set()
    for trial in trials:
        has_momentum.add((trial.params["optimizer"], "optimizer.momentum" in trial.params))
    assert has_momentum == {("sgd", True), ("adam", False)}

    for job, trial in zip(only_sweep(searched.outputs).jobs(), trials, strict=True):
        assert job.config.optimizer["lr"] == trial.params["optimizer.lr"]
        assert job.config.optimizer["momentum"] == trial.params.get("optimizer.momentum", 0.9)
        assert job.swept["optimizer.momentum"] == "-" or "momentum" in str(trial.params)
        if job.config.activation["name"] == "relu":
            # equal to Hydra's composition
            assert job.fingerprint == lone_job(compose(job.overrides)).fingerprint


@pytest.mark.slow(seconds=11)
def test_no_run_is_pruned_during_warm_up(searched):
    def best_of_two(curve: list[EpochResult]) -> float:
        return max(epoch.val_accuracy for epoch in curve[:2])

    best_of_pruned = []  # of the runs without warm-up that were pruned after two epochs
    best_of_spared = []  # of the runs with warm-up, after the same two epochs
    epochs_of_spared = []
    for job in only_sweep(searched.outputs).jobs():
        curve = job.folder.history().epochs
        if job.config.schedule.warmup:
            best_of_spared.append(best_of_two(curve))
            epochs_of_spared.append(len(curve))
        elif job.folder.record().outcome is Outcome.pruned and len(curve) == 2:
            best_of_pruned.append(best_of_two(curve))

    assert min(best_of_spared) <= max(best_of_pruned)  # pruned without the warm-up
    assert min(epochs_of_spared) >= 3  # of four epochs the first two are the warm-up


@pytest.mark.slow(seconds=11)
def test_pruned_run_resumes_if_trained_in_full(searched, tmp_path):
    outputs = Path(shutil.copytree(searched.outputs, tmp_path / "outputs"))
    pruned = []
    for job in only_sweep(outputs).jobs():
        is_pruned = job.folder.record().outcome is Outcome.pruned
        if is_pruned and job.config.activation["name"] == "relu":
            pruned.append(job)
    job = pruned[0]
    epochs_of_pruned = job.folder.history().epochs
    assert 1 <= len(epochs_of_pruned) < 4
    flags = [word for word in job.overrides if not word.startswith("sweep.")]

    done = lenet_train(*flags, outputs=outputs)

    assert done.returncode == 0, done.stderr
    record = job.folder.record()
    assert record.outcome is Outcome.finished
    assert record.epochs == 4
    assert record.resumed == 1
    assert job.folder.history().epochs[: len(epochs_of_pruned)] == epochs_of_pruned


@pytest.mark.slow(seconds=11)
def test_unresumable_search_gives_one_line_error(searched, tmp_path):
    outputs = searched.outputs
    sweep = only_sweep(outputs)
    options = outputs.parent / "options"
    own = f"--config-dir={options}"
    changed = options_with(tmp_path, 0.5)
    for folder, words, part in (
        (outputs, (own, "sweep.resume=last", "batch_size=16"), "batch_size=16"),
        (outputs, ("sweep.resume=last",), f"-m --config-dir {options} sweep.resume={sweep.id}"),
        (outputs, (changed, "sweep.resume=last"), f"sweep.resume={sweep.id}"),
        (
            tmp_path / "elsewhere",
            (f"sweep.resume={sweep.path}",),
            f"LENET_EXP_OUTPUTS={outputs}",
        ),
    ):
        done = lenet_train("-m", *words, outputs=folder)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert part in done.stderr


@pytest.mark.slow(seconds=12)
def test_stopped_search_resumes_running_trial(ready, main):
    line = (*LINE, SPACE[0], "n_trials=2", "sweep.workers=1", "search.pruner=none", "num_epoch=150")
    process = start(*line, outputs=ready)
    until(lambda: list(ready.glob("runs/*/history.json")), process)

    process.send_signal(signal.SIGINT)
    stopped = end(process)

    assert stopped.returncode == 130, stopped.stderr
    sweep = only_sweep(ready)
    trials_before = study_of(ready).trials
    assert trials_before[-1].state.name == "RUNNING"
    (parent,) = runs(client(ready), "sweep")
    assert parent.data.tags["outcome"] == "killed"
    records = [job.folder.record() for job in sweep.jobs()]
    assert "SIGINT" in {record.reason for record in records if record}
    assert f"sweep.resume={sweep.id}" in stopped.stdout
    ended = len(trials_before) - 1
    for output in (
        stopped.stdout,
        main("status", program="sweep").stdout,
        parent.data.tags["sweep_progress"],
    ):
        assert f"{ended} of 2" in output
    assert f" {ended}/2 trials " in main("list", program="sweep").stdout
    assert _epochs_spent(ready) > 0

    assert end(start(*line, outputs=ready)).returncode in {0, 1}

    jobs = only_sweep(ready).jobs()
    assert _epochs_spent(ready) == sum(len(job.folder.history().epochs) for job in jobs)
    trials = trials_of(ready)
    assert len(trials) == 2
    assert "RUNNING" not in {trial.state for trial in trials}
    assert jobs[ended].folder.record().resumed == 1


def _epochs_spent(outputs: Path) -> int:
    plan = only_sweep(outputs).started().search
    assert plan is not None
    return plan.epochs


@pytest.mark.slow(seconds=35)
def test_search_killed_at_any_point_ends_with_same_trials(empty_store, tmp_path):
    """The kills come right before the search stores an epoch, the end of a trial, or its progress;
    one trial gets a second seed."""
    line = (*LINE, SPACE[0], "n_trials=3", "seeds=2", "sweep.workers=1")

    def go(outputs: Path, **environment: str) -> Done:
        if not outputs.exists():
            shutil.copytree(empty_store, outputs)
        return end(start(*line, outputs=outputs, module="tests.tools.strikes", env=environment))

    trace = tmp_path / "trace"
    assert go(tmp_path / "calm", **{TRACE: str(trace)}).returncode in {0, 1}
    calm = trials_of(tmp_path / "calm")
    assert any(trial.later_seeds for trial in calm)
    last_of_kind = {}  # comes after other trials
    for number, point in enumerate(trace.read_text().splitlines()):
        last_of_kind[point] = number

    points_with_other_trials = []
    for point in (
        "RDBStorage.set_trial_intermediate_value",
        "RDBStorage.set_trial_state_values",
        "replace sweep.json",
    ):
        # on a busy machine, a search can have fewer points
        for number in range(last_of_kind[point], last_of_kind[point] - 6, -1):
            outputs = tmp_path / f"struck-{point}-{number}"
            struck = go(outputs, **{STRIKE: str(number)})
            if struck.returncode == -9:
                break
        assert struck.returncode == -9
        assert go(outputs).returncode in {0, 1}
        if trials_of(outputs) != calm:
            points_with_other_trials.append(point)
        (parent,) = runs(client(outputs), "sweep")
        assert parent.info.status == "FINISHED"
        assert parent.data.metrics["trials"] == 3
        assert all(run.info.status != "RUNNING" for run in runs(client(outputs)))
    assert points_with_other_trials == []
