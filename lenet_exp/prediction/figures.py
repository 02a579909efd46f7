"""Writes the results of a prediction to a file.

A JSON file has all results, and a CSV file has one row per class or picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lenet_exp.files import Json, user_path, write_output_file
from lenet_exp.prediction.pictures import Classification
from lenet_exp.reports.escape import csv_text
from lenet_exp.training.score import Score, named_matrix

FORMATS = (".json", ".csv")
Rows = list[dict[str, Json]]


def write_output(output: str | None, values: object, rows: Rows) -> None:
    """Write `values` to a JSON file or `rows` to a CSV file, depending on its suffix.

    Args:
        output: path of the file; None writes nothing.
        values: all results.
        rows: one row per class or picture.
    """
    if output is None:
        return

    path = user_path(output)
    if path.suffix.lower() == ".json":
        content = json.dumps(values, indent=1, allow_nan=False) + "\n"
    else:
        content = csv_text(rows)
    write_output_file(path, content)
    print(f"results: {output}")


def score_table(score: Score) -> Rows:
    """Return a row for each class, with its counts, and a final row for all classes.

    The counts are those in the class's row of the confusion matrix.
    """
    names, matrix = named_matrix(score.confusion_matrix, [c.name for c in score.classes])

    def row(name: str, figures: Mapping[str, Json], counts: Sequence[int]) -> dict[str, Json]:
        predicted = {f"predicted {n}": count for n, count in zip(names, counts, strict=True)}
        return {"class": name, **figures, **predicted}

    rows = []
    for c, counts in zip(score.classes, matrix, strict=False):
        figures = {"precision": c.precision, "recall": c.recall, "f1": c.f1, "images": c.support}
        rows.append(row(c.name, figures, counts))

    total: dict[str, Json] = {
        "precision": "",
        "recall": score.accuracy,
        "f1": "",
        "images": score.total,
    }
    column_sums = [sum(column) for column in zip(*matrix, strict=True)]
    return [*rows, row("all", total, column_sums)]


def pictures_table(answers: list[Classification], names: list[str]) -> Rows:
    """Return a row for each picture: path, class, polarity, and the probability of each class."""
    rows: Rows = []
    for answer in answers:
        picture = answer.picture
        probabilities = {
            f"p({name})": p for name, p in zip(names, answer.probabilities, strict=True)
        }
        row: dict[str, Json] = {
            "image": str(picture.path),
            "class": names[answer.label],
            "dark_on_light": picture.inverted is True,
            **probabilities,
        }
        rows.append(row)
    return rows
