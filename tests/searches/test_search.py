"""Searches of real runs from the command line: results, resumption and invalid requests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.api import compose
from lenet_exp.config.compose import allow_new_keys, composed, composing
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.runs.jobs import lone_job
from lenet_exp.searches.plan import plan_search
from tests.searches.searched import LINE, QUICK, SPACE, only_sweep, study_of, trials_of
from tests.tools.commands import Done, end, lenet_train, start
from tests.tools.stores import client, runs
from tests.tools.strikes import STRIKE, TRACE

OWN = "name: own\n_target_: torch.nn.ELU\nmonotone: true\nalpha: {alpha}\n"


def search(outputs: Path, *more: str) -> Done:
    return lenet_train(*LINE, SPACE[0], *more, outputs=outputs)


def options_with(folder: Path, alpha: float) -> str:
    """Write a custom activation and return the flag for its folder."""
    (folder / "activation").mkdir(parents=True)
    (folder / "activation" / "own.yaml").write_text(OWN.format(alpha=alpha))
    return f"--config-dir={folder}"


class Searched(NamedTuple):
    """A search of six trials that was resumed to eight by its name."""

    outputs: Path
    done: Done
    first: list[Any]  # the trials before it was resumed
    again: Done


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
    done = lenet_train(*line, outputs=outputs)
    first = trials_of(outputs)
    rerun = lenet_train(
        "-m", own, "sweep.resume=last", "n_trials=8", "sweep.workers=1", outputs=outputs
    )
    return Searched(outputs, done, first, rerun)


@pytest.mark.slow(seconds=11)
def test_search_ends_at_n_trials_and_resumes_to_larger_n_trials(searched, main, monkeypatch):
    # 1: one diverged
    assert {searched.done.returncode, searched.again.returncode} <= {0, 1}, searched.again.stderr
    assert [trial[0] for trial in searched.first] == list(range(6))
    trials, outputs = trials_of(searched.outputs), searched.outputs
    assert (trials[:6], len(trials)) == (searched.first, 8)
    assert {trial[2] for trial in trials} <= {"COMPLETE", "PRUNED"}
    plan = only_sweep(outputs).started()
    assert plan.search is not None
    assert (plan.outcome, plan.runs, plan.search.trials, plan.search.finished_trials) == (
        Outcome.finished,
        8,
        8,
        8,
    )
    assert [word for word in plan.overrides if word.startswith("n_trials")] == ["n_trials=8"]
    best = study_of(outputs).best_trial
    assert re.search(rf"{best.value:.2%} by trial {best.number}\b", searched.again.stdout)
    (parent,) = runs(client(outputs), "sweep")
    assert (parent.info.status, parent.data.tags["sweep_search"]) == ("FINISHED", "tpe, asha")
    assert (parent.data.metrics["trials"], parent.data.metrics["runs"]) == (8, 8)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(client(outputs))} == {
        parent.info.run_id
    }
    states = [run.data.tags["outcome"] for run in runs(client(outputs))]
    assert states.count("pruned") == sum(trial[2] == "PRUNED" for trial in trials)
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    assert "8 trials" in main("status", program="sweep").stdout
    compared = main(program="compare")
    assert (compared.returncode, compared.stderr) == (0, "")
    assert f"{states.count('pruned')} pruned" in compared.stdout


@pytest.mark.slow(seconds=11)
def test_flag_of_option_is_searched_only_with_option(searched):
    trials = study_of(searched.outputs).trials
    momenta = {(t.params["optimizer"], "optimizer.momentum" in t.params) for t in trials}
    assert momenta == {("sgd", True), ("adam", False)}
    for job, trial in zip(only_sweep(searched.outputs).jobs(), trials, strict=True):
        assert job.config.optimizer["lr"] == trial.params["optimizer.lr"]
        assert job.config.optimizer["momentum"] == trial.params.get("optimizer.momentum", 0.9)
        assert job.swept["optimizer.momentum"] == "-" or "momentum" in str(trial.params)
        if job.config.activation["name"] == "relu":
            # equal to Hydra's composition
            assert job.fingerprint == lone_job(compose(job.overrides)).fingerprint


@pytest.mark.slow(seconds=11)
def test_no_run_is_pruned_during_warm_up(searched):
    def best_of_two(epochs: Any) -> float:
        return max(epoch.val_accuracy for epoch in epochs[:2])

    ended = [
        (job.config.schedule.warmup, job.folder) for job in only_sweep(searched.outputs).jobs()
    ]
    curves = [(warmup, folder.record(), folder.history().epochs) for warmup, folder in ended]
    at_once = [
        best_of_two(epochs)
        for warmup, record, epochs in curves
        if record.outcome is Outcome.pruned and len(epochs) == 2 and not warmup
    ]
    spared = [epochs for warmup, _, epochs in curves if warmup]
    assert min(map(best_of_two, spared)) <= max(at_once)  # pruned without the warm-up
    assert min(map(len, spared)) >= 3  # of four epochs the first two are the warm-up


@pytest.mark.slow(seconds=11)
def test_pruned_run_resumes_if_trained_in_full(searched, tmp_path):
    outputs = Path(shutil.copytree(searched.outputs, tmp_path / "outputs"))
    pruned = [
        job for job in only_sweep(outputs).jobs() if job.folder.record().outcome is Outcome.pruned
    ]
    job = next(job for job in pruned if job.config.activation["name"] == "relu")
    had = job.folder.history().epochs
    assert 1 <= len(had) < 4
    done = lenet_train(*(o for o in job.overrides if not o.startswith("sweep.")), outputs=outputs)
    assert done.returncode == 0, done.stderr
    record = job.folder.record()
    assert (record.outcome, record.epochs, record.resumed) == (Outcome.finished, 4, 1)
    assert job.folder.history().epochs[: len(had)] == had


@pytest.mark.slow(seconds=11)
def test_unresumable_search_gives_one_line_error(searched, tmp_path):
    sweep = only_sweep(searched.outputs)
    own = f"--config-dir={searched.outputs.parent / 'options'}"
    for outputs, words, named in (
        (searched.outputs, (own, "sweep.resume=last", "batch_size=16"), "batch_size=16"),
        (
            searched.outputs,
            ("sweep.resume=last",),
            f"-m {own.replace('=', ' ')} sweep.resume={sweep.id}",
        ),
        (
            searched.outputs,
            (options_with(tmp_path, 0.5), "sweep.resume=last"),
            f"sweep.resume={sweep.id}",
        ),  # changed
        (
            tmp_path / "elsewhere",
            (f"sweep.resume={sweep.path}",),
            f"LENET_EXP_OUTPUTS={searched.outputs}",
        ),
    ):
        done = lenet_train("-m", *words, outputs=outputs)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert named in done.stderr


@pytest.mark.slow(seconds=7)
def test_known_and_repeated_trials_cost_no_budget(ready):
    flags = (*QUICK, "num_epoch=2")
    grid = lenet_train("-m", "hydra/launcher=basic", *flags, "activation=relu,tanh", outputs=ready)
    assert grid.returncode == 0, grid.stderr
    (of_the_grid,) = all_sweeps(ready)
    trained = {job.run: job.folder.record() for job in of_the_grid.jobs()}
    drawn = ("activation=relu,tanh,selu", "search.pruner=none", "n_trials=6", "sweep.workers=1")
    line = ("-m", "hydra/sweeper=search", *flags, *drawn)
    done = lenet_train(*line, outputs=ready)
    assert done.returncode == 0, done.stderr
    last, _ = all_sweeps(ready)
    assert {job.run: job.folder.record() for job in last.jobs()}.items() >= trained.items()
    plan = last.started().search
    assert plan is not None
    assert (plan.trials, plan.epochs) == (6, 2)  # those of selu
    values = [job.folder.record().best_val_accuracy for job in last.jobs()]
    assert _stored_trials(last) == [(n, "COMPLETE", value) for n, value in enumerate(values)]
    assert len(runs(client(ready))) == 3

    (last.path / "study.db").write_bytes(b"no database" * 100)
    rerun = lenet_train(*line, outputs=ready)
    assert rerun.returncode == 0, rerun.stderr
    assert "study.db" in rerun.stderr
    assert (last.path / "study.db.damaged").exists()
    assert _stored_trials(last) == [(n, "COMPLETE", value) for n, value in enumerate(values)]
    assert {job.run: job.folder.record() for job in last.jobs()}.items() >= trained.items()
    assert len(runs(client(ready))) == 3


def _stored_trials(sweep: SweepFolder) -> list[tuple[int, str, float]]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{sweep.path / 'study.db'}")
    return [(t.number, t.state.name, t.value) for t in study.trials]


@pytest.mark.slow(seconds=3)
def test_too_many_failed_trials_end_search(ready, main):
    line = (
        "n_trials=9",
        "sweep.workers=1",
        "sweep.time_limit=0.01",
        "sweep.max_failures=2",
        "num_epoch=2000",
    )
    done = search(ready, *line)
    assert done.returncode == 1
    trials = trials_of(ready)
    assert [trial[2] for trial in trials] == ["FAIL", "FAIL"]
    assert all("0.01 s" in trial[5]["reason"] for trial in trials)
    status = main("status", program="sweep").stdout.splitlines()
    assert sum(line.endswith("time limit of 0.01 s") for line in status) == 2


@pytest.mark.slow(seconds=12)
def test_stopped_search_resumes_running_trial(ready, main):
    line = (*LINE, SPACE[0], "n_trials=2", "sweep.workers=1", "search.pruner=none", "num_epoch=150")
    process = start(*line, outputs=ready)
    deadline = time.monotonic() + 60
    while not list(ready.glob("runs/*/history.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stopped = end(process)
    assert stopped.returncode == 130, stopped.stderr
    assert study_of(ready).trials[-1].state.name == "RUNNING"
    (parent,) = runs(client(ready), "sweep")
    assert parent.data.tags["outcome"] == "killed"
    assert "SIGINT" in {
        job.folder.record().reason for job in only_sweep(ready).jobs() if job.folder.record()
    }
    assert f"sweep.resume={only_sweep(ready).id}" in stopped.stdout
    before = len(study_of(ready).trials)
    for output in (
        stopped.stdout,
        main("status", program="sweep").stdout,
        parent.data.tags["sweep_progress"],
    ):
        assert f"{before - 1} of 2" in output
    assert f" {before - 1}/2 trials " in main("list", program="sweep").stdout
    assert _epochs_spent(ready) > 0
    assert end(start(*line, outputs=ready)).returncode in {0, 1}
    assert _epochs_spent(ready) == sum(
        len(job.folder.history().epochs) for job in only_sweep(ready).jobs()
    )
    trials = trials_of(ready)
    assert len(trials) == 2
    assert "RUNNING" not in {trial[2] for trial in trials}
    assert only_sweep(ready).jobs()[before - 1].folder.record().resumed == 1


def _epochs_spent(outputs: Path) -> int:
    plan = only_sweep(outputs).started().search
    assert plan is not None
    return plan.epochs


def test_dry_run_shows_budgets_and_writes_nothing(main, outputs):
    done = main(*LINE, SPACE[0], "max_epochs=9", "sweep.dry_run=true", "sweep.workers=2")
    assert done.returncode == 0, done.stderr
    assert "tpe, asha" in done.stdout
    assert SPACE[0] in done.stdout
    assert re.search(r"[\d,]+ runs$", done.stdout, re.MULTILINE)
    assert re.search(r"about \d+ \w+", done.stdout)  # per trial
    assert f"disk space in {outputs}" in done.stdout
    assert not outputs.exists()


def test_search_with_only_diverged_trials_exits_with_status_1(ready):
    line = ("n_trials=1", "optimizer.lr=1e29,1e30", "sweep.workers=1", "seeds=2", "confirm=1")
    done = lenet_train(*LINE, *line, outputs=ready)
    assert done.returncode == 1, done.stderr
    assert "lenet-train: " not in done.stderr


@pytest.mark.slow(seconds=1)
def test_exhausted_budget_starts_no_trial(ready):
    done = search(ready, "max_seconds=0.001", "sweep.workers=1")
    assert done.returncode in {0, 1}, done.stderr
    assert trials_of(ready) == []


def test_recipe_can_define_search_space(main, outputs, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "hydra: {sweeper: {params: {activation: 'relu,selu', "
        "optimizer.lr: 'tag(log,interval(0.01,0.1))'}}}\n"
        "n_trials: 7\n"
    )
    line = ("--config-dir", str(tmp_path), "-m", "hydra/sweeper=search", "experiment=mine", *QUICK)
    done = main(*line, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "optimizer.lr=tag(log,interval(0.01,0.1))" in done.stdout
    assert re.search(r"\b7 runs$", done.stdout, re.MULTILINE)


def test_missing_optuna_names_extra_to_install(outputs):
    code = (
        "import lenet_exp; "
        "lenet_exp.search({'activation': ['relu', 'elu']}, ['dataset=digits'], n_trials=2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['optuna'] = None; {code}"],
        env=os.environ | {"LENET_EXP_OUTPUTS": str(outputs)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "pip install 'lenet_exp[search]'" in last, done.stderr
    assert "ModuleNotFoundError" not in last


@pytest.mark.slow(seconds=12)
def test_pareto_search_trains_no_network_above_size_limit(ready):
    space = (
        "model=lenet5,lenet_300_100,linear",
        "model.width=interval(0.1,1)",
        "model.pooling=max,average",
    )
    limits = ("search.max_parameters=20000", "search.objective=front", "search.cost=parameters")
    line = (*LINE, *space, *limits, "n_trials=6", "sweep.workers=1")
    done = lenet_train(*line, outputs=ready)
    assert done.returncode == 0, done.stderr
    study, sizes = study_of(ready), []
    for trial, job in zip(study.trials, only_sweep(ready).jobs(), strict=True):
        record = job.folder.record()
        assert record is not None
        assert record.parameters is not None
        assert record.parameters <= 20_000
        assert trial.values == [record.best_val_accuracy, record.parameters]
        assert ("model.width" in trial.params) is (trial.params["model"] == "lenet5")
        sizes.append(record.parameters)
    assert len(sizes) == 6
    assert len(set(sizes)) > 2
    assert "lenet_300_100" not in {trial.params["model"] for trial in study.trials}
    assert "10,250 parameters" in done.stdout or "linear" not in {
        t.params["model"] for t in study.best_trials
    }
    before = trials_of(ready)
    assert lenet_train(*line, outputs=ready).returncode == 0
    assert trials_of(ready) == before


BASELINES: dict[
    str, dict[str, object] | None
] = {  # the values of the first trial; None: the sampler draws it
    "activation=relu,selu optimizer.lr=tag(log,interval(1e-3,1))": {
        "activation": "selu",
        "optimizer.lr": 0.01,
    },
    "activation=relu,elu optimizer.lr=interval(0.001,1)": None,
    "optimizer=adam,sgd optimizer.momentum=interval(0,0.95)": {
        "optimizer": "sgd",
        "optimizer.momentum": 0.9,
    },
    "activation=leaky_relu,selu activation.negative_slope=interval(0.1,0.2)": {
        "activation": "selu"
    },
    "batch_size=range(100,512,50)": None,
    "regularization.dropout_rate=range(0,0.5,0.1)": {"regularization.dropout_rate": 0.0},
    "augmentation=[shift,flip],none training.ema_decay=0.9,null": {
        "augmentation": "none",
        "training.ema_decay": "null",
    },
    "experiment=mnist_fast,ancestor": {"experiment": "ancestor"},
}


@pytest.mark.parametrize("space", BASELINES)
def test_first_trial_uses_values_of_command_without_search(outputs, space):
    line = [
        "dataset=digits",
        "num_epoch=2",
        "n_trials=3",
        "search.pruner_options={min_resource: 2}",
        *space.split(" "),
    ]
    with composing():
        planned = plan_search(
            OverridesParser.create().parse_overrides(allow_new_keys(line)), composed
        )
        assert planned.maker.baseline() == BASELINES[space]
    assert planned.search.pruner_options == {"min_resource": 2}


def test_plan_keeps_store_password_and_maximum_of_searched_num_epoch(outputs):
    address = "http://ada:secret@127.0.0.1:9"
    limit = ["model.width=interval(0.1,1)", "num_epoch=range(5,200)", "search.max_parameters=1700"]
    line = ["dataset=digits", "n_trials=3", f"tracking.uri={address}", *limit]
    with composing():
        planned = plan_search(
            OverridesParser.create().parse_overrides(allow_new_keys(line)), composed
        )
    assert planned.config.tracking.uri == address
    assert planned.num_epoch == 199


REFUSED = {  # what the message must contain
    "n_trials=3": "search",
    "optimizer.lr=interval(1e-3,1)": "n_trials",
    "n_trials=3 regularization.dropout_rate=interval(0,1)": "regularization.dropout_rate=1.0",
    "n_trials=3 optimizer=adam optimizer.momentum=interval(0,0.9)": (
        "optimizer.momentum=interval(0,0.9)"
    ),
    "n_trials=3 activation=relu,selu seed=1,2": "seed=1,2",
    "n_trials=3 activation=relu,selu engine=native,torch": "engine=native,torch",
    "n_trials=3 activation=relu,selu hydra/launcher=basic": "cluster_ray, cluster_slurm, local",
    "n_trials=3 activation=relu,selu search.objective=epochs": "search.target",
    "n_trials=3 activation=relu,selu confirm=1": "seeds=5",
    "n_trials=3 activation=relu,selu confirm=1 seeds=5 metric=loss": "in percent",
    "n_trials=3 loss=focal loss.gamma=1,2 search.objective=loss": "over the loss",
    "n_trials=3 optimizer.lr=tag(lgo,interval(1,2))": "log?",
    "n_trials=3 activation=relu,selu search.cost=parameters": "search.objective=front",
    "n_trials=3 model.width=0.5,1 search.max_parameters=1000": "15,738 parameters",
}


@pytest.mark.parametrize("line", REFUSED)
def test_invalid_search_gives_one_line_error(line, main, outputs):
    done = main("-m", "hydra/sweeper=search", "dataset=digits", *line.split(" "))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert REFUSED[line] in done.stderr
    assert not (outputs / "sweeps").exists()


@pytest.mark.parametrize(
    "line", ["-m n_trials=3 activation=relu,selu", "seeds=3", "-m optimizer.lr=interval(0.1,1)"]
)
def test_search_without_sweeper_suggests_command(line, main, outputs):
    done = main(*line.split(" "), "dataset=digits")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "hydra/sweeper=search" in done.stderr
    assert not outputs.exists()


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
    points, calm, differ = trace.read_text().splitlines(), trials_of(tmp_path / "calm"), []
    assert any(len(trial) > 11 for trial in calm)
    # the last point of each kind, after other trials
    last = {point: n for n, point in enumerate(points)}
    kept = [
        f"RDBStorage.{name}" for name in ("set_trial_intermediate_value", "set_trial_state_values")
    ]
    for point in (*kept, "replace sweep.json"):
        # on a busy machine, a search can have fewer points
        for number in range(last[point], last[point] - 6, -1):
            outputs = tmp_path / f"struck-{point}-{number}"
            if (struck := go(outputs, **{STRIKE: str(number)})).returncode == -9:
                break
        assert struck.returncode == -9
        assert go(outputs).returncode in {0, 1}
        if trials_of(outputs) != calm:
            differ.append(point)
        (parent,) = runs(client(outputs), "sweep")
        assert (parent.info.status, parent.data.metrics["trials"]) == ("FINISHED", 3)
        assert all(run.info.status != "RUNNING" for run in runs(client(outputs)))
    assert differ == []


@pytest.mark.slow(seconds=5)
def test_search_over_epochs_does_not_charge_inherited_epochs(ready):
    method = ("hydra/sweeper=search", "search.sampler=grid", "search.pruner=none")
    space = ("num_epoch=2,3,4,5", "activation=relu,selu")
    done = lenet_train("-m", *QUICK, *method, *space, "sweep.workers=1", outputs=ready)
    assert done.returncode == 0, done.stderr
    records = [job.folder.record() for job in only_sweep(ready).jobs()]
    inherited = sum(record.inherited_epochs for record in records)
    assert inherited > 0
    assert sum(record.epochs for record in records) == 2 * (2 + 3 + 4 + 5)

    (parent,) = runs(client(ready), "sweep")

    assert parent.data.metrics["epochs"] == 28 - inherited
