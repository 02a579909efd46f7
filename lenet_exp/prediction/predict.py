"""Implements `lenet-predict`: evaluates a model on the test set, or classifies pictures."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import cast

import torch
from omegaconf import MISSING

from lenet_exp.addresses import store_uri
from lenet_exp.amounts import number_of
from lenet_exp.config.schema import Dataset, PredictConfig, ScoredConfigurations
from lenet_exp.errors import ConfigError, DataError, RunsFailed, printable
from lenet_exp.files import Json, output_path
from lenet_exp.outputs import check_outputs, outputs_dir
from lenet_exp.prediction.evaluation import print_score, save_picture, score_and_log, times
from lenet_exp.prediction.figures import FORMATS, pictures_table, score_table, write_output
from lenet_exp.prediction.pictures import (
    Classification,
    Picture,
    classify,
    find_pictures,
    read_picture,
)
from lenet_exp.prediction.score import dataset_for
from lenet_exp.prediction.seen import seen_figure, short_name
from lenet_exp.reports.files.plots import png
from lenet_exp.tracking.models.load import TrainedModel, load_model

MOST_SHOWN = 100  # maximum number of pictures in the figure of the network's inputs

log = logging.getLogger("lenet_exp")


def predict_test_set(
    config: PredictConfig, device: torch.device, *, dataset_is_set: bool
) -> dict[str, Json]:
    """Evaluate a model on the test set, and print, save, and log the results.

    Args:
        config: settings of the command.
        device: device for the evaluation.
        dataset_is_set: whether to use the dataset in `config` instead of the model's own dataset.

    Returns:
        The results, as in `output=`.
    """
    model = _model(config, warn=dataset_is_set)
    if not dataset_is_set:
        config = replace(config, dataset=_own_dataset(model, config.dataset))

    log.info("%s: evaluating on the %s test set ...", model.name, config.dataset.name)
    tested = score_and_log(config, device, model)
    score = tested.score
    print_score(model, config, score)
    if model.shipped and config.trained_model is None:
        print(
            "This is the bundled model; none of your lenet5 runs is better. "
            "To evaluate your last sweep, set sweep=last."
        )

    results = {"trained_model": model.name, "dataset": config.dataset.name, **score.as_json()}
    write_output(config.output, results, score_table(score))
    for name, path in tested.pictures.items():
        print(f"{name}: {path}")
    logged = tested.logged
    if logged is not None:
        print(
            f"logged to MLflow run {logged.run_id}; "
            f"this model has now been evaluated on test data {times(logged)}"
        )
    return results


def predict_pictures(
    config: PredictConfig, model: TrainedModel | None, *, dataset_is_set: bool
) -> dict[str, Json]:
    """Classify pictures, print and return the results, and save a figure of the network's inputs.

    Args:
        model: the model to use; None for the model that `config` specifies.
        dataset_is_set: whether to use the flags of the dataset in `config` instead of those of the
            model's own dataset.

    Raises:
        DataError: no picture was found, or none of the pictures can be read.
        RunsFailed: some of the pictures cannot be read. This error is raised after the other
            pictures are classified.
    """
    paths = []
    for name in config.images:
        paths += find_pictures(name)

    model = model or _model(config, warn=dataset_is_set)
    dataset = config.dataset
    if not dataset_is_set:
        dataset = _own_dataset(model, dataset)
    dataset = dataset_for(model, dataset)
    config = replace(config, dataset=dataset)
    pictures, errors = _read(paths, dataset)

    log.info("%s: classifying %s ...", model.name, number_of(len(pictures), "picture"))
    names = dataset.class_names or []
    names = names + [f"output {i}" for i in range(len(names), model.shape.num_classes)]
    answers = classify(model, pictures)
    for answer in answers:
        _print_answer(answer, names)

    _save_figure(config, model, answers, names)
    rows = pictures_table(answers, names)
    results: dict[str, Json] = {"trained_model": model.name, "images": cast(Json, rows)}
    write_output(config.output, results, rows)
    if errors:
        raise RunsFailed
    return results


def _print_answer(answer: Classification, names: list[str]) -> None:
    """Print the prediction for a picture."""
    picture = answer.picture
    ranked = sorted(range(len(names)), key=lambda i: -answer.probabilities[i])[:3]
    probabilities = ", ".join(f"{names[i]} {answer.probabilities[i]:.1%}" for i in ranked)
    kinds = {None: "only scaled", True: "read as dark on light", False: "read as light on dark"}
    kind = kinds[picture.inverted]
    print(printable(f"{picture.path}: {names[answer.label]}  ({probabilities}; {kind})"))


def _save_figure(
    config: PredictConfig, model: TrainedModel, answers: list[Classification], names: list[str]
) -> None:
    """Save a figure of the network's inputs with the predictions, and print its path."""
    cells = []
    for answer in answers[:MOST_SHOWN]:
        prediction = f"{names[answer.label]} {max(answer.probabilities):.0%}"
        cells.append((answer.picture.frame, f"{short_name(answer.picture)}\n{prediction}"))

    path = save_picture(config, model, "pictures.png", png(seen_figure(cells)))
    note = ""
    if len(answers) > MOST_SHOWN:
        note = f" (the first {MOST_SHOWN} of {len(answers)})"
    print(printable(f"network input: {path}{note}"))


def _read(paths: list[Path], dataset: Dataset) -> tuple[list[Picture], list[DataError]]:
    """Read pictures, and return them with the errors for unreadable pictures.

    Each error is logged as a warning.

    Raises:
        DataError: none of the pictures can be read.
    """
    pictures: list[Picture] = []
    errors: list[DataError] = []
    for path in paths:
        try:
            pictures.append(read_picture(path, dataset))
        except DataError as e:
            errors.append(e)

    if not pictures:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}")
    for error in errors:
        log.warning("%s; skipped", error)
    return pictures, errors


def _own_dataset(model: TrainedModel, default: Dataset) -> Dataset:
    """Return a model's own dataset, with values of `default` for flags that its record lacks."""
    own = model.record.config.dataset if model.record is not None else default
    values = {}
    for field in fields(own):
        value = getattr(own, field.name)
        if value != MISSING:
            values[field.name] = value
    return replace(default, **values)


def _model(config: PredictConfig, *, warn: bool) -> TrainedModel:
    model = load_model(
        config.trained_model, store_uri(config.tracking.uri), config.dataset.name, config.trust
    )
    trained_on = model.record.dataset if model.record else config.dataset.name
    if warn and trained_on != config.dataset.name:
        log.warning("%s was trained on %s, not on %s", model.name, trained_on, config.dataset.name)
    return model


def check_places(config: PredictConfig) -> None:
    """Check that the output file and the outputs folder are writable.

    Raises:
        ConfigError: the file or the folder is not writable, `configurations=all` or `ensemble` is
            set without `sweep=`, or one of them is set with `images=`.
    """
    scores_sweep = config.sweep is not None and not config.images
    if config.configurations is ScoredConfigurations.all and not scores_sweep:
        raise ConfigError("configurations=all: requires sweep= and cannot be combined with images=")
    if config.ensemble and not scores_sweep:
        raise ConfigError("ensemble=true: requires sweep= and cannot be combined with images=")
    if config.output is not None:
        output_path(config.output, FORMATS)
    check_outputs(outputs_dir())
