"""A search in a line: trials are counted in one way, wherever it is said how it stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome, SearchPlan, SweepPlan
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.standing import Standing
from lenet_exp.reports.search_words import begun_words, counts_line, ended_of, search_line, trials_words
from lenet_exp.reports.standing_words import best_words, counts_words, ended_words, progress_words, standing_line

PLAN = SearchPlan(sampler="tpe", pruner="asha", objective="accuracy", n_trials=40, trials=3, epochs=1, seconds=2.0)


def results(*outcomes: str, seeds_of: tuple[int, ...] = ()) -> list[JobResult]:
    """A trial for each outcome; after them further seeds of these trials, all finished."""
    trials = [*range(len(outcomes)), *seeds_of]
    said = [*map(Outcome, outcomes), *[Outcome.finished] * len(seeds_of)]
    jobs = [Job(n, f"lr=0.{n}", {}, [], {}, "", str(n), trial=trial) for n, trial in enumerate(trials)]
    return [JobResult(job, outcome, "", None, False) for job, outcome in zip(jobs, said, strict=True)]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (results(), "0 of 40 trials ended"),
        (results("running"), "0 of 40 trials ended, 1 running"),
        (results("finished", "pruned", "killed"), "2 of 40 trials ended (1 finished, 1 pruned), 1 killed"),
        (results(*["finished"] * 40), "40 trials (40 finished)"),
        (
            results("finished", "pruned", "running", seeds_of=(0, 0)),
            "2 of 40 trials ended (1 finished, 1 pruned), 1 running, 2 runs of further seeds (2 finished)",
        ),
    ],
)
def test_a_trial_counts_once_it_has_ended_whatever_seeds_it_has(found, words):
    assert trials_words(PLAN, found) == words


def test_without_a_number_of_trials_it_is_of_those_that_were_asked_for():
    plan = SearchPlan(sampler="tpe", pruner="asha", objective="accuracy", max_epochs=9)
    assert trials_words(plan, results("finished")) == "1 trial (1 finished)"
    assert trials_words(plan, results("finished", "running")) == "1 of 2 trials ended (1 finished), 1 running"


def test_a_line_begins_with_the_best_once_there_is_one():
    found = results("finished", "pruned", "running")
    searching = SweepPlan(command="", overrides=[], swept=[], experiment="", created_ms=0, search=PLAN)
    assert standing_line(Standing(searching, found, [], 0, 0, 0, None)).startswith("search (tpe, asha): 2 of 40 trials")
    plan = replace(PLAN, best_trial=0, best_job=0, best_value=0.984, best_seeds=3, left=[0, 1])
    best = "98.40% (mean of 3 seeds) by trial 0: lr=0.0"
    assert best_words(replace(searching, search=plan), found) == best
    standing = Standing(replace(searching, search=plan), found, [], 0, 0, 0, None)
    assert standing_line(standing).startswith(f"best {best}; search (tpe, asha): 2 of 40 trials ended")
    counts = counts_line(plan, found)
    left = "2 configurations may still be the best"
    assert counts.endswith(f"; {left}")
    assert search_line(plan, found) == counts.replace(left, f"best {best}; {left}")


def test_without_a_number_of_trials_none_is_said_to_be_the_last():
    plan = SearchPlan(sampler="tpe", pruner="asha", objective="accuracy", max_seconds=60.0)
    assert (ended_of(plan, 39, 39), ended_of(PLAN, 2, 3)) == ("39 trials ended", "2/40 trials")


def test_no_line_counts_its_runs_beside_its_trials():
    found = results("finished", "pruned", "running")
    plan = SweepPlan(command="", overrides=[], swept=[], experiment="", created_ms=0, search=PLAN)
    standing = Standing(plan, found, [], 0, 0, 0, 1.0)
    words = "2 of 40 trials ended (1 finished, 1 pruned), 1 running"
    assert ended_words(plan, found) == words
    assert progress_words(standing).startswith(words)
    assert search_line(PLAN, found) == f"search (tpe, asha): {words}; 1 epoch, 2.0 s in all"
    assert standing_line(standing).startswith(search_line(PLAN, found))
    assert counts_words(standing) == "2/40 trials, 1 pruned"
    assert "runs" not in standing_line(standing)


def test_where_it_goes_on_its_trials_are_counted_and_where_there_are_more_its_runs():
    assert begun_words([r.job for r in results("finished")]) == "1 trial"
    assert begun_words([r.job for r in results("finished", "pruned", seeds_of=(0,))]) == "2 trials in 3 runs"
