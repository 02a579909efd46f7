"""Reports of a search: what they contain beyond those of a grid, for a real search and for
synthetic trials.
"""

from __future__ import annotations

import json
import math
import re
import shutil
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
from tests.tools.commands import lenet_train
from tests.tools.stores import client, files, runs

N = 12
SLOW = pytest.mark.slow(seconds=10)  # for the shared search
PICTURES = {"leaderboard", "learning_curves", "search_history"}
FLAGS = [
    SearchedFlag("optimizer.lr", choice=False, log=True),
    SearchedFlag("activation", choice=True, log=False),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
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


def told(found: Path, main, monkeypatch, file: Path) -> str:
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(found))
    done = main(f"output={file}", program="compare")
    assert done.returncode == 0, done.stderr
    return done.stdout


@SLOW
def test_json_contains_all_trials_and_history_of_best(found, main, monkeypatch, tmp_path):
    told(found, main, monkeypatch, tmp_path / "x.json")
    (comparison,) = json.loads((tmp_path / "x.json").read_text())
    search, plan = comparison["search"], only_sweep(found).started().search
    assert (search["how"], search["objective"], search["epochs"]) == (
        "tpe, asha",
        "accuracy",
        plan.epochs,
    )
    assert [trial["number"] for trial in search["trials"]] == list(range(N))
    assert {flag for trial in search["trials"] for flag in trial["flags"]} == {
        "optimizer.lr",
        "activation",
    }
    last = search["history"][-1]
    assert (last["epochs"], last["best"]) == (plan.epochs, plan.best_value)
    assert last["named"] == search["trials"][plan.best_trial]["name"]
    bests = [step["best"] for step in search["history"] if step["best"] is not None]
    assert bests == sorted(bests)


@SLOW
def test_terminal_and_markdown_show_finished_trials_and_count_rest(
    found, main, monkeypatch, tmp_path
):
    out = told(found, main, monkeypatch, tmp_path / "x.md")
    finished = [job.folder.record().outcome for job in only_sweep(found).jobs()].count(
        Outcome.finished
    )
    text = (tmp_path / "x.md").read_text()
    assert f"\n{N - finished} more (" in out
    assert "of the variance" not in out
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + finished
    assert all("best so far" in told for told in (out, text))


@SLOW
def test_page_and_mlflow_show_whole_search(found, main, monkeypatch, tmp_path):
    told(found, main, monkeypatch, tmp_path / "x.html")
    html = page(tmp_path / "x.html")
    assert "best so far" in html.text
    (comparison,) = data_of(html)["comparisons"]
    sweep, search = only_sweep(found), comparison["search"]
    plan, jobs = sweep.started().search, sweep.jobs()
    assert search["epochs"] == plan.epochs
    assert (search["history"][-1]["best"], search["best"]) == (plan.best_value, plan.best_trial)
    assert [trial["epochs"] for trial in search["trials"]] == [
        len(job.folder.history().epochs) for job in jobs
    ]
    for flags in (search["flags"], comparison["flags"]):
        assert {flag["name"]: flag["log"] for flag in flags}["optimizer.lr"] is True
    assert len(comparison["groups"]) == len({job.run for job in jobs})
    store = client(found)
    (parent,) = runs(store, "sweep")
    assert {Path(name).stem for name in files(store, parent.info.run_id)} >= PICTURES
    assert (
        "best so far" in Path(store.download_artifacts(parent.info.run_id, "report.md")).read_text()
    )


def made(
    number: int, curve: list[float], outcome: str = "finished", lr: str = "0.1", of: str = ""
) -> SearchedRun:
    """Return a run whose epochs take a second each; the runs follow one another."""
    start = 10_000 * (number + 1)
    ends = [start + 1000 * epoch for epoch in range(len(curve))]
    flags = {"optimizer.lr": lr, "activation": "relu" if number % 2 else "selu"}
    name = of or f"trial {number}"
    value = max(curve, default=math.nan)
    return SearchedRun(
        number, name, "digits", name, flags, Outcome(outcome), value, curve, ends, start + 9000
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
    assert [(s.epochs, s.best) for s in search.steps] == [(2, 0.6), (3, 0.6), (5, 0.7), (6, 0.7)]
    assert search.best.name == "trial 2"
    assert re.findall(r"[\d.]+", search_lines(search)[0]) == ["60.00", "2", "70.00", "5", "6"]


@SLOW
def test_trials_that_reach_target_count_as_finished(found):
    """The outcome of a trial that reaches the target does not matter, unless it diverged."""
    sweep = only_sweep(found)
    plan, results = sweep.started(), job_results(sweep, sweep.jobs(), since_ms=0)
    waits = replace(plan, search=replace(plan.search, objective="epochs", target=0.3))
    trials = searched(waits, results).trials
    reached = [any(e.val_accuracy >= 0.3 for e in r.job.folder.history().epochs) for r in results]
    ended = [r.outcome is not Outcome.diverged for r in results]
    assert [t.outcome is Outcome.finished for t in trials] == [
        a and b for a, b in zip(reached, ended, strict=True)
    ]
    assert all(t.value == int(t.value) >= 1 for t in trials if t.outcome is Outcome.finished)


def test_lowest_loss_is_best():
    search = of(made(0, [2.0]), made(1, [0.5]), made(2, [1.0]), objective=Objective.loss)
    assert [s.best for s in search.steps] == [2.0, 0.5, 0.5]
    assert re.findall(r"[\d.]+", search_lines(search)[0]) == ["2", "1", "0.5", "2", "3"]


def test_seeds_of_configuration_are_one_trial_with_mean_value():
    runs = [made(0, [0.7], of="a"), made(1, [0.8], of="b"), made(2, [0.6], of="a")]
    search = of(*runs)
    assert [(t.name, t.finished) for t in search.trials] == [("a", 2), ("b", 1)]
    assert [s.best for s in search.steps] == pytest.approx([0.7, 0.8, 0.65])


def test_earlier_training_costs_no_budget():
    search = of(made(0, [0.5, 0.6]), made(1, [0.7]), begun=20_000)
    assert [(s.epochs, s.best) for s in search.steps] == [(0, 0.6), (1, 0.7)]


def test_decisive_flag_has_highest_importance():
    values = [(lr, 0.9 - abs(math.log10(lr) + 2) / 5) for lr in (0.001 * 1.5**i for i in range(16))]
    search = of(*(made(i, [v], lr=f"{lr:.4g}") for i, (lr, v) in enumerate(values)))
    shares = search_importance(search)
    assert list(shares) == ["optimizer.lr", "activation"]
    assert shares["optimizer.lr"] > 0.8
    assert search_importance(replace(search, runs=search.runs[:5])) == {}  # too few


def test_flag_missing_in_some_trials_has_no_importance():
    runs = [
        made(i, [0.5 + i / 100], lr=f"{0.01 * (i + 1):.4g}" if i % 3 else "-") for i in range(30)
    ]
    assert list(search_importance(of(*runs))) == ["activation"]


def test_search_history_is_drawn_for_any_outcomes(tmp_path):
    odd = of(made(0, [0.5, math.nan], "diverged"), made(1, [], "failed"), made(2, [0.5], lr="0.2"))
    losses = of(made(0, [2.0]), made(1, [0.5]), objective=Objective.loss)
    waits = replace(of(made(0, [0.5]), objective=Objective.epochs), target=0.7)
    none = of(made(0, [0.5], "pruned"))
    (comparison,) = compare_runs([a_run(0, 0.9), a_run(0, 0.8, activation="relu")])
    for search, drawn in ((odd, True), (losses, True), (waits, True), (none, False)):
        found = replace(comparison, searched=search)
        assert ("search_history" in figures(found)) is drawn
        assert all(png(figure) for figure in figures(found).values())
        for ending in ("json", "html"):
            write_comparison(tmp_path / f"x.{ending}", [found], RunSource("lenet-train"))
        assert "NaN" not in (tmp_path / "x.json").read_text()
        data_of(page(tmp_path / "x.html"))


PLAN = SearchPlan(
    sampler="tpe", pruner="asha", objective="accuracy", n_trials=40, trials=3, epochs=1, seconds=2.0
)


def results(*outcomes: str, seeds_of: tuple[int, ...] = ()) -> list[JobResult]:
    """Return a trial for each outcome, followed by further seeds of these trials, all finished."""
    trials = [*range(len(outcomes)), *seeds_of]
    said = [*map(Outcome, outcomes), *[Outcome.finished] * len(seeds_of)]
    jobs = [
        Job(n, f"lr=0.{n}", {}, [], compose(), "", str(n), trial=trial)
        for n, trial in enumerate(trials)
    ]
    return [
        JobResult(job, outcome, "", None, False) for job, outcome in zip(jobs, said, strict=True)
    ]


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
    assert counted(trials_words(plan, results("finished"))) == ["1 trial", "1 finished"]
    assert counted(trials_words(plan, results("finished", "running"))) == [
        "1 of 2 trials",
        "1 finished",
        "1 running",
    ]


def test_summary_starts_with_best_trial_and_does_not_count_runs():
    found = results("finished", "pruned", "running")
    counts = trials_words(PLAN, found)
    searching = SweepPlan(
        command="", overrides=[], swept=[], experiment="", created_ms=0, search=PLAN
    )
    progress = SweepProgress(searching, found, [], 0, 0, 0, 1.0)
    assert ended_words(searching, found) == counts
    assert search_line(PLAN, found).startswith(f"search (tpe, asha): {counts}; 1 epoch, 2.0 s")
    assert progress_line(progress).startswith(search_line(PLAN, found))
    assert "runs" not in progress_line(progress)
    plan = replace(PLAN, best_trial=0, best_job=0, best_value=0.984, best_seeds=3, left=[0, 1])
    best = best_words(replace(searching, search=plan), found)
    assert best.startswith("98.40%")
    assert best.endswith("trial 0: lr=0.0")
    assert progress_line(replace(progress, plan=replace(searching, search=plan))).startswith(
        f"best {best}; "
    )
    assert counted(search_line(plan, found, with_best=False))[-1] == "2 configurations"
    assert f"best {best}" in search_line(plan, found)
