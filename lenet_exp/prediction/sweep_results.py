"""Test results of a sweep's configurations, and their presentation in the terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import confirmation
from lenet_exp.comparison.group import Group
from lenet_exp.files import Json
from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.prediction.evaluation import calibration_text, times
from lenet_exp.reports.columns import accuracy, behind
from lenet_exp.tracking.models.prediction import LoggedTest
from lenet_exp.training.score import Score


@dataclass(frozen=True)
class ScoredRun:
    """A finished run with its test result; `logged` is None if the result was not logged to MLflow."""

    record: Record
    score: Score
    logged: LoggedTest | None

    def row(self, sweep: str, name: str) -> dict[str, Json]:
        """Return the row of the run in a table, given the sweep's ID and the configuration's name."""
        return {
            "sweep": sweep,
            "dataset": self.record.dataset,
            "configuration": name,
            "seed": self.record.config.seed,
            "split_seed": self.record.config.split_seed,
            "val_accuracy": self.record.best_val_accuracy,
            **self.score.metrics,
            "correct": self.score.correct,
            "images": self.score.total,
            "run_id": self.logged.run_id if self.logged is not None else "",
            "test_opened": self.logged.times if self.logged is not None else "",
        }


@dataclass(frozen=True)
class ScoredConfiguration:
    """A configuration of a sweep on one dataset, with its finished runs, sorted by seed, and their
    test results.

    Attributes:
        position: position of the configuration in the comparison.
        tested: test results of the runs; empty before the evaluation.
        ensemble: score of the ensemble of all runs; None if it was not evaluated.
    """

    sweep: SweepFolder
    comparison: Comparison
    position: int
    runs: list[tuple[RunFolder, Record]]
    tested: Sequence[ScoredRun] = ()
    ensemble: Score | None = None

    @property
    def group(self) -> Group:
        """The configuration in the comparison."""
        return self.comparison.groups[self.position]

    @property
    def leads(self) -> bool:
        """Whether the configuration is the leader on its dataset."""
        return self.group is self.comparison.leader

    @property
    def name(self) -> str:
        """The name of the configuration."""
        return self.comparison.name(self.group)

    @property
    def sd(self) -> float | None:
        """The sample standard deviation of the test accuracies; None for a single run."""
        return (
            statistics.stdev(t.score.accuracy for t in self.tested)
            if len(self.tested) > 1
            else None
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the seeds, the standard deviation of the accuracy, and the
        ensemble's.
        """
        every = [t.score.metrics for t in self.tested]
        found = {name: statistics.fmean(m[name] for m in every) for name in every[0]}
        if self.sd is not None:
            found["test_accuracy_sd"] = self.sd
        if self.ensemble is not None:
            found |= {f"{name}_ensemble": value for name, value in self.ensemble.metrics.items()}
        return found

    @property
    def rows(self) -> list[dict[str, Json]]:
        """A row for each seed; see `ScoredRun.row`."""
        return [t.row(self.sweep.id, self.name) for t in self.tested]

    def as_json(self) -> dict[str, Json]:
        """Return all results as JSON values."""
        comparison = self.comparison
        flags = dict(zip(comparison.flags, comparison.values(self.group), strict=True))
        about = {"sweep": self.sweep.id, "dataset": comparison.dataset, "configuration": self.name}
        scores = [
            row | {"score": t.score.as_json()}
            for row, t in zip(self.rows, self.tested, strict=True)
        ]
        metrics = self.metrics
        numbers: dict[str, Json] = {
            "accuracy": metrics["test_accuracy"],
            "sd": self.sd,
            "n": len(scores),
            **metrics,
        }
        for lead in comparison.test_leads[self.position : self.position + 1]:
            numbers |= {
                name: value for name, value in behind("lead", lead).items() if not math.isnan(value)
            }
        together = {} if self.ensemble is None else {"ensemble": self.ensemble.as_json()}
        return {**about, "flags": flags, **numbers, **together, "runs": scores}


def heading(scored: ScoredConfiguration) -> str:
    """Return the heading for a configuration's results: its name, why it was evaluated, and its
    validation accuracy.
    """
    group, comparison = scored.group, scored.comparison
    metric = comparison.metric
    lost = f", {group.diverged} diverged" if group.diverged else ""
    reached = (
        f"validation {metric.name} {accuracy(group)}{'%' * metric.percent} (n = {group.n}{lost})"
    )
    tested = confirmation(comparison)
    if not scored.leads:
        how = "baseline" if comparison.is_baseline(group) else "not the leader"
    elif tested is None:
        how = f"leader on {comparison.dataset} by validation {metric.name}"
    else:
        answer = {True: "confirmed", False: "not confirmed", None: "being tested"}[tested.confirmed]
        how = f"leader of sweep {scored.sweep.started().confirms}, {answer} on these seeds"
    return f"sweep {scored.sweep.id}: {scored.name}: {how}: {reached}"


def run_line(tested: ScoredRun, with_split: bool) -> str:
    """Return a line with the test result of a run; `with_split` tells whether to name its split."""
    config, logged = tested.record.config, tested.logged
    which = f"seed {config.seed}" + (f", split {config.split_seed}" if with_split else "")
    validation = f"validation {(tested.record.best_val_accuracy or 0.0) * 100:.2f}%"
    run = (
        ""
        if logged is None
        else f"; MLflow run {logged.run_id}, test set evaluated {times(logged)}"
    )
    return f"  {which}: {tested.score.accuracy * 100:.2f}% of {tested.score.total:,} test images ({validation}){run}"


def print_means(scored: ScoredConfiguration) -> None:
    """Print the mean results over seeds: accuracy, calibration, and, if evaluated, the ensemble."""
    n, means, images = len(scored.tested), scored.metrics, scored.tested[0].score.total
    mean = means["test_accuracy"]
    error = math.sqrt(mean * (1 - mean) / images)
    luck = (
        f"; sampling error with {images:,} test images: {error * 100:.2f} points" if error else ""
    )
    print(f"test accuracy {mean * 100:.2f} ± {(scored.sd or 0.0) * 100:.2f}% (n = {n}){luck}")
    print(f"mean calibration: {calibration_text(means)}")
    if scored.ensemble is not None:
        measures = calibration_text(scored.ensemble.metrics)
        print(
            f"ensemble of {n} models: test accuracy {scored.ensemble.accuracy * 100:.2f}%, {measures}"
        )
