"""Writes a comparison to a file: an HTML report, Markdown, LaTeX, CSV, or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect
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

# Maximum number of rows in a Markdown table for pull requests; the HTML report has all rows.
PULL_REQUEST_ROWS = 10

# Metadata that omits the date, so that the same figure is always the same file.
UNDATED: dict[str, dict[str, None]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


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
        write_output_file(path, markdown(comparisons, source, PULL_REQUEST_ROWS))
    elif kind == ".tex":
        write_output_file(path, tex(comparisons, source, columns))
    elif kind == ".csv":
        rows = []
        for table in finite(ranked_records(comparisons)):
            rows += table
        write_output_file(path, csv_text(rows))
    else:
        tables = ranked_records(comparisons)
        data = [
            _json(comparison, source, table)
            for comparison, table in zip(comparisons, tables, strict=True)
        ]
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

    width = PAPER_WIDTH if cm is None else cm / 2.54

    # No file is written if one of the comparisons does not have the figure.
    figures = {}
    for comparison in comparisons:
        file = path
        if len(comparisons) > 1:
            file = path.with_stem(f"{path.stem}_{comparison.dataset}")
        figures[file] = paper_figure(comparison, kind, width, flags)

    suffix = path.suffix.lower()
    for file, figure in figures.items():
        content = io.BytesIO()
        # Journals accept TrueType fonts (42). With a salt, the IDs in an SVG are always the same.
        with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "lenet_exp"}):
            figure.savefig(content, format=suffix[1:], metadata=UNDATED.get(suffix), dpi=300)
        write_output_file(file, content.getvalue())
    return list(figures)


def _json(
    comparison: Comparison, source: RunSource, records: Sequence[Mapping[str, Cell]]
) -> Mapping[str, Json]:
    data: dict[str, Json] = {
        "dataset": comparison.dataset,
        "verdict": verdict(comparison),
        "next": next_step(comparison),
        "command": next_command(comparison, source.command),
        "notes": notes(comparison),
        "new_images": _new_images(comparison),
        "groups": list(records),
        "effects": list(map(_effect, comparison.effects.flags)),
        "seeds_share_of_variance": comparison.effects.seeds,
        "interactions": _interactions(comparison.interactions),
    }
    if comparison.searched is not None:
        data["search"] = _search(comparison.searched)
    return data


def _new_images(comparison: Comparison) -> Mapping[str, Json] | None:
    new_images = comparison.new_images
    if new_images is None:
        return None
    names = list(map(comparison.name, new_images.behind))
    return vars(new_images) | {"behind": names}


def _effect(effect: Effect) -> Mapping[str, Json]:
    return {
        "flag": effect.flag,
        "share_of_variance": effect.share,
        "importance": None,  # had a value in earlier releases
        "levels": list(map(vars, effect.levels)),
    }


def _interactions(interactions: Interactions | None) -> Mapping[str, Json] | None:
    if interactions is None:
        return None
    return {
        "no_test": interactions.no_test,
        "left_out": list(interactions.left_out),
        "pairs": list(map(interaction_record, interactions.pairs)),
        "contrasts": list(map(vars, interactions.contrasts)),
    }


def _search(searched: SearchSummary) -> Mapping[str, Json]:
    shares = search_importance(searched)
    return {
        "how": searched.how,
        "objective": searched.objective.value,
        "epochs": searched.epochs,
        "best_command": searched.best_command,
        "spent": searched.spent,
        "history": list(map(vars, searched.steps)),
        "importance": [{"flag": flag, "share": share} for flag, share in shares.items()],
        "trials": list(map(vars, searched.trials)),
    }
