"""Evaluates a model on the test set, and prints, saves, and logs the results.

No other module reads test data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lenet_exp.config.schema import PredictConfig
from lenet_exp.data.readers import read_images
from lenet_exp.errors import printable
from lenet_exp.files import write_atomic
from lenet_exp.outputs import outputs_dir
from lenet_exp.prediction.score import BINS, TestOutputs, dataset_for, logits_of, score_of
from lenet_exp.reports.files.plots import png, reliability_figure
from lenet_exp.reports.files.run_charts import MOST_COUNTS, confusion_svg
from lenet_exp.reports.terminal.plain import PlainConsole, PlainTable
from lenet_exp.tracking.models.load import TrainedModel
from lenet_exp.tracking.models.prediction import LoggedTest, log_test_result
from lenet_exp.training.score import Score, named_matrix

DRAWN = "predictions"  # subfolder of the outputs folder
# maximum size in bytes of the model's name in a file name; file names are limited to 255 bytes
LONGEST_NAME = 150
MOST_IN_MATRIX = 12  # maximum number of classes in a printed confusion matrix


@dataclass(frozen=True)
class TestedModel:
    """A model's result on the test set.

    Attributes:
        outputs: the model's outputs.
        pictures: path of each saved picture, by what it shows.
        logged: the logged result; None if nothing was logged.
    """

    score: Score
    outputs: TestOutputs
    pictures: dict[str, Path]
    logged: LoggedTest | None


def score_and_log(config: PredictConfig, device: torch.device, model: TrainedModel) -> TestedModel:
    """Evaluate a model on the test set, and save and log the results.

    Raises:
        UserError: the test set does not fit the model or is not available.
    """
    dataset = dataset_for(model, config.dataset)
    raw = read_images(dataset, config.data_root, "test")
    logits = logits_of(model, raw.images, raw.white, config.batch_size, device=device)
    outputs = TestOutputs(dataset, raw, logits)
    score = score_of(outputs)

    files = test_pictures(score, f"{model.name}: {dataset.name}")
    pictures = {}
    for name, content in files.items():
        subject = Path(name).stem.replace("_", " ")
        pictures[subject] = save_picture(config, model, name, content)

    logged = log_test_result(config, model, score, files)
    return TestedModel(score, outputs, pictures, logged)


def test_pictures(score: Score, title: str) -> dict[str, bytes]:
    """Return the confusion matrix and the reliability diagram of a test, by the file's name."""
    matrix = confusion_svg(score.confusion_matrix, [c.name for c in score.classes], title, "test")
    diagram = png(reliability_figure(score.calibration, f"{title}: test"))
    return {"confusion_matrix.svg": matrix.encode(), "reliability_diagram.png": diagram}


def print_score(model: TrainedModel, config: PredictConfig, score: Score) -> None:
    """Print the accuracy, the results for each class, and the confusion matrix.

    If there are more than 20 classes, print only the results of the 20 classes with the lowest F1
    score. If there are more than 12, do not print the confusion matrix, which would be too wide.
    """
    console = PlainConsole(width=100)
    console.print(f"{model.name} on the {config.dataset.name} test set", soft_wrap=True)
    if model.record is not None and not model.shipped and model.record.name not in model.name:
        console.print(printable(f"trained by the run {model.record.name}"), soft_wrap=True)
    console.print(f"accuracy {score.accuracy:.4f} ({score.correct}/{score.total})")
    console.print(f"calibration: {calibration_text(score.metrics)}", soft_wrap=True)
    _print_classes(console, score)
    if len(score.classes) <= MOST_IN_MATRIX:
        _print_matrix(console, score)


def _print_classes(console: PlainConsole, score: Score) -> None:
    """Print the results for each class, or for those with the lowest F1 score."""
    has_all = len(score.classes) <= MOST_COUNTS
    classes = score.classes
    if not has_all:
        classes = sorted(score.classes, key=lambda c: c.f1)[:MOST_COUNTS]

    table = PlainTable()
    table.add_column("class")
    for title in ("precision", "recall", "F1", "images"):
        table.add_column(title, justify="right")
    for c in classes:
        table.add_row(
            c.name, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support)
        )
    console.print(table)

    if not has_all:
        console.print(
            f"shown: {MOST_COUNTS} of {len(score.classes)} classes, lowest F1 first; "
            "set output= to save all classes"
        )


def _print_matrix(console: PlainConsole, score: Score) -> None:
    """Print the confusion matrix."""
    matrix = PlainTable("confusion matrix (row: true, column: predicted)")
    matrix.add_column("")
    names, counts = named_matrix(score.confusion_matrix, [c.name for c in score.classes])
    for name in names:
        matrix.add_column(name[:6], justify="right", no_wrap=True)
    for name, row in zip(names, counts, strict=True):
        matrix.add_row(name, *map(str, row))
    console.print(matrix)


def calibration_text(metrics: Mapping[str, float]) -> str:
    """Return the calibration in test metrics as text; see `Score.metrics`."""
    ece = metrics["test_ece"]
    nll = metrics["test_nll"]
    brier = metrics["test_brier"]
    return f"ECE {ece:.4f} ({BINS} bins), NLL {nll:.4f}, Brier score {brier:.4f}"


def save_picture(config: PredictConfig, model: TrainedModel, name: str, content: bytes) -> Path:
    """Save a picture in the outputs folder, under the names of dataset and model.

    Returns:
        The path of the picture.
    """
    safe_name = "".join(_safe_character(character) for character in model.name)
    safe_name = safe_name.encode()[-LONGEST_NAME:].decode(errors="ignore")
    path = outputs_dir() / DRAWN / f"{config.dataset.name}_{safe_name}_{name}"
    outputs_dir().mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return path


def _safe_character(character: str) -> str:
    if character.isalnum() or character in "._-":
        return character
    return "_"


def times(logged: LoggedTest) -> str:
    """Return a phrase that states how many times a model has been evaluated on the test set."""
    return "once" if logged.times == 1 else f"{logged.times} times"
