"""Evaluates configurations of a sweep on the test set: the leader, both sides of a confirmation, or
all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from lenet_exp.addresses import store_uri
from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.comparison.confirm import confirmation
from lenet_exp.config.schema import PredictConfig, ScoredConfigurations
from lenet_exp.errors import ConfigError, UserError, did_you_mean, printable
from lenet_exp.files import Json
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.records import Outcome, Record, TestResult
from lenet_exp.folders.results import job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import cpu_count
from lenet_exp.prediction.ensemble import ensemble_outputs
from lenet_exp.prediction.evaluation import print_score, score_and_log, test_pictures
from lenet_exp.prediction.figures import write_output
from lenet_exp.prediction.predict import check_places, predict_pictures, predict_test_set
from lenet_exp.prediction.score import score_of
from lenet_exp.prediction.sweep_results import (
    ScoredConfiguration,
    ScoredRun,
    heading,
    print_means,
    run_line,
)
from lenet_exp.reports.columns import on_test
from lenet_exp.tracking.models.load import TrainedModel, load_folder
from lenet_exp.tracking.models.prediction import log_sweep_test, or_warned
from lenet_exp.tracking.stores.store import open_store
from lenet_exp.tracking.sweep_runs.report import report_sweep
from lenet_exp.training.execution import choose_device, use_threads
from lenet_exp.training.score import packed

log = logging.getLogger("lenet_exp")


def predict(config: PredictConfig, overrides: Sequence[str]) -> list[dict[str, Json]]:
    """Evaluate models on a test set or classify pictures, as `lenet-predict` does, and return the
    results.

    Args:
        overrides: the user's overrides, from which the configuration was composed.

    Raises:
        UserError: the configuration is invalid, or a model, the data, or the pictures cannot be
            used.
        RunsFailed: some of the pictures cannot be read.
    """
    dataset_is_set = any(o.startswith(("dataset=", "dataset.")) for o in overrides)
    check_places(config)
    device = choose_device(config.device)
    use_threads(config.num_threads, cpu_count())
    if config.images:
        model = (
            None if config.sweep is None else best_of_leader(config, dataset_is_set=dataset_is_set)
        )
        return [predict_pictures(config, model, dataset_is_set=dataset_is_set)]
    if config.sweep is None:
        return [predict_test_set(config, device, dataset_is_set=dataset_is_set)]
    return _score_leaders(config, device, dataset_is_set)


def _score_leaders(
    config: PredictConfig, device: torch.device, dataset_is_set: bool
) -> list[dict[str, Json]]:
    """Evaluate each finished run of a sweep's leader on the test set, and print and log the
    results.

    If the sweep is a confirmation or `configurations=all` is set, evaluate the finished runs of all
    configurations.

    Args:
        dataset_is_set: whether to evaluate only the runs that were trained on `config.dataset`.
            Otherwise, the runs on each of the sweep's datasets are evaluated.

    Returns:
        The results of each configuration, as in `output=`; the leader on the first dataset comes
        first.

    Raises:
        UserError: the sweep was not found, none of its runs finished, or a model's weights are
            missing.
    """
    if config.configurations is ScoredConfigurations.all:
        log.warning(
            "configurations=all: do not select a configuration by these test accuracies; the result would be biased"
        )
    chosen = _configurations(config, dataset_is_set)
    config = _with_store(config, chosen[0].sweep)
    if config.ensemble and (few := next((s for s in chosen if s.leads and len(s.runs) < 2), None)):
        raise ConfigError(
            f"ensemble=true: the leader {few.name} has only one finished run; train more seeds"
        )
    sides = []
    for scored in chosen:
        print(printable(heading(scored)), flush=True)
        if scored.leads and (missing := sum(group.missing for group in scored.comparison.groups)):
            log.warning(
                "missing runs: %d; another configuration may lead once they are trained", missing
            )
        sides.append(_score(config, scored, device, dataset_is_set))
    for scored in (scored for scored in sides if len(sides) > 1 and scored.comparison.tested):
        print(
            printable(f"{scored.name}: test accuracy {on_test(scored.comparison, scored.position)}")
        )
    results = [scored.as_json() for scored in sides]
    _log(config, sides, results)
    write_output(config.output, results, [row for s in sides for row in s.rows])
    return results


def _log(
    config: PredictConfig, sides: Sequence[ScoredConfiguration], results: list[dict[str, Json]]
) -> None:
    """Log the test results, and a report that includes them, to the sweep's own MLflow run."""
    first, sweep = sides[0], sides[0].sweep
    leader = first.name if sum(scored.leads for scored in sides) == 1 else None
    title = f"{first.name}, {len(first.tested)} models: {first.comparison.dataset}"
    drawn = test_pictures(first.ensemble, title) if first.ensemble is not None else {}
    pictures = {name.replace(".", "_ensemble."): content for name, content in drawn.items()}
    logged = log_sweep_test(
        sweep, config.tracking.uri, results, leader, metrics=first.metrics, pictures=pictures
    )
    if logged is not None:
        print(f"logged to the sweep's MLflow run {logged}")
    if (
        logged is None or sweep.owner() is not None
    ):  # the sweep's own process uploads the report at the end
        return
    uri = store_uri(config.tracking.uri, sweep.outputs)
    with or_warned(uri), sweep.claim():
        jobs = job_results(sweep, sweep.jobs(), since_ms=0)
        tracking = jobs[0].job.config.tracking
        with_pictures = tracking.plots and sweep.started().outcome is Outcome.finished
        store = open_store(replace(tracking, uri=uri), sweep.outputs)
        report_sweep(store, sweep, jobs, compare_sweep(sweep, jobs), with_pictures=with_pictures)


def _score(
    config: PredictConfig, scored: ScoredConfiguration, device: torch.device, dataset_is_set: bool
) -> ScoredConfiguration:
    """Evaluate a configuration's runs on the test set; print, log, and save each result; and return
    all results.
    """
    tested, outputs = [], []
    for folder, record in scored.runs:
        own = config if dataset_is_set else replace(config, dataset=record.config.dataset)
        model = _load(config, folder, record)
        result = score_and_log(own, device, model)
        score = result.score
        outputs += [result.outputs] if config.ensemble else []
        if len(scored.runs) == 1:
            print_score(model, own, score)
        tested.append(ScoredRun(record, score, result.logged))
        try:
            right = packed(result.outputs.logits.argmax(1) == result.outputs.raw.labels)
            folder.save_test_result(
                TestResult(score.accuracy, score.data_digest, record.weights_digest, right)
            )
        except OSError as e:
            log.warning(
                "%s: cannot save the test result (%s); tables will not show it",
                folder.path,
                e.strerror,
            )
        print(printable(run_line(tested[-1], with_split=scored.group.splits > 1)))
    ensemble = score_of(ensemble_outputs(outputs)) if len(outputs) > 1 else None
    scored = replace(scored, tested=tested, ensemble=ensemble)
    if len(tested) > 1:
        print_means(scored)
    return scored


def best_of_leader(config: PredictConfig, *, dataset_is_set: bool) -> TrainedModel:
    """Return the model of the leader's run with the best validation accuracy.

    Raises:
        UserError: the sweep was not found, none of its runs finished, a model's weights are
            missing, or the sweep has several datasets.
    """
    leader, *more = [scored for scored in _configurations(config, dataset_is_set) if scored.leads]
    if more:
        names = ", ".join(each.comparison.dataset for each in (leader, *more))
        raise ConfigError(
            f"sweep={config.sweep}: this sweep has several datasets; set dataset= to one of: {names}"
        )
    best = max(leader.runs, key=lambda run: run[1].metric.sign * (run[1].value or 0.0))
    return _load(_with_store(config, leader.sweep), *best)


def _configurations(config: PredictConfig, dataset_is_set: bool) -> list[ScoredConfiguration]:
    """Return the configurations to evaluate; for each dataset, the leader comes first."""
    if config.trained_model is not None:
        raise ConfigError(
            f"sweep={config.sweep} and trained_model={config.trained_model} are both set; set only one of them"
        )
    sweep = find_sweep(str(config.sweep))
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    by_run = {result.job.run: result for result in results}
    comparisons, wanted = compare_sweep(sweep, results), config.dataset.name
    if dataset_is_set:
        known = [c.dataset for c in comparisons]
        comparisons = [c for c in comparisons if c.dataset == wanted]
        if not comparisons:
            expected = f"expected one of: {', '.join(known)}{did_you_mean(wanted, known)}"
            raise ConfigError(f"dataset={wanted}: not in sweep {sweep.id}; {expected}")
    configurations = []
    for comparison in comparisons:
        if (leader := comparison.leader) is None:
            continue
        every = (
            config.configurations is ScoredConfigurations.all
            or confirmation(comparison) is not None
        )
        chosen = [i for i, g in enumerate(comparison.groups) if g is leader or (every and g.n)]
        for i in sorted(chosen, key=lambda i: comparison.groups[i] is not leader):
            finished = [by_run[run.id] for run in comparison.groups[i].finished]
            runs = [(result.job.folder, result.record) for result in finished if result.record]
            configurations.append(ScoredConfiguration(sweep, comparison, i, runs))
    if not configurations:
        raise UserError(f"sweep={config.sweep}: no finished runs; finish the sweep first")
    for without in (c.dataset for c in comparisons if c.leader is None):
        log.warning("sweep %s: no finished runs on %s", sweep.id, without)
    return configurations


def _with_store(config: PredictConfig, sweep: SweepFolder) -> PredictConfig:
    """Return settings with the store of a sweep, unless a different store is set."""
    uri = config.tracking.uri or sweep.started().tracking_uri
    return replace(config, tracking=replace(config.tracking, uri=uri))


def _load(config: PredictConfig, folder: RunFolder, record: Record) -> TrainedModel:
    return load_folder(folder, record, store_uri(config.tracking.uri), config.trust)
