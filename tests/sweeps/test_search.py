"""Searches of real runs, in processes as people start them: what they come to, and what is refused."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from lenet_exp.api import compose
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.runs.jobs import lone_job
from tests.commands import Done, end, lenet_train, start
from tests.stores import client, runs
from tests.sweeps.searched import LINE, QUICK, SPACE, only_sweep, study_of, trials_of
from tests.sweeps.strikes import STRIKE, TRACE
from tests.warm import Process

ENDED = {"COMPLETE", "PRUNED"}


def search(outputs: Path, *more: str, space: tuple[str, ...] = SPACE) -> Done:
    return lenet_train(*LINE, *space, *more, outputs=outputs)


def test_a_search_ends_at_its_total_and_goes_on_to_a_larger_one(ready, main):
    done = search(ready, "n_trials=6", "sweep.workers=2")
    assert done.returncode in {0, 1}, done.stderr  # 1: one diverged
    first = trials_of(ready)
    assert [trial[0] for trial in first] == list(range(6))
    assert {trial[2] for trial in first} <= ENDED
    plan = only_sweep(ready).started()
    assert plan.search is not None
    assert (plan.outcome, plan.runs, plan.search.trials, plan.search.told) == (Outcome.finished, 6, 6, 6)
    best = study_of(ready).best_trial
    assert f"best {best.value:.2%} by trial {best.number}" in done.stdout
    again = search(ready, "n_trials=8", "sweep.workers=2")
    assert again.returncode in {0, 1}, again.stderr
    assert "search, 6 trials so far; 6 of them trained before" in again.stderr
    assert "; 2 trained (6 had been trained before)" in again.stdout
    assert trials_of(ready)[:6] == first
    assert len(trials_of(ready)) == 8
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name.endswith("(search, 8 runs)")
    assert parent.data.tags["sweep_search"] == "tpe, asha"
    assert (parent.data.metrics["trials"], parent.data.metrics["runs"]) == (8, 8)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(client(ready))} == {parent.info.run_id}
    states = [run.data.tags["outcome"] for run in runs(client(ready))]
    assert states.count("pruned") == sum(trial[2] == "PRUNED" for trial in trials_of(ready))
    status = main("status", program="sweep")
    assert "(n_trials=8)" in status.stdout.splitlines()[0]
    assert f"search (tpe, asha): 8 trials ({states.count('finished')} finished" in status.stdout
    compared = main(program="compare")
    assert (compared.returncode, compared.stderr) == (0, "")
    assert f"{states.count('pruned')} pruned" in compared.stdout


@pytest.mark.parametrize("budget", ["n_trials=4", "max_seconds=50", "max_epochs=9"])
def test_a_dry_run_says_what_a_trial_takes_and_what_the_budgets_allow(ready, budget):
    done = search(ready, budget, "sweep.dry_run=true", "sweep.workers=2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  a trial to its end: about \d+ \w+", done.stdout, re.MULTILINE)
    takes = r"^  unpruned all takes about .* at most, with 2 workers of 1 thread: [\d,]+ runs$"
    assert re.search(takes, done.stdout, re.MULTILINE)
    assert f" MB of disk in {ready}" in done.stdout
    assert all_sweeps(ready) == []


def test_what_one_option_has_is_searched_only_with_it(ready):
    search(ready, "n_trials=8", "num_epoch=1")
    momenta = {(t.params["optimizer"], "optimizer.momentum" in t.params) for t in study_of(ready).trials}
    assert momenta == {("sgd", True), ("adam", False)}
    for job, trial in zip(only_sweep(ready).jobs(), study_of(ready).trials, strict=True):
        assert job.config.optimizer["lr"] == trial.params["optimizer.lr"]
        assert job.fingerprint == lone_job(compose(job.overrides)).fingerprint  # as Hydra composes it
        assert job.config.optimizer["momentum"] == trial.params.get("optimizer.momentum", 0.9)
        assert job.swept["optimizer.momentum"] == "-" or "momentum" in str(trial.params)


def test_what_a_grid_has_trained_costs_a_search_nothing(ready):
    flags = ("optimizer.lr=0.02,0.05", "activation=relu,selu")
    grid = lenet_train("-m", *QUICK, "num_epoch=2", *flags, outputs=ready)
    assert grid.returncode == 0, grid.stderr
    (of_the_grid,) = all_sweeps(ready)
    trained = {job.run: job.folder.record() for job in of_the_grid.jobs()}
    done = lenet_train(
        "-m", "hydra/sweeper=search", *QUICK, "num_epoch=2", *flags, "search.sampler=grid", outputs=ready
    )
    assert done.returncode == 0, done.stderr
    last, _ = all_sweeps(ready)
    assert {job.run: job.folder.record() for job in last.jobs()} == trained
    assert last.started().search is not None
    assert (last.started().search.trials, last.started().search.epochs) == (4, 0)
    assert done.stderr.count("trained before") == 4
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{last.path / 'study.db'}")
    assert [t.value for t in study.trials] == [job.folder.record().best_val_accuracy for job in last.jobs()]
    assert all(len(t.intermediate_values) == 1 for t in study.trials)


def test_a_configuration_that_is_drawn_twice_is_trained_once(ready):
    done = search(ready, "n_trials=6", "sweep.workers=2", "search.pruner=none", space=("activation=relu,selu",))
    assert done.returncode == 0, done.stderr
    trials = trials_of(ready)
    assert len(trials) == 6
    trained = {trial[7] for trial in trials}
    assert 1 <= len(trained) <= 2  # what is drawn while others train depends on when they end
    assert sum(trial[5]["epochs"] for trial in trials) == 4 * len(trained)
    assert len({(trial[1]["activation"], *trial[3]) for trial in trials}) == len(trained)
    assert len(runs(client(ready))) == len(trained)


def test_a_pruned_run_goes_on_where_it_is_asked_for_in_full(ready):
    space = ("optimizer.lr=0.05,1e-6", "activation=relu,selu", "optimizer=sgd,adam")
    search(ready, "n_trials=5", "search.sampler=random", space=space)
    job = next(job for job in only_sweep(ready).jobs() if job.folder.record().outcome is Outcome.pruned)
    had = job.folder.history().epochs
    assert 1 <= len(had) < 4
    done = lenet_train(*(o for o in job.overrides if not o.startswith("sweep.")), outputs=ready)
    assert done.returncode == 0, done.stderr
    record = job.folder.record()
    assert (record.outcome, record.epochs, record.resumed) == (Outcome.finished, 4, 1)
    assert job.folder.history().epochs[: len(had)] == had


def test_no_run_is_pruned_in_its_own_warm_up_unless_a_person_says_from_when_on(ready):
    space = ("optimizer.lr=tag(log,interval(1e-6,0.1))", "schedule.warmup=0,0.5")
    flags = ("n_trials=10", "search.sampler=random", "schedule=linear", "sweep.workers=1")
    search(ready, *flags, space=space)
    ended = [(job.config.schedule.warmup, job.folder.record()) for job in only_sweep(ready).jobs()]
    pruned = {(warmup, record.epochs) for warmup, record in ended if record.outcome is Outcome.pruned}
    assert (0.0, 1) in pruned
    assert all(epochs >= 3 for warmup, epochs in pruned if warmup)  # of four epochs the first two are the warm-up
    shutil.rmtree(ready / "sweeps")
    shutil.rmtree(ready / "runs")
    search(ready, *flags, "search.pruner_options.min_resource=1", space=space)
    ended = [(job.config.schedule.warmup, job.folder.record()) for job in only_sweep(ready).jobs()]
    assert {(warmup, record.epochs) for warmup, record in ended if record.outcome is Outcome.pruned} >= {(0.5, 1)}


@pytest.mark.parametrize("budget", ["max_epochs=6", "max_seconds=0.001"])
def test_a_budget_of_epochs_or_seconds_begins_no_trial_past_it(ready, budget):
    done = search(ready, budget, "search.pruner=none", "sweep.workers=1")
    assert done.returncode in {0, 1}, done.stderr
    trials = trials_of(ready)
    if budget.startswith("max_epochs"):
        assert sum(trial[5]["epochs"] for trial in trials[:-1]) < 6 <= sum(trial[5]["epochs"] for trial in trials)
    else:
        assert trials == []


def test_validation_loss_is_minimised(ready):
    done = search(ready, "n_trials=4", "search.objective=loss", "search.sampler=random", "search.seed=3")
    assert "search (random, asha, loss): 4 trials" in done.stdout
    study = study_of(ready)
    assert study.direction.name == "MINIMIZE"
    for trial, job in zip(study.trials, only_sweep(ready).jobs(), strict=True):
        if job.folder.record().outcome is not Outcome.diverged:
            assert trial.value == min(e.val_loss for e in job.folder.history().epochs)


@pytest.mark.slow(seconds=15)
def test_a_search_goes_on_by_its_name_as_by_its_line(ready, tmp_path):
    search(ready, "n_trials=3", "sweep.workers=1")
    other = Path(shutil.copytree(ready, tmp_path / "other"))
    first, command = trials_of(ready), only_sweep(ready).started().command
    done = lenet_train("-m", "sweep.resume=last", "sweep.workers=1", outputs=ready)  # its budget was reached
    assert done.returncode in {0, 1}, done.stderr
    assert trials_of(ready) == first
    assert only_sweep(ready).started().command == command
    for outputs, line in ((ready, ("-m", "sweep.resume=last")), (other, (*LINE, *SPACE))):
        done = lenet_train(*line, "n_trials=5", "sweep.workers=1", outputs=outputs)
        assert done.returncode in {0, 1}, done.stderr
    assert trials_of(ready) == trials_of(other)
    assert len(trials_of(ready)) == 5
    plan = only_sweep(ready).started()
    assert plan.command == f"{command} n_trials=5"
    assert "n_trials=5" in plan.overrides
    assert "n_trials=3" not in plan.overrides


def test_what_a_search_can_not_go_on_with_is_one_line(ready, tmp_path):
    options = tmp_path / "mine" / "activation"
    options.mkdir(parents=True)
    own = options / "own.yaml"
    own.write_text("name: own\n_target_: torch.nn.ELU\nmonotone: true\nalpha: 1.0\n")
    line = ("-m", f"--config-dir={options.parent}", "hydra/sweeper=search", *QUICK, "num_epoch=1", "n_trials=1")
    done = lenet_train(*line, "activation=own,relu", outputs=ready)
    assert done.returncode == 0, done.stderr
    sweep = only_sweep(ready)
    own.write_text("name: own\n_target_: torch.nn.ELU\nmonotone: true\nalpha: 0.5\n")
    wrong = {
        ("sweep.resume=last", "batch_size=16"): "batch_size=16: a search that is resumed has its space already",
        ("sweep.resume=last",): f"sweep.resume={sweep.id}: conf/, the data or the program changed since",
    }
    for more, said in wrong.items():
        done = lenet_train("-m", f"--config-dir={options.parent}", *more, outputs=ready)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert said in done.stderr
    done = lenet_train("-m", f"sweep.resume={sweep.path}", outputs=tmp_path / "elsewhere")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert f"LENET_EXP_OUTPUTS={ready} goes on with it" in done.stderr


@pytest.mark.slow(seconds=8)
def test_a_damaged_study_is_set_aside_and_nothing_is_trained_again(ready):
    search(ready, "n_trials=4", "sweep.workers=1")
    before, path = trials_of(ready), only_sweep(ready).path / "study.db"
    path.write_bytes(b"no database" * 100)
    done = search(ready, "n_trials=4", "sweep.workers=1")
    assert "study.db is damaged" in done.stderr
    assert (path.parent / "study.db.damaged").exists()
    after = trials_of(ready)
    same = (1, 2, 3, 4, 7, 9)  # all but what it cost
    assert [[t[n] for n in same] for t in after] == [[t[n] for n in same] for t in before]
    assert sum(trial[5]["epochs"] for trial in after) == 0


@pytest.mark.slow(seconds=7)
def test_failed_trials_are_told_so_and_end_the_search_where_there_are_too_many(ready, main):
    line = ("n_trials=9", "sweep.workers=1", "sweep.time_limit=0.01", "sweep.max_failures=2", "num_epoch=2000")
    done = search(ready, *line)
    assert done.returncode == 1
    trials = trials_of(ready)
    assert [trial[2] for trial in trials] == ["FAIL", "FAIL"]
    assert all(trial[5]["reason"] == "over the time limit of 0.01 s" for trial in trials)
    assert main("status", program="sweep").stdout.count("over the time limit") == 2
    again = search(ready, *line[:2], "num_epoch=2000", "sweep.dry_run=true")
    assert "goes on; 2 trials" in again.stdout


@pytest.mark.slow(seconds=12)
def test_a_search_that_is_asked_to_stop_goes_on_with_its_running_trial(ready, main):
    line = (*LINE, *SPACE, "n_trials=3", "sweep.workers=1", "search.pruner=none", "num_epoch=30")
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
    assert "SIGINT" in {job.folder.record().reason for job in only_sweep(ready).jobs() if job.folder.record()}
    stopped_by, how_on = stopped.stdout.splitlines()  # no table: it is no answer yet
    assert stopped_by.startswith("stopped by SIGINT: search (tpe): ")
    assert how_on.endswith(f"lenet-train -m sweep.resume={only_sweep(ready).id}")
    assert main("status", program="sweep").stdout.startswith(f"sweep {only_sweep(ready).id}: killed (SIGINT)\n")
    before = len(study_of(ready).trials)
    ended = f"{before - 1} of 3 trials ended"
    assert ended in stopped.stdout
    assert ended in main("status", program="sweep").stdout
    assert ended in parent.data.tags["sweep_progress"]
    assert f" {before - 1}/3 trials " in main("list", program="sweep").stdout
    spent = [_epochs_spent(ready)]
    assert spent[0] > 0
    process = start(*line, outputs=ready)
    while process.poll() is None:
        spent.append(_epochs_spent(ready))
        time.sleep(0.02)
    assert end(process).returncode in {0, 1}
    spent.append(_epochs_spent(ready))
    assert spent == sorted(spent)
    assert spent[-1] == sum(len(job.folder.history().epochs) for job in only_sweep(ready).jobs())
    trials = trials_of(ready)
    assert len(trials) == 3
    assert "RUNNING" not in {trial[2] for trial in trials}
    assert only_sweep(ready).jobs()[before - 1].folder.record().resumed == 1


def _epochs_spent(outputs: Path) -> int:
    plan = only_sweep(outputs).started().search
    assert plan is not None
    return plan.epochs


@pytest.mark.slow(seconds=7)
def test_the_study_may_lie_in_a_database_of_ones_own(ready, tmp_path):
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    search(ready, "n_trials=2", f"search.storage={url}")
    study = optuna.load_study(study_name=None, storage=url)
    assert [t.number for t in study.trials] == [0, 1]
    assert not (only_sweep(ready).path / "study.db").exists()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ready, elsewhere)
    other = search(elsewhere, "n_trials=2", f"search.storage={url}")
    assert (other.returncode, len(other.stderr.splitlines())) == (2, 1), other.stderr
    assert "there is of" in other.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import lenet_exp; lenet_exp.search({'optimizer.lr': 'interval(0.01,1)'}, ['dataset=digits'], n_trials=2)",
        "sys.argv = ['lenet-train', '-m', 'hydra/sweeper=search', 'n_trials=2', 'activation=relu,elu']; "
        "from lenet_exp.commands.train import main; main()",
    ],
    ids=["from Python", "by command"],
)
def test_without_optuna_a_new_process_says_what_to_install(code, outputs):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['optuna'] = None; {code}"],
        env=os.environ | {"LENET_EXP_OUTPUTS": str(outputs)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert "hydra/sweeper=search needs Optuna: pip install 'lenet_exp[search]'" in last, done.stderr
    assert "ModuleNotFoundError" not in last


REFUSED = {
    "n_trials=3": "there is nothing to search",
    "optimizer.lr=interval(1e-3,1)": "when does it end? Give n_trials, max_epochs or max_seconds",
    "n_trials=3 optimizer.lrr=interval(1e-3,1)": "optimizer.lrr: no such flag; did you mean optimizer.lr?",
    "n_trials=3 optimizer=sgd,adm": "optimizer=adm: no such option; did you mean adam?",
    "n_trials=3 regularization.dropout_rate=interval(0,1)": "regularization.dropout_rate=1.0: allowed is >= 0 and < 1",
    "n_trials=3 optimizer=adam optimizer.momentum=interval(0,0.9)": "has no effect with anything that is searched here",
    "n_trials=3 activation=relu,selu schedule=constant,cosine schedule.warmup=interval(0,0.2)": "allowed is 0 with",
    "n_trials=0 activation=relu,selu": "n_trials=0: allowed is >= 1",
    "n_trials=3 activation=relu,selu seed=1,2": "seed=1,2: a search that chooses by the seed finds luck",
    "n_trials=3 activation=relu,selu engine=native,torch": "says how a run is executed, which makes it no other trial",
    "n_trials=3 activation=relu,selu search.sampler=cmaes": "allowed is tpe or gp or qmc or random or grid",
    "n_trials=3 activation=relu,selu search.pruner=ash": "did you mean asha?",
    "n_trials=3 activation=relu,selu search.pruner_options.reduction=3": "did you mean reduction_factor?",
    "optimizer.lr=interval(1e-3,1) search.sampler=grid": "allowed are lists and ranges",
    "n_trials=3 activation=relu,selu sweep.zip=[a,b]": "sweep.zip=['a', 'b']: a search has no flags that go together",
    "n_trials=3 activation=relu,selu sweep.force=true": "a search takes the results that are there",
    "n_trials=3 activation=relu,selu hydra/launcher=basic": "allowed is hydra/launcher=local",
    "n_trials=3 activation=relu,selu seeds=3 search.objective=front": "allowed with search.objective=accuracy or loss",
    "n_trials=3 activation=relu,selu search.objective=epochs": "to which accuracy? Give search.target, such as 0.98",
    "n_trials=3 activation=relu,selu search.target=0.9": "allowed with search.objective=epochs or seconds",
    "n_trials=3 activation=relu,selu search.objective=front search.pruner=median": "search.objective=front is none",
    "n_trials=3 activation=relu,selu confirm=1": "confirm=1: one seed each tells no spread; allowed with seeds=3 or so",
    "n_trials=3 activation=relu,selu seeds=0": "seeds=0: allowed is >= 1 and <= 1000",
    "n_trials=3 activation=relu,selu activation=elu,selu": "activation is given twice",
    "n_trials=3 optimizer.lr=tag(lgo,interval(1,2))": "no such tag: lgo; did you mean log?",
    "n_trials=3 activation=relu,selu tracking.experiment=a,b": "is of the search as a whole; allowed is one value",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_can_not_be_searched_is_one_line(line, main, outputs):
    done = main("-m", "hydra/sweeper=search", "dataset=digits", *line.split(" "))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert REFUSED[line] in done.stderr
    assert not (outputs / "sweeps").exists()


WITHOUT = {
    "n_trials=3": "n_trials=3: is of a search; type lenet-train -m hydra/sweeper=search n_trials=3 ...",
    "-m n_trials=3 activation=relu,selu": "lenet-train -m hydra/sweeper=search n_trials=3",
    "seeds=3": "seeds=3: is of a search",
    "confirm=1": "confirm=1.0: is of a search",
    "search.sampler=gp": "search.sampler=gp: is of a search",
    "-m optimizer.lr=interval(0.1,1)": "a grid has no intervals; lenet-train -m hydra/sweeper=search",
    "-m hydra/sweeper=optuna activation=relu,selu": "hydra/sweeper=search searches the same spaces",
}


@pytest.mark.parametrize("line", WITHOUT)
def test_a_search_without_the_sweeper_is_told_what_to_type(line, main, outputs):
    done = main(*line.split(" "), "dataset=digits")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert WITHOUT[line] in done.stderr
    assert not outputs.exists()


def test_a_dry_run_says_what_would_be_searched_and_writes_nothing(main, outputs):
    done = main("-m", "hydra/sweeper=search", *QUICK, "n_trials=5", *SPACE, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "tpe, asha" in done.stdout
    assert "optimizer.lr=tag(log,interval(3e-3,0.3))" in done.stdout
    assert not outputs.exists()


def test_the_space_may_stand_in_a_recipe(main, outputs, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "hydra: {sweeper: {params: {activation: 'relu,selu', optimizer.lr: 'tag(log,interval(0.01,0.1))'}}}\n"
        "n_trials: 7\n"
    )
    line = ("--config-dir", str(tmp_path), "-m", "hydra/sweeper=search", "experiment=mine", *QUICK)
    done = main(*line, "sweep.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "optimizer.lr=tag(log,interval(0.01,0.1))" in done.stdout
    assert "n_trials=7" in done.stdout


@pytest.mark.slow(seconds=60)
def test_a_search_that_is_killed_again_and_again_ends_with_exactly_its_trials(empty_store, tmp_path):
    """With one worker; each kill takes the sweep's process, at random moments, and its worker ends by itself."""

    def go(outputs: Path) -> Process:
        if not outputs.exists():
            shutil.copytree(empty_store, outputs)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return start(
            *LINE, *SPACE, "n_trials=14", "seeds=3", "sweep.workers=1", outputs=outputs, start_new_session=True, **quiet
        )

    assert end(go(tmp_path / "calm")).returncode in {0, 1}
    calm, moments, kills = trials_of(tmp_path / "calm"), random.Random(2), 0
    while True:
        process = go(tmp_path / "killed")
        known = len(calm) if kills >= 20 else _trials_so_far(tmp_path / "killed")
        if not _ends_before(process, tmp_path / "killed", known, moments):
            kills += 1
            continue
        break
    assert kills >= 3
    assert trials_of(tmp_path / "killed") == calm
    (parent,) = runs(client(tmp_path / "killed"), "sweep")
    assert (parent.info.status, parent.data.metrics["trials"]) == ("FINISHED", 14)
    assert all(run.info.status != "RUNNING" for run in runs(client(tmp_path / "killed")))


@pytest.mark.slow(seconds=45)
def test_a_search_killed_at_any_point_of_its_own_ends_with_exactly_its_trials(empty_store, tmp_path):
    """Right before it keeps something: a trial, its epoch, how it ended, how far the search is."""
    line = (*LINE, *SPACE, "n_trials=4", "sweep.workers=1")

    def go(outputs: Path, **environment: str) -> Done:
        if not outputs.exists():
            shutil.copytree(empty_store, outputs)
        return end(start(*line, outputs=outputs, module="tests.sweeps.strikes", env=environment))

    trace = tmp_path / "trace"
    assert go(tmp_path / "calm", **{TRACE: str(trace)}).returncode in {0, 1}
    points, calm, differ = trace.read_text().splitlines(), trials_of(tmp_path / "calm"), []
    last = {point: n for n, point in enumerate(points)}  # of each kind the last, when there are other trials already
    kept = [f"RDBStorage.{name}" for name in ("create_new_trial", "set_trial_intermediate_value", "set_trial_user_attr",
                                              "set_trial_state_values")]  # fmt: skip
    for point in (*kept, "replace sweep.json"):
        number = last[point]
        outputs = tmp_path / f"struck-{number}"
        assert go(outputs, **{STRIKE: str(number)}).returncode == -9
        assert go(outputs).returncode in {0, 1}
        if trials_of(outputs) != calm:
            differ.append(point)
    assert differ == []


def _trials_so_far(outputs: Path) -> int:
    return sum(len((sweep.path / "jobs.jsonl").read_text().splitlines()) for sweep in all_sweeps(outputs))


def _ends_before(process: Process, outputs: Path, known: int, moments: random.Random) -> bool:
    """Kills a search up to three trials after where it began, at a random moment; whether it ended before."""
    until = known + moments.randint(0, 3)
    while process.poll() is None:
        if until < 14 and _trials_so_far(outputs) > until:
            time.sleep(moments.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            return process.wait(60) != -signal.SIGKILL
        time.sleep(0.02)
    return True


@pytest.mark.slow(seconds=10)
def test_a_worker_that_is_killed_loses_no_trial(ready):
    process = start(*LINE, *SPACE, "n_trials=5", "sweep.workers=1", "num_epoch=12", "dataset.train_size=1000",
                    "search.pruner=none", "sweep.retries=3", outputs=ready)  # fmt: skip
    killed = 0
    while process.poll() is None and killed < 2:
        for owner in ready.glob("runs/*/owner.json"):
            history = owner.parent / "history.json"
            if history.exists():
                try:
                    pid = int(owner.read_text().partition('"pid": ')[2].partition("\n")[0].strip("}, "))
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except (ValueError, ProcessLookupError, FileNotFoundError):
                    continue
                time.sleep(0.3)
        time.sleep(0.02)
    done = end(process)
    assert killed
    assert done.returncode in {0, 1}, done.stderr
    assert len(trials_of(ready)) == 5
    assert {trial[2] for trial in trials_of(ready)} == {"COMPLETE"}
