"""Writes a comparison to a file: an HTML report, Markdown, LaTeX, CSV, or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.search.importance import search_importance
from lenet_exp.comparison.search.summary import SearchSummary
from lenet_exp.comparison.studies.interactions import Interactions
from lenet_exp.files import Json, write_output_file
from lenet_exp.reports.comparison_records import Cell, ranked_records
from lenet_exp.reports.escape import csv_text, finite
from lenet_exp.reports.files.comparison_markdown import markdown
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.next_steps import next_command, next_step, notes
from lenet_exp.reports.words.study_words import interaction_record
from lenet_exp.reports.words.verdict import verdict

PULL_REQUEST = (
    10  # maximum number of rows in a Markdown table for pull requests; the HTML report has all rows
)


def write_comparison(
    path: Path,
    comparisons: Sequence[Comparison],
    source: RunSource,
    columns: Sequence[str] | None = None,
) -> None:
    """Write comparisons to a file atomically, in the format that corresponds to the suffix of the
    file name.

    Args:
        columns: columns of a LaTeX table; see `tex`.
    """
    kind = path.suffix.lower()
    if kind == ".html":
        from lenet_exp.reports.page.comparison_page import page

        write_output_file(path, page(comparisons, source))
    elif kind == ".md":
        write_output_file(path, markdown(comparisons, source, PULL_REQUEST))
    elif kind == ".tex":
        write_output_file(path, tex(comparisons, source, columns))
    elif kind == ".csv":
        write_output_file(
            path, csv_text([row for rows in finite(ranked_records(comparisons)) for row in rows])
        )
    else:
        tables = ranked_records(comparisons)
        data = [_json(c, source, rows) for c, rows in zip(comparisons, tables, strict=True)]
        write_output_file(path, json.dumps(finite(data), indent=2) + "\n")


def write_figures(
    path: Path,
    comparisons: Sequence[Comparison],
    kind: str,
    cm: float | None = None,
    flags: Sequence[str] | None = None,
) -> list[Path]:
    """Write a figure for a paper as PDF, SVG, or PNG (300 dpi), and return the paths of the files.

    For several datasets, each file name ends with a dataset's name.

    Args:
        kind, flags: see `paper_figure`.
        cm: width of the figure in centimeters; by default, that of a column.

    Raises:
        ConfigError: a comparison does not have this figure.
    """
    from matplotlib import rc_context

    from lenet_exp.reports.files.comparison_plots import paper_figure
    from lenet_exp.reports.files.figure_layout import PAPER_WIDTH

    several = len(comparisons) > 1
    width = PAPER_WIDTH if cm is None else cm / 2.54
    drawn = {
        path.with_stem(f"{path.stem}_{c.dataset}") if several else path: paper_figure(
            c, kind, width, flags
        )
        for c in comparisons
    }
    for to, figure in drawn.items():
        content = io.BytesIO()
        suffix = to.suffix.lower()
        with rc_context(
            {"pdf.fonttype": 42, "svg.hashsalt": "lenet_exp"}
        ):  # fonts that journals accept
            same = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(
                suffix
            )  # whenever it is drawn
            figure.savefig(content, format=suffix[1:], metadata=same, dpi=300)
        write_output_file(to, content.getvalue())
    return list(drawn)


def _json(
    comparison: Comparison, source: RunSource, rows: Sequence[Mapping[str, Cell]]
) -> Mapping[str, Json]:
    found, its = comparison.effects, comparison.new_images
    data: dict[str, Json] = {
        "dataset": comparison.dataset,
        "verdict": verdict(comparison),
        "next": next_step(comparison),
        "command": next_command(comparison, source.command),
        "notes": notes(comparison),
        "new_images": vars(its) | {"behind": list(map(comparison.name, its.behind))}
        if its is not None
        else None,
        "groups": list(rows),
        "effects": [
            # In earlier releases, `importance` had a value.
            {
                "flag": e.flag,
                "share_of_variance": e.share,
                "importance": None,
                "levels": list(map(vars, e.levels)),
            }
            for e in found.flags
        ],
        "seeds_share_of_variance": found.seeds,
        "interactions": _interactions(comparison.interactions),
    }
    return data | (
        {"search": _search(comparison.searched)} if comparison.searched is not None else {}
    )


def _interactions(found: Interactions | None) -> Mapping[str, Json] | None:
    if found is None:
        return None
    pairs = list(map(interaction_record, found.pairs))
    contrasts = list(map(vars, found.contrasts))
    return {
        "no_test": found.no_test,
        "left_out": list(found.left_out),
        "pairs": pairs,
        "contrasts": contrasts,
    }


def _search(searched: SearchSummary) -> Mapping[str, Json]:
    return {
        "how": searched.how,
        "objective": searched.objective.value,
        "epochs": searched.epochs,
        "best_command": searched.best_command,
        "spent": searched.spent,
        "history": list(map(vars, searched.steps)),
        "importance": [
            {"flag": flag, "share": share} for flag, share in search_importance(searched).items()
        ],
        "trials": list(map(vars, searched.trials)),
    }
