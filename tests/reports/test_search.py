"""Reports of a search: what they contain beyond those of a grid, for a real search and for
synthetic trials.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lenet_exp.comparison.compare import compare_runs
from lenet_exp.comparison.search.flags import SearchedFlag
from lenet_exp.comparison.search.importance import search_importance
from lenet_exp.comparison.search.summary import SearchedRun, SearchSummary, searched
from lenet_exp.config.compose import compose
from lenet_exp.config.schema import Objective
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.folders.sweep_progress import SweepProgress
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.files.comparison_plots import figures
from lenet_exp.reports.files.plots import png
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.progress_words import best_words, ended_words, progress_line
from lenet_exp.reports.words.search_history import search_lines
from lenet_exp.reports.words.search_words import search_line, trials_words
from tests.comparison.made_up import made as a_run
from tests.reports.page.pages import data_of, page
from tests.searches.searched import LINE, SPACE, only_sweep
from tests.tools.commands import Done, lenet_train
from tests.tools.stores import client, files, runs

N = 12
SLOW = pytest.mark.slow(seconds=10)  # for the shared search
PICTURES = {"leaderboard", "learning_curves", "search_history"}
FLAGS = [
    SearchedFlag("optimizer.lr", choice=False, log=True),
    SearchedFlag("activation", choice=True, log=False),
]


@pytest.fixture(scope="module")
def searched_outputs(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Return the outputs folder of a search."""
    outputs = tmp_path_factory.mktemp("search") / "outputs"
    shutil.copytree(empty_store, outputs)
    options = (
        f"n_trials={N}",
        "sweep.workers=1",
        "search.pruner_options.reduction_factor=2",
        "tracking.plots=true",
    )
    done = lenet_train(*LINE, SPACE[0], SPACE[-1], *options, outputs=outputs)
    assert done.returncode in {0, 1}, done.stderr  # 1: one diverged
    return outputs


@pytest.fixture
def compare(
    searched_outputs: Path, main: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], str]:
    """Return a function that writes the report of the search to a file and returns what
    lenet-compare prints.
    """

    def write(file: Path) -> str:
        monkeypatch.setenv("LENET_EXP_OUTPUTS", str(searched_outputs))
        done = main(f"output={file}", program="compare")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return write


@SLOW
def test_json_contains_all_trials_and_history_of_best(searched_outputs, compare, tmp_path):
    plan = only_sweep(searched_outputs).started().search

    compare(tmp_path / "x.json")

    (comparison,) = json.loads((tmp_path / "x.json").read_text())
    search = comparison["search"]
    assert search["how"] == "tpe, asha"
    assert search["objective"] == "accuracy"
    assert search["epochs"] == plan.epochs

    assert [trial["number"] for trial in search["trials"]] == list(range(N))
    flags = {flag for trial in search["trials"] for flag in trial["flags"]}
    assert flags == {"optimizer.lr", "activation"}

    last_step = search["history"][-1]
    assert last_step["epochs"] == plan.epochs
    assert last_step["best"] == plan.best_value
    assert last_step["named"] == search["trials"][plan.best_trial]["name"]
    bests = [step["best"] for step in search["history"] if step["best"] is not None]
    assert bests == sorted(bests)


@SLOW
def test_terminal_and_markdown_show_finished_trials_and_count_rest(
    searched_outputs, compare, tmp_path
):
    outcomes = [job.folder.record().outcome for job in only_sweep(searched_outputs).jobs()]
    finished = outcomes.count(Outcome.finished)

    out = compare(tmp_path / "x.md")
    text = (tmp_path / "x.md").read_text()

    assert f"\n{N - finished} more (" in out
    assert "of the variance" not in out
    table_lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table_lines) == 2 + finished
    assert "best so far" in out
    assert "best so far" in text


@SLOW
def test_page_and_mlflow_show_whole_search(searched_outputs, compare, tmp_path):
    sweep = only_sweep(searched_outputs)
    plan = sweep.started().search
    jobs = sweep.jobs()

    compare(tmp_path / "x.html")

    html = page(tmp_path / "x.html")
    assert "best so far" in html.text
    (comparison,) = data_of(html)["comparisons"]
    search = comparison["search"]
    assert search["epochs"] == plan.epochs
    assert search["history"][-1]["best"] == plan.best_value
    assert search["best"] == plan.best_trial
    epochs = [len(job.folder.history().epochs) for job in jobs]
    assert [trial["epochs"] for trial in search["trials"]] == epochs
    for flags in (search["flags"], comparison["flags"]):
        is_log = {flag["name"]: flag["log"] for flag in flags}
        assert is_log["optimizer.lr"] is True
    assert len(comparison["groups"]) == len({job.run for job in jobs})

    store = client(searched_outputs)
    (parent,) = runs(store, "sweep")
    names = {Path(name).stem for name in files(store, parent.info.run_id)}
    assert names >= PICTURES
    report = store.download_artifacts(parent.info.run_id, "report.md")
    assert "best so far" in Path(report).read_text()


def made(
    number: int, curve: list[float], outcome: str = "finished", lr: str = "0.1", of: str = ""
) -> SearchedRun:
    """Return a run whose epochs take a second each; the runs follow one another."""
    start = 10_000 * (number + 1)
    epoch_ends = [start + 1000 * epoch for epoch in range(len(curve))]
    activation = "relu" if number % 2 else "selu"
    name = of or f"trial {number}"
    return SearchedRun(
        trial=number,
        name=name,
        dataset="digits",
        configuration=name,
        flags={"optimizer.lr": lr, "activation": activation},
        outcome=Outcome(outcome),
        value=max(curve, default=math.nan),
        curve=curve,
        epoch_ends=epoch_ends,
        ended=start + 9000,
    )


def of(
    *runs: SearchedRun, objective: Objective = Objective.accuracy, begun: int = 0
) -> SearchSummary:
    return SearchSummary("tpe, asha", objective, FLAGS, list(runs), begun)


def test_best_trial_is_chosen_among_finished_trials():
    search = of(
        made(0, [0.5, 0.6]),
        made(1, [0.9], "pruned"),
        made(2, [0.7, 0.65]),
        made(3, [0.8], "diverged"),
    )

    assert [step.epochs for step in search.steps] == [2, 3, 5, 6]
    assert [step.best for step in search.steps] == [0.6, 0.6, 0.7, 0.7]
    assert search.best.name == "trial 2"
    assert re.findall(r"[\d.]+", search_lines(search)[0]) == ["60.00", "2", "70.00", "5", "6"]


@SLOW
def test_trials_that_reach_target_count_as_finished(searched_outputs):
    """The outcome of a trial that reaches the target does not matter, unless it diverged."""
    target = 0.3
    sweep = only_sweep(searched_outputs)
    plan = sweep.started()
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    expected = []
    for result in results:
        epochs = result.job.folder.history().epochs
        reached = any(epoch.val_accuracy >= target for epoch in epochs)
        expected.append(reached and result.outcome is not Outcome.diverged)

    for_epochs = replace(plan.search, objective="epochs", target=target)
    trials = searched(replace(plan, search=for_epochs), results).trials

    assert [trial.outcome is Outcome.finished for trial in trials] == expected
    for trial in trials:
        if trial.outcome is Outcome.finished:
            assert trial.value == int(trial.value)
            assert trial.value >= 1


def test_lowest_loss_is_best():
    search = of(made(0, [2.0]), made(1, [0.5]), made(2, [1.0]), objective=Objective.loss)

    assert [step.best for step in search.steps] == [2.0, 0.5, 0.5]
    assert re.findall(r"[\d.]+", search_lines(search)[0]) == ["2", "1", "0.5", "2", "3"]


def test_seeds_of_configuration_are_one_trial_with_mean_value():
    search = of(made(0, [0.7], of="a"), made(1, [0.8], of="b"), made(2, [0.6], of="a"))

    assert [trial.name for trial in search.trials] == ["a", "b"]
    assert [trial.finished for trial in search.trials] == [2, 1]
    assert [step.best for step in search.steps] == pytest.approx([0.7, 0.8, 0.65])


def test_earlier_training_costs_no_budget():
    search = of(made(0, [0.5, 0.6]), made(1, [0.7]), begun=20_000)

    assert [step.epochs for step in search.steps] == [0, 1]
    assert [step.best for step in search.steps] == [0.6, 0.7]


def test_decisive_flag_has_highest_importance():
    trials = []
    for i in range(16):
        lr = 0.001 * 1.5**i
        accuracy = 0.9 - abs(math.log10(lr) + 2) / 5
        trials.append(made(i, [accuracy], lr=f"{lr:.4g}"))
    search = of(*trials)

    shares = search_importance(search)
    shares_of_few_trials = search_importance(replace(search, runs=search.runs[:5]))

    assert list(shares) == ["optimizer.lr", "activation"]
    assert shares["optimizer.lr"] > 0.8
    assert shares_of_few_trials == {}


def test_flag_missing_in_some_trials_has_no_importance():
    trials = []
    for i in range(30):
        lr = f"{0.01 * (i + 1):.4g}" if i % 3 else "-"
        trials.append(made(i, [0.5 + i / 100], lr=lr))

    assert list(search_importance(of(*trials))) == ["activation"]


def test_search_history_is_drawn_for_any_outcomes(tmp_path):
    failures = of(
        made(0, [0.5, math.nan], "diverged"), made(1, [], "failed"), made(2, [0.5], lr="0.2")
    )
    losses = of(made(0, [2.0]), made(1, [0.5]), objective=Objective.loss)
    target_not_reached = replace(of(made(0, [0.5]), objective=Objective.epochs), target=0.7)
    none_finished = of(made(0, [0.5], "pruned"))
    (comparison,) = compare_runs([a_run(0, 0.9), a_run(0, 0.8, activation="relu")])
    cases = [(failures, True), (losses, True), (target_not_reached, True), (none_finished, False)]

    for search, is_drawn in cases:
        of_search = replace(comparison, searched=search)
        pictures = figures(of_search)
        assert ("search_history" in pictures) is is_drawn
        for figure in pictures.values():
            assert png(figure)

        for ending in ("json", "html"):
            write_comparison(tmp_path / f"x.{ending}", [of_search], RunSource("lenet-train"))
        assert "NaN" not in (tmp_path / "x.json").read_text()
        data_of(page(tmp_path / "x.html"))


PLAN = SearchPlan(
    sampler="tpe", pruner="asha", objective="accuracy", n_trials=40, trials=3, epochs=1, seconds=2.0
)


def results(*outcomes: str, seeds_of: tuple[int, ...] = ()) -> list[JobResult]:
    """Return a trial for each outcome, followed by further seeds of these trials, all finished."""
    runs = list(enumerate(outcomes))
    for trial in seeds_of:
        runs.append((trial, "finished"))

    of_jobs = []
    for n, (trial, outcome) in enumerate(runs):
        job = Job(
            number=n,
            name=f"lr=0.{n}",
            swept={},
            overrides=[],
            config=compose(),
            fingerprint="",
            run=str(n),
            trial=trial,
        )
        result = JobResult(job, Outcome(outcome), reason="", record=None, repeated=False)
        of_jobs.append(result)
    return of_jobs


def counted(words: str) -> list[str]:
    """Return each number with the word after it."""
    return re.findall(r"\d+ (?:of \d+ )?[a-z]+", words)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (results(), ["0 of 40 trials"]),
        (
            results("finished", "pruned", "killed"),
            ["2 of 40 trials", "1 finished", "1 pruned", "1 killed"],
        ),
        (results(*["finished"] * 40), ["40 trials", "40 finished"]),
        (
            results("finished", "pruned", "running", seeds_of=(0, 0)),
            ["2 of 40 trials", "1 finished", "1 pruned", "1 running", "2 runs", "2 finished"],
        ),
    ],
)
def test_ended_trial_counts_once_for_any_number_of_seeds(found, words):
    assert counted(trials_words(PLAN, found)) == words


def test_search_without_n_trials_counts_started_trials():
    plan = SearchPlan(sampler="tpe", pruner="asha", objective="accuracy", max_epochs=9)

    ended = counted(trials_words(plan, results("finished")))
    one_runs = counted(trials_words(plan, results("finished", "running")))

    assert ended == ["1 trial", "1 finished"]
    assert one_runs == ["1 of 2 trials", "1 finished", "1 running"]


def test_summary_starts_with_best_trial_and_does_not_count_runs():
    trials = results("finished", "pruned", "running")
    counts = trials_words(PLAN, trials)
    sweep_plan = SweepPlan(
        command="", overrides=[], swept=[], experiment="", created_ms=0, search=PLAN
    )
    progress = SweepProgress(sweep_plan, trials, running=[], trained=0, done=0, left=0, seconds=1.0)

    line = search_line(PLAN, trials)
    assert ended_words(sweep_plan, trials) == counts
    assert line.startswith(f"search (tpe, asha): {counts}; 1 epoch, 2.0 s")
    assert progress_line(progress).startswith(line)
    assert "runs" not in progress_line(progress)

    with_best = replace(PLAN, best_trial=0, best_job=0, best_value=0.984, best_seeds=3, left=[0, 1])
    sweep_plan = replace(sweep_plan, search=with_best)
    progress = replace(progress, plan=sweep_plan)
    best = best_words(sweep_plan, trials)
    assert best.startswith("98.40%")
    assert best.endswith("trial 0: lr=0.0")
    assert progress_line(progress).startswith(f"best {best}; ")
    line_without_best = search_line(with_best, trials, with_best=False)
    assert counted(line_without_best)[-1] == "2 configurations"
    assert f"best {best}" in search_line(with_best, trials)
