"""One-line summaries of a search: all of them count trials in the same way."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.folders.sweep_progress import SweepProgress
from lenet_exp.reports.words.search_words import (
    best_words,
    counts_line,
    ended_words,
    progress_line,
    progress_words,
    search_line,
    trials_words,
)

PLAN = SearchPlan(sampler="tpe", pruner="asha", objective="accuracy", n_trials=40, trials=3, epochs=1, seconds=2.0)


def results(*outcomes: str, seeds_of: tuple[int, ...] = ()) -> list[JobResult]:
    """Return a trial for each outcome, followed by further seeds of these trials, all finished."""
    trials = [*range(len(outcomes)), *seeds_of]
    said = [*map(Outcome, outcomes), *[Outcome.finished] * len(seeds_of)]
    jobs = [Job(n, f"lr=0.{n}", {}, [], {}, "", str(n), trial=trial) for n, trial in enumerate(trials)]
    return [JobResult(job, outcome, "", None, False) for job, outcome in zip(jobs, said, strict=True)]


def counted(words: str) -> list[str]:
    """Return each number with the word after it."""
    return re.findall(r"\d+ (?:of \d+ )?[a-z]+", words)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (results(), ["0 of 40 trials"]),
        (results("finished", "pruned", "killed"), ["2 of 40 trials", "1 finished", "1 pruned", "1 killed"]),
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
    assert counted(trials_words(plan, results("finished", "running"))) == ["1 of 2 trials", "1 finished", "1 running"]


def test_summary_starts_with_best_trial_and_does_not_count_runs():
    found = results("finished", "pruned", "running")
    counts = trials_words(PLAN, found)
    searching = SweepPlan(command="", overrides=[], swept=[], experiment="", created_ms=0, search=PLAN)
    progress = SweepProgress(searching, found, [], 0, 0, 0, 1.0)
    assert ended_words(searching, found) == counts
    assert progress_words(progress).startswith(counts)
    assert search_line(PLAN, found).startswith(f"search (tpe, asha): {counts}; 1 epoch, 2.0 s")
    assert progress_line(progress).startswith(search_line(PLAN, found))
    assert "runs" not in progress_line(progress)
    plan = replace(PLAN, best_trial=0, best_job=0, best_value=0.984, best_seeds=3, left=[0, 1])
    best = best_words(replace(searching, search=plan), found)
    assert best.startswith("98.40%")
    assert best.endswith("trial 0: lr=0.0")
    assert progress_line(replace(progress, plan=replace(searching, search=plan))).startswith(f"best {best}; ")
    assert counted(counts_line(plan, found))[-1] == "2 configurations"
    assert f"best {best}" in search_line(plan, found)
