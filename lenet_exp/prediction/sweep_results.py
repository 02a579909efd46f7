"""Test results of a sweep's configurations, and their presentation in the terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirmation_result import confirmation_result
from lenet_exp.comparison.group import Group
from lenet_exp.files import Json
from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.prediction.evaluation import calibration_text, times
from lenet_exp.reports.columns import accuracy
from lenet_exp.reports.comparison_records import behind
from lenet_exp.tracking.models.prediction import LoggedTest
from lenet_exp.training.score import Score


@dataclass(frozen=True)
class ScoredRun:
    """A finished run with its test result.

    Attributes:
        record: record of the run.
        score: test result of the run's best weights.
        logged: the logged result; None if it was not logged to MLflow.
    """

    record: Record
    score: Score
    logged: LoggedTest | None

    def row(self, sweep: str, name: str) -> dict[str, Json]:
        """Return the row of the run in a table.

        Args:
            sweep: ID of the sweep.
            name: name of the configuration.
        """
        run_id = self.logged.run_id if self.logged is not None else ""
        test_opened = self.logged.times if self.logged is not None else ""
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
            "run_id": run_id,
            "test_opened": test_opened,
        }


@dataclass(frozen=True)
class ScoredConfiguration:
    """A configuration of a sweep on one dataset, with its test results.

    Attributes:
        sweep: folder of the sweep.
        comparison: comparison of the sweep's configurations on the dataset.
        position: position of the configuration in the comparison.
        runs: finished runs, sorted by seed.
        tested_runs: test results of the runs; empty before the evaluation.
        ensemble: score of the ensemble of all runs; None if it was not evaluated.
    """

    sweep: SweepFolder
    comparison: Comparison
    position: int
    runs: list[tuple[RunFolder, Record]]
    tested_runs: Sequence[ScoredRun] = ()
    ensemble: Score | None = None

    @property
    def group(self) -> Group:
        """The configuration with the runs by which it is judged in the comparison."""
        return self.comparison.judged_group(self.position)

    @property
    def leads(self) -> bool:
        """Whether the configuration is the leader on its dataset."""
        return self.comparison.groups[self.position] is self.comparison.leader

    @property
    def name(self) -> str:
        """The name of the configuration."""
        return self.comparison.name(self.comparison.groups[self.position])

    @property
    def sd(self) -> float | None:
        """The sample standard deviation of the test accuracies; None for a single run."""
        if len(self.tested_runs) < 2:
            return None
        return statistics.stdev(run.score.accuracy for run in self.tested_runs)

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the seeds, and further values.

        These are the standard deviation of the accuracy, and the metrics of the ensemble.
        """
        metrics_of_runs = [run.score.metrics for run in self.tested_runs]
        metrics = {}
        for name in metrics_of_runs[0]:
            metrics[name] = statistics.fmean(values[name] for values in metrics_of_runs)

        if self.sd is not None:
            metrics["test_accuracy_sd"] = self.sd
        if self.ensemble is not None:
            for name, value in self.ensemble.metrics.items():
                metrics[f"{name}_ensemble"] = value
        return metrics

    @property
    def rows(self) -> list[dict[str, Json]]:
        """A row for each seed; see `ScoredRun.row`."""
        return [run.row(self.sweep.id, self.name) for run in self.tested_runs]

    def as_json(self) -> dict[str, Json]:
        """Return all results as JSON values."""
        comparison = self.comparison
        flags = dict(zip(comparison.flags, comparison.values(self.group), strict=True))
        about = {"sweep": self.sweep.id, "dataset": comparison.dataset, "configuration": self.name}
        runs = [
            row | {"score": run.score.as_json()}
            for row, run in zip(self.rows, self.tested_runs, strict=True)
        ]

        metrics = self.metrics
        numbers: dict[str, Json] = {
            "accuracy": metrics["test_accuracy"],
            "sd": self.sd,
            "n": len(runs),
            **metrics,
        }
        # `test_leads` is empty before the configurations are tested.
        for lead in comparison.test_leads[self.position : self.position + 1]:
            for name, value in behind("lead", lead).items():
                if not math.isnan(value):
                    numbers[name] = value
        if self.ensemble is not None:
            numbers["ensemble"] = self.ensemble.as_json()
        return {**about, "flags": flags, **numbers, "runs": runs}


def heading(scored: ScoredConfiguration) -> str:
    """Return the heading for a configuration's results.

    It has the configuration's name, why it was evaluated, and its validation accuracy.
    """
    group = scored.group
    metric = scored.comparison.metric
    diverged = f", {group.diverged} diverged" if group.diverged else ""
    unit = "%" if metric.percent else ""
    result = f"validation {metric.name} {accuracy(group)}{unit} (n = {group.n}{diverged})"
    return f"sweep {scored.sweep.id}: {scored.name}: {_role(scored)}: {result}"


def _role(scored: ScoredConfiguration) -> str:
    """Return why a configuration was evaluated."""
    comparison = scored.comparison
    tested = confirmation_result(comparison)
    if not scored.leads:
        is_baseline = comparison.is_baseline(comparison.groups[scored.position])
        return "baseline" if is_baseline else "not the leader"
    if tested is None:
        return f"leader on {comparison.dataset} by validation {comparison.metric.name}"

    answers = {True: "confirmed", False: "not confirmed", None: "being tested"}
    answer = answers[tested.confirmed]
    return f"leader of sweep {scored.sweep.started().confirms}, {answer} on these seeds"


def run_line(tested: ScoredRun, with_split: bool) -> str:
    """Return a line with the test result of a run.

    Args:
        tested: the run.
        with_split: whether to name the run's split.
    """
    config = tested.record.config
    name = f"seed {config.seed}"
    if with_split:
        name += f", split {config.split_seed}"

    test = f"{tested.score.accuracy * 100:.2f}% of {tested.score.total:,} test images"
    validation = f"validation {(tested.record.best_val_accuracy or 0.0) * 100:.2f}%"
    line = f"  {name}: {test} ({validation})"
    if tested.logged is None:
        return line
    evaluated = times(tested.logged)
    return f"{line}; MLflow run {tested.logged.run_id}, test set evaluated {evaluated}"


def print_means(scored: ScoredConfiguration) -> None:
    """Print the mean results over seeds: accuracy, calibration, and, if evaluated, the ensemble."""
    n = len(scored.tested_runs)
    means = scored.metrics
    mean = means["test_accuracy"]
    sd = scored.sd or 0.0

    images = scored.tested_runs[0].score.total
    error = math.sqrt(mean * (1 - mean) / images)
    sampling = ""
    if error:
        sampling = f"; sampling error with {images:,} test images: {error * 100:.2f} points"

    print(f"test accuracy {mean * 100:.2f} ± {sd * 100:.2f}% (n = {n}){sampling}")
    print(f"mean calibration: {calibration_text(means)}")
    if scored.ensemble is not None:
        ensemble_accuracy = f"{scored.ensemble.accuracy * 100:.2f}%"
        calibration = calibration_text(scored.ensemble.metrics)
        print(f"ensemble of {n} models: test accuracy {ensemble_accuracy}, {calibration}")
