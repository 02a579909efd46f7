"""Implements `lenet-predict`: evaluates a model on the test set, or classifies pictures."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import MISSING

from lenet_exp.addresses import store_uri
from lenet_exp.amounts import number_of
from lenet_exp.config.schema import Dataset, PredictConfig, ScoredConfigurations
from lenet_exp.errors import ConfigError, DataError, RunsFailed, printable
from lenet_exp.files import output_path, user_path, write_atomic
from lenet_exp.machine import cpu_count
from lenet_exp.outputs import check_outputs, outputs_dir
from lenet_exp.prediction.figures import FORMATS, pictures_table, score_table, write_output
from lenet_exp.prediction.pictures import Classification, Picture, classify, find_pictures, read_pictures
from lenet_exp.prediction.score import dataset_for, score_test_set
from lenet_exp.prediction.seen import seen_figure, short_name
from lenet_exp.reports.files.plots import MOST_COUNTS, confusion_figure, png
from lenet_exp.reports.terminal.plain import PlainConsole, PlainTable
from lenet_exp.tracking.models.load import TrainedModel, load_model
from lenet_exp.tracking.models.prediction import LoggedTest, log_test_result
from lenet_exp.training.confusion import named_matrix
from lenet_exp.training.execution import choose_device
from lenet_exp.training.score import Score

DRAWN = "predictions"  # subfolder of the outputs folder
LONGEST_NAME = 150  # maximum size in bytes of the model's name in a file name; file names are limited to 255 bytes
MOST_IN_MATRIX = 12  # maximum number of classes in a printed confusion matrix
MOST_SHOWN = 100  # maximum number of drawings in the figure of the network's inputs

log = logging.getLogger("lenet_exp")


def predict_test_set(config: PredictConfig) -> float:
    """Evaluate a model on the test set; print, save, and log the results; and return the accuracy."""
    check_places(config)
    device = prepare_device(config)
    model = _model(config)
    log.info("%s: evaluating on the %s test set ...", model.name, config.dataset.name)
    score, path, logged = score_and_log(config, device, model)
    print_score(model, config, score)
    if model.shipped and config.trained_model is None:
        print(
            "This is the bundled model; none of your lenet5 runs is better. "
            "To evaluate your last sweep, set sweep=last."
        )
    if config.output is not None:
        about = {"trained_model": model.name, "dataset": config.dataset.name}
        write_output(user_path(config.output), about | score.as_json(), score_table(score))
        print(f"results: {config.output}")
    print(f"confusion matrix: {path}")
    if logged is not None:
        print(f"logged to MLflow run {logged.run_id}; this model has now been evaluated on test data {times(logged)}")
    return score.accuracy


def times(logged: LoggedTest) -> str:
    """Return a phrase that states how many times a model has been evaluated on the test set."""
    return "once" if logged.times == 1 else f"{logged.times} times"


def score_and_log(
    config: PredictConfig, device: torch.device, model: TrainedModel
) -> tuple[Score, Path, LoggedTest | None]:
    """Evaluate a model on the test set, and log the results.

    Returns:
        The score, the path of the plotted confusion matrix, and the logged result; the logged result is None if nothing
        was logged.
    """
    dataset = dataset_for(model, config.dataset)
    score = score_test_set(model, dataset, config.data_root, config.batch_size, device)
    names = [c.name for c in score.classes]
    figure = png(confusion_figure(score.confusion_matrix, names, f"{model.name}: {dataset.name}", "test"))
    path = _save(config, model, "confusion_matrix.png", figure)
    return score, path, log_test_result(config, model, score, figure)


def predict_pictures(config: PredictConfig, model: TrainedModel | None = None, *, own_dataset: bool = False) -> float:
    """Classify pictures, print the results, and save a figure of the network's inputs.

    The return value is NaN, because no accuracy can be computed for pictures.

    Args:
        model: the model to use; None for the model that `config` specifies.
        own_dataset: whether to use the flags of the model's own dataset instead of those in `config`.

    Raises:
        DataError: no picture was found, or none of the pictures can be read.
        RunsFailed: some of the pictures cannot be read. This error is raised after the other pictures are classified.
    """
    check_places(config)
    paths = [path for name in config.images for path in find_pictures(name)]
    prepare_device(config)
    model = model or _model(config, warn=not own_dataset)
    dataset = dataset_for(model, _with_flags_of(model, config.dataset) if own_dataset else config.dataset)
    config = replace(config, dataset=dataset)
    pictures, wrong = _read(paths, dataset, config.several)
    log.info("%s: classifying %s ...", model.name, number_of(len(pictures), "picture"))
    names = dataset.class_names or []
    names = names + [f"output {i}" for i in range(len(names), model.shape.num_classes)]
    answers = classify(model, pictures)
    for answer in answers:
        _print_answer(answer, answers, names)
    shown = [
        (a.picture.frame, f"{short_name(a.picture)}\n{names[a.label]} {max(a.probabilities):.0%}") for a in answers
    ]
    saved = _save(config, model, "pictures.png", png(seen_figure(shown[:MOST_SHOWN])))
    first = f" (the first {MOST_SHOWN} of {len(shown)})" if len(shown) > MOST_SHOWN else ""
    print(printable(f"network input: {saved}{first}"))
    if config.output is not None:
        rows = pictures_table(answers, names)
        write_output(user_path(config.output), {"trained_model": model.name, "images": rows}, rows)
        print(f"results: {config.output}")
    if wrong:
        raise RunsFailed
    return math.nan


def _print_answer(answer: Classification, answers: list[Classification], names: list[str]) -> None:
    """Print the prediction for a drawing.

    Before the first of several drawings in a picture, print a line with the predictions for all drawings in the
    picture.
    """
    picture = answer.picture
    if picture.of > 1 and picture.number == 1:
        start = answers.index(answer)
        said = " ".join(names[a.label] for a in answers[start : start + picture.of])
        print(
            printable(
                f"{picture.path}: {said}  ({picture.of} digits; to read them as a single digit, set several=false)"
            )
        )
    ranked = sorted(range(len(names)), key=lambda i: -answer.probabilities[i])[:3]
    chances = ", ".join(f"{names[i]} {answer.probabilities[i]:.1%}" for i in ranked)
    kind = f"read as {'dark on light' if picture.inverted else 'light on dark'}"
    kind = "in color" if picture.frame.ndim == 3 else kind
    print(printable(f"{picture.name}: {names[answer.label]}  ({chances}; {kind})"))
    if picture.wide:
        log.warning("%s: wider than most digits; touching digits are read as a single digit", picture.name)


def _read(paths: list[Path], dataset: Dataset, several: bool) -> tuple[list[Picture], list[DataError]]:
    """Read pictures, and return their drawings and the errors for unreadable pictures.

    Each error is logged as a warning.

    Raises:
        DataError: none of the pictures can be read.
    """
    pictures: list[Picture] = []
    wrong: list[DataError] = []
    for path in paths:
        try:
            pictures += read_pictures(path, dataset, several)
        except DataError as e:
            wrong.append(e)
    if not pictures:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"{wrong[0]}{more}")
    for what in wrong:
        log.warning("%s; skipped", what)
    return pictures, wrong


def _with_flags_of(model: TrainedModel, dataset: Dataset) -> Dataset:
    """Return a dataset with the flags of a model's own dataset that determine how pictures are prepared.

    Records from older releases do not contain all of them.
    """
    its = model.record.config.dataset if model.record is not None else dataset
    names = ("name", "reader", "class_names", "channels", "image_size", "shows", "picture_box")
    return replace(dataset, **{name: value for name in names if (value := getattr(its, name)) != MISSING})


def prepare_device(config: PredictConfig) -> torch.device:
    """Set the number of PyTorch threads, and return the device."""
    torch.set_num_threads(config.num_threads or cpu_count())
    return choose_device(config.device)


def _model(config: PredictConfig, *, warn: bool = True) -> TrainedModel:
    model = load_model(config.trained_model, store_uri(config.tracking.uri), config.dataset.name, config.trust)
    trained_on = model.record.dataset if model.record else config.dataset.name
    if warn and trained_on != config.dataset.name:
        log.warning("%s was trained on %s, not on %s", model.name, trained_on, config.dataset.name)
    return model


def print_score(model: TrainedModel, config: PredictConfig, score: Score) -> None:
    """Print the accuracy, the results for each class, and the confusion matrix.

    If there are more than 20 classes, print only the results of the 20 classes with the lowest F1 score. If there are
    more than 12, do not print the confusion matrix, which would be too wide.
    """
    console = PlainConsole(width=100)
    console.print(f"{model.name} on the {config.dataset.name} test set", soft_wrap=True)
    console.print(f"accuracy {score.accuracy:.4f} ({score.correct}/{score.total})")
    table = PlainTable()
    table.add_column("class")
    for title in ("precision", "recall", "F1", "images"):
        table.add_column(title, justify="right")
    worst = sorted(score.classes, key=lambda c: c.f1)[:MOST_COUNTS]
    few = len(score.classes) <= MOST_COUNTS
    for c in score.classes if few else worst:
        table.add_row(c.name, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support))
    console.print(table)
    if not few:
        console.print(
            f"shown: {MOST_COUNTS} of {len(score.classes)} classes, lowest F1 first; set output= to save all classes"
        )
    if len(score.classes) > MOST_IN_MATRIX:
        return
    matrix = PlainTable("confusion matrix (row: true, column: predicted)")
    matrix.add_column("")
    names, counts = named_matrix(score.confusion_matrix, [c.name for c in score.classes])
    for name in names:
        matrix.add_column(name[:6], justify="right", no_wrap=True)
    for name, row in zip(names, counts, strict=True):
        matrix.add_row(name, *map(str, row))
    console.print(matrix)


def check_places(config: PredictConfig) -> None:
    """Check that the output file and the outputs folder are writable.

    Raises:
        ConfigError: the file or the folder is not writable, or `configurations=all` is set without `sweep=` or with
            `images=`.
    """
    if config.configurations is ScoredConfigurations.all and (config.sweep is None or config.images):
        raise ConfigError("configurations=all: requires sweep= and cannot be combined with images=")
    if config.output is not None:
        output_path(config.output, FORMATS)
    check_outputs(outputs_dir())


def _save(config: PredictConfig, model: TrainedModel, name: str, content: bytes) -> Path:
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in model.name)
    safe = safe.encode()[-LONGEST_NAME:].decode(errors="ignore")
    path = outputs_dir() / DRAWN / f"{config.dataset.name}_{safe}_{name}"
    outputs_dir().mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return path
