"""Evaluates configurations of a sweep on the test set.

These are the leader, both sides of a confirmation, or all configurations.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from lenet_exp.addresses import store_uri
from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.confirmation_result import confirmation_result
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
from lenet_exp.prediction.evaluation import (
    TestedModel,
    print_score,
    score_and_log,
    test_pictures,
)
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
    """Evaluate models on a test set or classify pictures, as `lenet-predict` does.

    Args:
        config: settings of the command.
        overrides: the user's overrides, from which the configuration was composed.

    Returns:
        The results, as in `output=`.

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
        model = None
        if config.sweep is not None:
            model = best_of_leader(config, dataset_is_set=dataset_is_set)
        return [predict_pictures(config, model, dataset_is_set=dataset_is_set)]
    if config.sweep is None:
        return [predict_test_set(config, device, dataset_is_set=dataset_is_set)]
    return _score_leaders(config, device, dataset_is_set)


def _score_leaders(
    config: PredictConfig, device: torch.device, dataset_is_set: bool
) -> list[dict[str, Json]]:
    """Evaluate each finished run of a sweep's leader on the test set, print and log the results.

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
            "configurations=all: do not select a configuration by these test accuracies; "
            "the result would be biased"
        )
    configurations = _configurations(config, dataset_is_set)
    config = _with_store(config, configurations[0].sweep)
    if config.ensemble:
        _check_ensembles(configurations)

    sides = []
    for configuration in configurations:
        print(printable(heading(configuration)), flush=True)
        if configuration.leads:
            _warn_about_missing_runs(configuration)
        sides.append(_score(config, configuration, device, dataset_is_set))

    if len(sides) > 1:
        _print_comparison(sides)

    results = [scored.as_json() for scored in sides]
    _log(config, sides, results)

    rows = []
    for scored in sides:
        rows += scored.rows
    write_output(config.output, results, rows)
    return results


def _check_ensembles(configurations: Sequence[ScoredConfiguration]) -> None:
    """Check that each leader has several runs, whose ensemble can be evaluated."""
    for configuration in configurations:
        if configuration.leads and len(configuration.runs) < 2:
            raise ConfigError(
                f"ensemble=true: the leader {configuration.name} has only one finished run; "
                "train more seeds"
            )


def _warn_about_missing_runs(leader: ScoredConfiguration) -> None:
    missing = sum(group.missing for group in leader.comparison.groups)
    if missing:
        log.warning(
            "missing runs: %d; another configuration may lead once they are trained", missing
        )


def _print_comparison(sides: Sequence[ScoredConfiguration]) -> None:
    """Print how the test accuracies of configurations compare, where they were tested."""
    for scored in sides:
        if scored.comparison.on_test_set:
            result = on_test(scored.comparison, scored.position)
            print(printable(f"{scored.name}: test accuracy {result}"))


def _log(
    config: PredictConfig, sides: Sequence[ScoredConfiguration], results: list[dict[str, Json]]
) -> None:
    """Log the test results, and a report that includes them, to the sweep's own MLflow run."""
    first = sides[0]
    sweep = first.sweep
    has_one_leader = sum(scored.leads for scored in sides) == 1
    leader = first.name if has_one_leader else None
    pictures = _ensemble_pictures(first)
    run = log_sweep_test(
        sweep, config.tracking.uri, results, leader, metrics=first.metrics, pictures=pictures
    )
    if run is None:
        return
    print(f"logged to the sweep's MLflow run {run}")

    # While a sweep runs, its own process uploads the report at the end.
    if sweep.owner() is not None:
        return
    uri = store_uri(config.tracking.uri, sweep.outputs)
    with or_warned(uri), sweep.claim():
        jobs = job_results(sweep, sweep.jobs(), since_ms=0)
        tracking = jobs[0].job.config.tracking
        with_pictures = tracking.plots and sweep.started().outcome is Outcome.finished
        store = open_store(replace(tracking, uri=uri), sweep.outputs)
        report_sweep(store, sweep, jobs, compare_sweep(sweep, jobs), with_pictures=with_pictures)


def _ensemble_pictures(scored: ScoredConfiguration) -> dict[str, bytes]:
    """Return the pictures of an ensemble's test result, by name; empty if there is no ensemble."""
    if scored.ensemble is None:
        return {}
    title = f"{scored.name}, {len(scored.tested_runs)} models: {scored.comparison.dataset}"
    pictures = test_pictures(scored.ensemble, title)
    return {name.replace(".", "_ensemble."): content for name, content in pictures.items()}


def _score(
    config: PredictConfig,
    configuration: ScoredConfiguration,
    device: torch.device,
    dataset_is_set: bool,
) -> ScoredConfiguration:
    """Evaluate a configuration's runs on the test set, and print, log, and save each result.

    Returns:
        The configuration with all results.
    """
    with_split = configuration.group.splits > 1
    tested_runs = []
    outputs = []
    for folder, record in configuration.runs:
        run_config = config
        if not dataset_is_set:
            run_config = replace(config, dataset=record.config.dataset)
        model = _load(config, folder, record)
        result = score_and_log(run_config, device, model)

        if config.ensemble:
            outputs.append(result.outputs)
        if len(configuration.runs) == 1:
            print_score(model, run_config, result.score)
        tested_run = ScoredRun(record, result.score, result.logged)
        tested_runs.append(tested_run)
        _save_test_result(folder, record, result)
        print(printable(run_line(tested_run, with_split=with_split)))

    ensemble = None
    if len(outputs) > 1:
        ensemble = score_of(ensemble_outputs(outputs))
    scored = replace(configuration, tested_runs=tested_runs, ensemble=ensemble)
    if len(tested_runs) > 1:
        print_means(scored)
    return scored


def _save_test_result(folder: RunFolder, record: Record, result: TestedModel) -> None:
    """Save a run's test result in its folder; log a warning if that is not possible."""
    score = result.score
    try:
        # (n,)
        is_right = result.outputs.logits.argmax(1) == result.outputs.raw.labels
        test_result = TestResult(
            score.accuracy, score.data_digest, record.weights_digest, packed(is_right)
        )
        folder.save_test_result(test_result)
    except OSError as e:
        log.warning(
            "%s: cannot save the test result (%s); tables will not show it", folder.path, e.strerror
        )


def best_of_leader(config: PredictConfig, *, dataset_is_set: bool) -> TrainedModel:
    """Return the model of the leader's run with the best validation accuracy.

    Raises:
        UserError: the sweep was not found, none of its runs finished, a model's weights are
            missing, or the sweep has several datasets.
    """
    configurations = _configurations(config, dataset_is_set)
    leaders = [configuration for configuration in configurations if configuration.leads]
    if len(leaders) > 1:
        names = ", ".join(leader.comparison.dataset for leader in leaders)
        raise ConfigError(
            f"sweep={config.sweep}: this sweep has several datasets; "
            f"set dataset= to one of: {names}"
        )

    (leader,) = leaders
    folder, record = max(leader.runs, key=_value_of_run)
    return _load(_with_store(config, leader.sweep), folder, record)


def _value_of_run(run: tuple[RunFolder, Record]) -> float:
    """Return the value of a run's metric, negative if smaller is better."""
    _, record = run
    return record.metric.sign * (record.value or 0.0)


def _configurations(config: PredictConfig, dataset_is_set: bool) -> list[ScoredConfiguration]:
    """Return the configurations to evaluate; for each dataset, the leader comes first."""
    if config.trained_model is not None:
        raise ConfigError(
            f"sweep={config.sweep} and trained_model={config.trained_model} are both set; "
            "set only one of them"
        )
    sweep = find_sweep(str(config.sweep))
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    result_of_run = {result.job.run: result for result in results}
    comparisons = compare_sweep(sweep, results)
    if dataset_is_set:
        comparisons = _on_dataset(comparisons, config.dataset.name, sweep)

    configurations = []
    for comparison in comparisons:
        for position in _positions(config, comparison):
            group = comparison.judged_group(position)
            finished = [result_of_run[run.id] for run in group.finished]
            runs = [(result.job.folder, result.record) for result in finished if result.record]
            configurations.append(ScoredConfiguration(sweep, comparison, position, runs))
    if not configurations:
        raise UserError(f"sweep={config.sweep}: no finished runs; finish the sweep first")

    for comparison in comparisons:
        if comparison.leader is None:
            log.warning("sweep %s: no finished runs on %s", sweep.id, comparison.dataset)
    return configurations


def _on_dataset(
    comparisons: Sequence[Comparison], dataset: str, sweep: SweepFolder
) -> list[Comparison]:
    """Return the comparisons of a sweep's runs on one dataset.

    Raises:
        ConfigError: the sweep has no run on this dataset.
    """
    on_dataset = [comparison for comparison in comparisons if comparison.dataset == dataset]
    if not on_dataset:
        datasets = [comparison.dataset for comparison in comparisons]
        expected = f"expected one of: {', '.join(datasets)}{did_you_mean(dataset, datasets)}"
        raise ConfigError(f"dataset={dataset}: not in sweep {sweep.id}; {expected}")
    return on_dataset


def _positions(config: PredictConfig, comparison: Comparison) -> list[int]:
    """Return the positions of the groups to evaluate; that of the leader comes first.

    Without a finished run, there is no leader and nothing to evaluate. In a confirmation or with
    `configurations=all`, all groups with finished runs are evaluated.
    """
    leader = comparison.leader
    if leader is None:
        return []

    with_others = (
        config.configurations is ScoredConfigurations.all
        or confirmation_result(comparison) is not None
    )
    leading = []
    others = []
    for position, group in enumerate(comparison.groups):
        if group is leader:
            leading.append(position)
        elif with_others and group.n:
            others.append(position)
    return leading + others


def _with_store(config: PredictConfig, sweep: SweepFolder) -> PredictConfig:
    """Return settings with the store of a sweep, unless a different store is set."""
    uri = config.tracking.uri or sweep.started().tracking_uri
    return replace(config, tracking=replace(config.tracking, uri=uri))


def _load(config: PredictConfig, folder: RunFolder, record: Record) -> TrainedModel:
    return load_folder(folder, record, store_uri(config.tracking.uri), config.trust)
