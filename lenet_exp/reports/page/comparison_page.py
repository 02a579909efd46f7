"""Creates the interactive HTML report: a single file with the table, the charts, and the chart
library.

The page makes no network requests. The table, the verdict, and the next step are shown even without
JavaScript. The scripts in `page/` draw charts from JSON data, which `page_data.py` creates and the
page contains.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path

from lenet_exp.comparison.compare import Comparison
from lenet_exp.reports.columns import columns
from lenet_exp.reports.escape import finite
from lenet_exp.reports.page.deciding_images import deciding_images
from lenet_exp.reports.page.page_data import page_data
from lenet_exp.reports.page.provenance import facts, reproduce_command
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import effect_lines, title_of
from lenet_exp.reports.words.best_candidates import best_lines
from lenet_exp.reports.words.formatting import capital
from lenet_exp.reports.words.method import METHOD
from lenet_exp.reports.words.next_steps import next_command, next_step, notes
from lenet_exp.reports.words.study_words import dataset_lines
from lenet_exp.reports.words.verdict import verdict

ASSETS = Path(__file__).parent
LIBRARY = ASSETS / "echarts.min.js"
SCRIPTS = (
    "basics.js",
    "table.js",
    "scales.js",
    "charts.js",
    "flags.js",
    "interactions.js",
    "search.js",
    "start.js",
)


def page(comparisons: Sequence[Comparison], source: RunSource) -> str:
    """Return the HTML report for comparisons as text."""
    data = [page_data(comparison, source) for comparison in comparisons]
    sections = "".join(_section(comparison, n, source) for n, comparison in enumerate(comparisons))
    if lines := dataset_lines(comparisons):
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        sections += f"<section><h1>All datasets</h1><ul>{items}</ul></section>"
    scripts = [LIBRARY.read_text(encoding="utf-8"), _script()]
    allowed = " ".join(map(_digest, scripts))
    title = escape(source.title)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:;
script-src {allowed}; base-uri 'none'; form-action 'none'">
<title>{title}</title><style>{_asset("page.css")}</style></head>
<body>
{sections}
<footer>
<p>The table shows mean validation {escape(comparisons[0].metric.name)} ± sample standard deviation over seeds, and 95%
confidence intervals (Student's t). {METHOD}</p>
<p>Created by lenet-compare on {datetime.now():%Y-%m-%d at %H:%M}.</p>
{_where(source)}</footer>
<div id="said" role="status" aria-live="polite"></div>
<script type="application/json" id="data">{_json({"server": source.server, "comparisons": data})}</script>
<script>{scripts[0]}</script>
<script>{scripts[1]}</script>
</body>
</html>
"""


def _where(source: RunSource) -> str:
    """Return a line about the MLflow server to which the links lead.

    If the server's address is unknown, start.js shows how to link the runs.
    """
    if source.store is None:
        return ""
    if source.server is not None:
        return f"<p>Links open MLflow at {escape(source.server)}.</p>"
    return """<p class="links" hidden><label>To link the runs to MLflow, run <code>lenet-ui</code> on the machine with
the runs, and paste a link that it prints: <input id="pasted" type="url" placeholder="http://127.0.0.1:5000/#/..."></label></p>"""


def _section(comparison: Comparison, number: int, source: RunSource) -> str:
    parts = [
        f"<h1>{escape(title_of(comparison))}</h1>",
        f'<p class="verdict">{escape(verdict(comparison))}</p>',
    ]
    parts += [f"<p>{escape(line)}</p>" for line in best_lines(comparison)]
    command = next_command(comparison, source.command)
    if (step := next_step(comparison, command)) is not None:
        parts.append(f"<p>Next: {escape(step)}</p>")
    if command is not None:
        parts.append(_to_copy(command))
    parts += [f'<p class="small">{escape(capital(note))}.</p>' for note in notes(comparison)]
    lines = "".join(f"<li>{escape(line)}</li>" for line in effect_lines(comparison))
    unit = ", in points" if comparison.metric.percent else ","
    head = (
        f"Effect of each flag{unit} from the overall mean"
        if comparison.searched is None
        else "Search summary"
    )
    words = f"<details open><summary>{head}</summary><ul>{lines}</ul></details>" if lines else ""
    return f"""<section data-comparison="{number}">
{"".join(parts)}
<h2>Leaderboard</h2>
<div class="tools" hidden></div>
<div class="table">{_table(comparison, source)}</div>
<div class="charts"></div>
<p class="small scriptless">Charts, sorting, and filters require JavaScript.</p>
{words}
{deciding_images(comparison)}
<details open><summary>How these runs were made</summary>{_made(comparison, source)}</details>
</section>
"""


def _made(comparison: Comparison, source: RunSource) -> str:
    made = {name: escape(text) for name, text in facts(comparison).items()}
    made |= (
        {"Runs": escape(source.title)}
        if source.command is None
        else {"Command": _to_copy(source.command)}
    )
    if comparison.dataset in source.champion:
        made["Champion"] = escape(source.champion[comparison.dataset])
    if (command := reproduce_command(comparison, source)) is not None:
        made["Leader's best run"] = _to_copy(command)
    return f'<dl class="made">{"".join(f"<dt>{name}</dt><dd>{shown}</dd>" for name, shown in made.items())}</dl>'


def _table(comparison: Comparison, source: RunSource) -> str:
    """Return the terminal's table as HTML, with a link to the best run of each configuration."""
    shown = columns(comparison)
    head = "".join(
        f'<th scope="col" class="{c.name}" title="{escape(c.hint)}">{_breaking(c.title)}</th>'
        for c in shown
    )
    rows = []
    for position, group in enumerate(comparison.groups):
        best = source.page_of(group.best_run) if group.best_run is not None else None
        cells = [(c.name, escape(c.text(comparison, position))) for c in shown]
        cells = [
            (name, _linked(text, best, source) if name == "accuracy" else text)
            for name, text in cells
        ]
        marks = (
            ' class="leader"' if group is comparison.leader and len(comparison.groups) > 1 else ""
        )
        row = "".join(f'<td class="{name}">{text}</td>' for name, text in cells)
        rows.append(f'<tr data-i="{position}"{marks}>{row}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _linked(text: str, its_page: str | None, source: RunSource) -> str:
    if its_page is None:
        return text
    address = (
        f'href="{escape(f"{source.server}/{its_page}")}" ' if source.server is not None else ""
    )
    return (
        f'<a {address}data-page="{escape(its_page)}" target="_blank" rel="noopener" '
        f'title="best run in MLflow">{text}</a>'
    )


def _to_copy(command: str) -> str:
    return f'<div class="command"><code>{escape(command)}</code><button class="copy" type="button">copy</button></div>'


def _breaking(title: str) -> str:
    """Allow line breaks after the dots and underscores in the name of a flag."""
    return escape(title).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _json(value: object) -> str:
    """Format a value as JSON that cannot end the HTML script element that contains it."""
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _digest(script: str) -> str:
    """Return the digest with which the page's Content-Security-Policy allows a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _script() -> str:
    return "(() => {\n'use strict';\n" + "\n".join(map(_asset, SCRIPTS)) + "\n})();"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
