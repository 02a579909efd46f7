"""A comparison as a file: one HTML page, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenet_exp.comparison.advice import next_command, next_step, notes
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.words import verdict
from lenet_exp.files import Json, write_asked
from lenet_exp.reports.files.comparison_markdown import pull_request
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.search_lines import search_data
from lenet_exp.reports.source import Source
from lenet_exp.reports.terminal.leaderboard import Cell, records


def write_comparison(path: Path, comparisons: Sequence[Comparison], source: Source) -> None:
    """Writes them in the format of the file's ending; the file is there as a whole or not at all."""
    if path.suffix == ".html":
        from lenet_exp.reports.page.comparison_page import page

        write_asked(path, page(comparisons, source))
    elif path.suffix == ".md":
        write_asked(path, pull_request(comparisons, source))
    elif path.suffix == ".tex":
        write_asked(path, tex(comparisons, source))
    elif path.suffix == ".csv":
        write_asked(path, _csv([row for c in comparisons for row in records(c)]))
    else:
        write_asked(path, json.dumps([_json(c, source) for c in comparisons], indent=2) + "\n")


def _csv(rows: Sequence[dict[str, Cell]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({k: "" if _unknown(v) else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def _json(comparison: Comparison, source: Source) -> Mapping[str, Json]:
    found = comparison.effects
    return {
        "dataset": comparison.dataset,
        "verdict": verdict(comparison),
        "next": next_step(comparison),
        "command": next_command(comparison, source.command),
        "notes": notes(comparison),
        "groups": [{k: None if _unknown(v) else v for k, v in row.items()} for row in records(comparison)],
        "effects": [
            {
                "flag": e.flag,
                "share_of_variance": None if _unknown(e.share) else e.share,
                "importance": None,  # fANOVA's, in earlier releases
                "levels": [{k: None if _unknown(v) else v for k, v in vars(level).items()} for level in e.levels],
            }
            for e in found.flags
        ],
        "seeds_share_of_variance": None if _unknown(found.seeds) else found.seeds,
    } | ({"search": search_data(comparison.searched)} if comparison.searched is not None else {})


def _unknown(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
