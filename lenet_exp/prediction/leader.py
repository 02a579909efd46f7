"""Evaluates configurations of a sweep on the test set: the leader, both sides of a confirmation, or all of them."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from lenet_exp.addresses import store_uri
from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.confirm import confirmation
from lenet_exp.comparison.group import Group
from lenet_exp.config.schema import PredictConfig, ScoredConfigurations
from lenet_exp.errors import ConfigError, UserError, did_you_mean, printable
from lenet_exp.files import Json, user_path
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.records import Outcome, Record, TestResult
from lenet_exp.folders.results import job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.prediction.corrupted import corruptions_table
from lenet_exp.prediction.evaluation import calibration_text, print_score, score_and_log
from lenet_exp.prediction.figures import write_output
from lenet_exp.prediction.predict import (
    check_places,
    predict_pictures,
    predict_test_set,
    prepare_device,
    times,
)
from lenet_exp.reports.terminal.leaderboard import behind, on_test
from lenet_exp.reports.terminal.plain import PlainConsole
from lenet_exp.tracking.models.load import TrainedModel, load_folder
from lenet_exp.tracking.models.prediction import LoggedTest, log_sweep_test, or_warned
from lenet_exp.tracking.stores.store import open_store
from lenet_exp.tracking.sweeps.report import report_sweep
from lenet_exp.training.score import Calibration, Score

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class _ScoredRun:
    record: Record
    score: Score
    logged: LoggedTest | None

    def row(self, sweep: str, name: str) -> dict[str, Json]:
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
class _Scored:
    """A configuration of a sweep on one dataset, with its finished runs, sorted by seed, and their test results."""

    sweep: SweepFolder
    comparison: Comparison
    position: int
    runs: list[tuple[RunFolder, Record]]
    tested: list[_ScoredRun] = field(default_factory=list)

    @property
    def group(self) -> Group:
        return self.comparison.groups[self.position]

    @property
    def leads(self) -> bool:
        return self.group is self.comparison.leader

    @property
    def name(self) -> str:
        return self.comparison.name(self.group)

    @property
    def mean(self) -> float:
        return statistics.fmean(t.score.accuracy for t in self.tested)

    @property
    def sd(self) -> float | None:
        """The sample standard deviation of the test accuracies; None for a single run."""
        return statistics.stdev(t.score.accuracy for t in self.tested) if len(self.tested) > 1 else None

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric that all seeds have, and the standard deviation of the accuracy over seeds."""
        every = [t.score.metrics for t in self.tested]
        found = {name: statistics.fmean(m[name] for m in every) for name in every[0] if all(name in m for m in every)}
        return found if self.sd is None else found | {"test_accuracy_sd": self.sd}

    @property
    def rows(self) -> list[dict[str, Json]]:
        return [t.row(self.sweep.id, self.name) for t in self.tested]

    def as_json(self) -> dict[str, Json]:
        comparison = self.comparison
        flags = dict(zip(comparison.flags, comparison.values(self.group), strict=True))
        about = {"sweep": self.sweep.id, "dataset": comparison.dataset, "configuration": self.name}
        scores = [row | {"score": t.score.as_json()} for row, t in zip(self.rows, self.tested, strict=True)]
        numbers: dict[str, Json] = {"accuracy": self.mean, "sd": self.sd, "n": len(self.tested), **self.metrics}
        for lead in comparison.test_leads[self.position : self.position + 1]:
            numbers |= {name: value for name, value in behind("lead", lead).items() if not math.isnan(value)}
        return {**about, "flags": flags, **numbers, "runs": scores}


def predict(config: PredictConfig, *, dataset_is_set: bool) -> list[dict[str, Json]]:
    """Evaluate models on a test set or classify pictures, as `lenet-predict` does, and return the results.

    Args:
        dataset_is_set: whether the user set `dataset=` or one of its flags.

    Raises:
        UserError: the configuration is invalid, or a model, the data, or the pictures cannot be used.
        RunsFailed: some of the pictures cannot be read.
    """
    if config.sweep is not None and not config.images:
        return score_leaders(config, only_its_dataset=dataset_is_set)
    if not config.images:
        return [predict_test_set(config)]
    model = None if config.sweep is None else best_of_leader(config, only_its_dataset=dataset_is_set)
    return [predict_pictures(config, model, own_dataset=not dataset_is_set)]


def score_leaders(config: PredictConfig, *, only_its_dataset: bool) -> list[dict[str, Json]]:
    """Evaluate each finished run of a sweep's leader on the test set, and print and log the results.

    If the sweep is a confirmation or `configurations=all` is set, evaluate the finished runs of all configurations.

    Args:
        only_its_dataset: whether to evaluate only the runs that were trained on `config.dataset`. Otherwise, the runs
            on each of the sweep's datasets are evaluated.

    Returns:
        The results of each configuration, as in `output=`; the leader on the first dataset comes first.

    Raises:
        UserError: the sweep was not found, none of its runs finished, or a model's weights are missing.
    """
    check_places(config)
    device = prepare_device(config)
    if config.configurations is ScoredConfigurations.all:
        log.warning(
            "configurations=all: do not select a configuration by these test accuracies; the result would be biased"
        )
    sides = _configurations(config, only_its_dataset)
    for scored in sides:
        print(printable(_heading(scored)), flush=True)
        if scored.leads and (missing := sum(group.missing for group in scored.comparison.groups)):
            log.warning("missing runs: %d; another configuration may lead once they are trained", missing)
        scored.tested.extend(_score(config, scored, device, only_its_dataset))
    for scored in (scored for scored in sides if len(sides) > 1 and scored.comparison.tested):
        print(printable(f"{scored.name}: test accuracy {on_test(scored.comparison, scored.position)}"))
    _log(config, sides)
    results = [scored.as_json() for scored in sides]
    if config.output is not None:
        write_output(user_path(config.output), results, [row for s in sides for row in s.rows])
        print(f"results: {config.output}")
    return results


def _log(config: PredictConfig, sides: Sequence[_Scored]) -> None:
    """Log the test results, and a report that includes them, to the sweep's own MLflow run."""
    first, sweep = sides[0], sides[0].sweep
    leader = first.name if sum(scored.leads for scored in sides) == 1 else None
    result = [scored.as_json() for scored in sides]
    logged = log_sweep_test(sweep, config.tracking.uri, result, leader, first.metrics)
    if logged is not None:
        print(f"logged to the sweep's MLflow run {logged}")
    if logged is None or sweep.owner() is not None:  # the sweep's own process uploads the report at the end
        return
    uri = store_uri(config.tracking.uri or sweep.started().tracking_uri, sweep.outputs)
    with or_warned(uri), sweep.claim():
        jobs = job_results(sweep, sweep.jobs(), since_ms=0)
        tracking = jobs[0].job.config.tracking
        pictures = tracking.plots and sweep.started().outcome is Outcome.finished
        store = open_store(replace(tracking, uri=uri), sweep.outputs)
        report_sweep(store, sweep, jobs, compare_sweep(sweep, jobs), pictures)


def _heading(scored: _Scored) -> str:
    """Return the heading for a configuration's results: its name, why it was evaluated, and its validation accuracy."""
    group, comparison = scored.group, scored.comparison
    spread = f" ± {group.sd * 100:.2f}" if group.n > 1 else ""
    lost = f", {group.diverged} diverged" if group.diverged else ""
    reached = f"validation accuracy {group.mean * 100:.2f}{spread}% (n = {group.n}{lost})"
    tested = confirmation(comparison)
    if not scored.leads:
        how = "baseline" if comparison.is_baseline(group) else "not the leader"
    elif tested is None:
        how = f"leader on {comparison.dataset} by validation accuracy"
    else:
        answer = {True: "confirmed", False: "not confirmed", None: "being tested"}[tested.confirmed]
        how = f"leader of sweep {scored.sweep.started().confirms}, {answer} on these seeds"
    return f"sweep {scored.sweep.id}: {scored.name}: {how}: {reached}"


def _score(config: PredictConfig, scored: _Scored, device: torch.device, only_its_dataset: bool) -> list[_ScoredRun]:
    """Evaluate a configuration's runs on the test set, and print, log, and save each result."""
    tested = []
    for folder, record in scored.runs:
        own = _for(config, scored.sweep, record, only_its_dataset)
        model = _model(own, folder, record)
        its = score_and_log(own, device, model)
        score = its.score
        if len(scored.runs) == 1:
            print_score(model, own, score)
        tested.append(_ScoredRun(record, score, its.logged))
        kept = TestResult(
            accuracy=score.accuracy,
            data_digest=score.data_digest,
            weights_digest=record.weights_digest,
            ece=score.calibration.ece,
            nll=score.calibration.nll,
            brier=score.calibration.brier,
            temperature=None if score.scaled is None else score.scaled.temperature,
        )
        try:
            folder.save_test_result(kept)
        except OSError as e:
            log.warning("%s: cannot save the test result (%s); tables will not show it", folder.path, e.strerror)
        print(printable(_line(tested[-1], with_split=scored.group.splits > 1)))
    if len(tested) > 1:
        first = tested[0].score
        print(_together([t.score.accuracy for t in tested], first.total))
        for line in _mean_calibration([t.score for t in tested]):
            print(line)
        if corrupted := {name: statistics.fmean(t.score.corrupted[name] for t in tested) for name in first.corrupted}:
            clean = statistics.fmean(t.score.accuracy for t in tested)
            PlainConsole().print(corruptions_table(clean, corrupted))
    return tested


def best_of_leader(config: PredictConfig, *, only_its_dataset: bool) -> TrainedModel:
    """Return the model of the leader's run with the best validation accuracy.

    Raises:
        UserError: the sweep was not found, none of its runs finished, a model's weights are missing, or the sweep has
            several datasets.
    """
    leader, *more = [scored for scored in _configurations(config, only_its_dataset) if scored.leads]
    if more:
        names = ", ".join(each.comparison.dataset for each in (leader, *more))
        raise ConfigError(f"sweep={config.sweep}: this sweep has several datasets; set dataset= to one of: {names}")
    folder, record = max(leader.runs, key=lambda run: run[1].best_val_accuracy or 0.0)
    return _model(_for(config, leader.sweep, record, only_its_dataset), folder, record)


def _configurations(config: PredictConfig, only_its_dataset: bool) -> list[_Scored]:
    """Return the configurations to evaluate; for each dataset, the leader comes first."""
    if config.trained_model is not None:
        raise ConfigError(
            f"sweep={config.sweep} and trained_model={config.trained_model} are both set; set only one of them"
        )
    sweep = find_sweep(str(config.sweep))
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    by_run = {result.job.run: result for result in results}
    comparisons, wanted = compare_sweep(sweep, results), config.dataset.name
    if only_its_dataset:
        known = [c.dataset for c in comparisons]
        comparisons = [c for c in comparisons if c.dataset == wanted]
        if not comparisons:
            expected = f"expected one of: {', '.join(known)}{did_you_mean(wanted, known)}"
            raise ConfigError(f"dataset={wanted}: not in sweep {sweep.id}; {expected}")
    found = []
    for comparison in comparisons:
        if (leader := comparison.leader) is None:
            continue
        every = config.configurations is ScoredConfigurations.all or confirmation(comparison) is not None
        chosen = [i for i, g in enumerate(comparison.groups) if g is leader or (every and g.n)]
        for i in sorted(chosen, key=lambda i: comparison.groups[i] is not leader):
            runs = [by_run[run.id] for run in comparison.groups[i].finished]
            found.append(_Scored(sweep, comparison, i, [(r.job.folder, r.record) for r in runs if r.record]))
    if not found:
        raise UserError(f"sweep={config.sweep}: no finished runs; finish the sweep first")
    for without in (c.dataset for c in comparisons if c.leader is None):
        log.warning("sweep %s: no finished runs on %s", sweep.id, without)
    return found


def _for(config: PredictConfig, sweep: SweepFolder, record: Record, only_its_dataset: bool) -> PredictConfig:
    """Return the settings for evaluating a run.

    The settings are those of `config` with the dataset of the run and the store of the sweep, unless a different
    dataset or store was requested.
    """
    uri = config.tracking.uri or sweep.started().tracking_uri
    dataset = config.dataset if only_its_dataset else record.config.dataset
    return replace(config, dataset=dataset, tracking=replace(config.tracking, uri=uri))


def _model(config: PredictConfig, folder: RunFolder, record: Record) -> TrainedModel:
    return load_folder(folder, record, store_uri(config.tracking.uri), config.trust)


def _line(tested: _ScoredRun, with_split: bool) -> str:
    config, logged = tested.record.config, tested.logged
    which = f"seed {config.seed}" + (f", split {config.split_seed}" if with_split else "")
    validation = f"validation {(tested.record.best_val_accuracy or 0.0) * 100:.2f}%"
    run = "" if logged is None else f"; MLflow run {logged.run_id}, test set evaluated {times(logged)}"
    return f"  {which}: {tested.score.accuracy * 100:.2f}% of {tested.score.total:,} test images ({validation}){run}"


def _together(accuracies: Sequence[float], images: int) -> str:
    mean, sd = statistics.fmean(accuracies), statistics.stdev(accuracies)
    error = math.sqrt(mean * (1 - mean) / images)
    luck = f"; sampling error with {images:,} test images: {error * 100:.2f} points" if error else ""
    return f"test accuracy {mean * 100:.2f} ± {sd * 100:.2f}% (n = {len(accuracies)}){luck}"


def _mean_calibration(scores: Sequence[Score]) -> list[str]:
    """Return a line with the mean calibration over seeds and, if all have a temperature, one for after scaling."""

    def mean(every: Sequence[Calibration]) -> str:
        return calibration_text({name: statistics.fmean(c.measures[name] for c in every) for name in every[0].measures})

    lines = [f"mean calibration: {mean([s.calibration for s in scores])}"]
    scaled = [s.scaled for s in scores if s.scaled is not None]
    if len(scaled) == len(scores):
        low, high = min(s.temperature for s in scaled), max(s.temperature for s in scaled)
        lines.append(f"after scaling by temperatures from {low:.3f} to {high:.3f}: {mean(scaled)}")
    return lines
