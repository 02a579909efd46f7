"""How a sweep stands, in words: for MLflow while it runs, and for a line where there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.folders.records import Outcome, SweepPlan
from lenet_exp.folders.results import JobResult, best_of
from lenet_exp.folders.standing import OPEN, InTraining, Standing
from lenet_exp.reports.duration import duration
from lenet_exp.reports.search_words import UNENDED, best_line, counts_line, ended_of, first_results, trials_words

FEW = 4  # runs that a line names


def ended_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """`12 of 60 runs ended (11 finished, 1 diverged)`; of a search its trials."""
    if plan.search is not None:
        return trials_words(plan.search, results)
    counts = Counter(r.outcome for r in results if r.outcome not in OPEN)
    outcomes = ", ".join(f"{counts[o]} {o}" for o in Outcome if counts[o])
    return f"{counts.total()} of {number_of(len(results), 'run')} ended" + (f" ({outcomes})" if outcomes else "")


def progress_words(standing: Standing) -> str:
    """`12 of 60 runs ended (11 finished, 1 diverged), 2 training, about 4 min left`."""
    said = ended_words(standing.plan, standing.results)
    said += f", {len(standing.running)} training" if standing.running and standing.plan.search is None else ""
    left = left_words(standing)
    return said + (f", {left}" if left else "")


def counts_words(standing: Standing) -> str:
    """`12/60 runs, 1 failed`, of a search `6/40 trials, 5 pruned`: beside a bar."""
    wrong = [f", {n} {o}" for o in Outcome if o not in OPEN | {Outcome.finished} and (n := standing.counts[o])]
    search = standing.plan.search
    if search is None:
        return f"{standing.ended}/{number_of(len(standing.results), 'run')}" + "".join(wrong)
    trials = first_results(standing.results)
    ended = sum(r.outcome not in UNENDED for r in trials.values())
    return ended_of(search, ended, len(trials)) + "".join(wrong)


def left_words(standing: Standing) -> str:
    """`about 4 min left`; empty where that is not known."""
    left = standing.seconds_left
    return "" if left is None else f"about {duration(left)} left"


def best_words(plan: SweepPlan, results: Sequence[JobResult]) -> str:
    """`98.10% by relu lr=0.1 seed=3`, of a search also the trial's number; empty before a run has finished."""
    if plan.search is not None:
        return best_line(plan.search, results)
    best = best_of(results)
    return f"{best.value:.2%} by {best.job.name}" if best is not None else ""


def standing_line(standing: Standing) -> str:
    """All of it in one line."""
    best = best_words(standing.plan, standing.results)
    words = [f"best {best}"] if best else []
    if standing.plan.search is not None:
        words += [counts_line(standing.plan.search, standing.results), *filter(None, [left_words(standing)])]
    else:
        words = [progress_words(standing), *words]
    if standing.running:
        words.append("training " + ", ".join(map(epoch_words, standing.running[:FEW])))
        words[-1] += f" and {len(standing.running) - FEW} more" if len(standing.running) > FEW else ""
    return "; ".join(words)


def epoch_words(run: InTraining) -> str:
    """`relu seed=1 (3/12)`."""
    return f"{run.job.name} ({run.epochs}/{run.job.config.num_epoch})"
