"""Writes the results of a prediction to a file: JSON with all results, or CSV with one row per
class or picture.
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
    """Write `values` to a JSON file or `rows` to a CSV file, depending on the suffix of `output`,
    if it is set.
    """
    if output is None:
        return
    path = user_path(output)
    is_json = path.suffix.lower() == ".json"
    write_output_file(
        path, json.dumps(values, indent=1, allow_nan=False) + "\n" if is_json else csv_text(rows)
    )
    print(f"results: {output}")


def score_table(score: Score) -> Rows:
    """Return a row for each class, which includes its row of the confusion matrix, and a final row
    for all classes.
    """
    names, matrix = named_matrix(score.confusion_matrix, [c.name for c in score.classes])

    def row(name: str, figures: Mapping[str, Json], counts: Sequence[int]) -> dict[str, Json]:
        return {
            "class": name,
            **figures,
            **{f"predicted {n}": count for n, count in zip(names, counts, strict=True)},
        }

    rows = [
        row(
            c.name,
            {"precision": c.precision, "recall": c.recall, "f1": c.f1, "images": c.support},
            counts,
        )
        for c, counts in zip(score.classes, matrix, strict=False)
    ]
    total: dict[str, Json] = {
        "precision": "",
        "recall": score.accuracy,
        "f1": "",
        "images": score.total,
    }
    return [*rows, row("all", total, [sum(column) for column in zip(*matrix, strict=True)])]


def pictures_table(answers: list[Classification], names: list[str]) -> Rows:
    """Return a row for each picture: path, class, polarity, and the probability of each class."""
    return [
        {
            "image": str(a.picture.path),
            "class": names[a.label],
            "dark_on_light": a.picture.inverted is True,
            **{f"p({name})": p for name, p in zip(names, a.probabilities, strict=True)},
        }
        for a in answers
    ]
