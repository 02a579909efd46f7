"""Creates the HTML report, a single file with the table, the charts, and the chart library.

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
from lenet_exp.reports.columns import Column, columns
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
    data = {
        "server": source.server,
        "comparisons": [page_data(comparison, source) for comparison in comparisons],
    }
    sections = []
    for number, comparison in enumerate(comparisons):
        sections.append(_section(comparison, number, source))
    sections.append(_all_datasets(comparisons))

    library = LIBRARY.read_text(encoding="utf-8")
    script = _script()
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_security_policy([library, script])}">
<title>{escape(source.title)}</title><style>{_asset("page.css")}</style></head>
<body>
{"".join(sections)}
{_footer(comparisons, source)}
<div id="said" role="status" aria-live="polite"></div>
<script type="application/json" id="data">{_json(data)}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def _security_policy(scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy that allows only these scripts and no network requests."""
    digests = " ".join(_digest(script) for script in scripts)
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:;\n"
        f"script-src {digests}; base-uri 'none'; form-action 'none'"
    )


def _all_datasets(comparisons: Sequence[Comparison]) -> str:
    """Return a section about all datasets, or nothing if there is only one."""
    lines = dataset_lines(comparisons)
    if not lines:
        return ""
    return f"<section><h1>All datasets</h1>{_bullet_list(lines)}</section>"


def _footer(comparisons: Sequence[Comparison], source: RunSource) -> str:
    """Return the explanation of the table, the date, and a line about links to MLflow."""
    metric = escape(comparisons[0].metric.name)
    table = (
        f"The table shows mean validation {metric} ± sample standard deviation over seeds, "
        f"and 95%\nconfidence intervals (Student's t). {METHOD}"
    )
    return f"""<footer>
<p>{table}</p>
<p>Created by lenet-compare on {datetime.now():%Y-%m-%d at %H:%M}.</p>
{_links_line(source)}</footer>"""


def _links_line(source: RunSource) -> str:
    """Return a line about the MLflow server to which the links lead.

    If the server's address is unknown, start.js shows how to link the runs.
    """
    if source.store is None:
        return ""
    if source.server is not None:
        return f"<p>Links open MLflow at {escape(source.server)}.</p>"
    return (
        '<p class="links" hidden><label>To link the runs to MLflow, run <code>lenet-ui</code> '
        "on the machine with\nthe runs, and paste a link that it prints: "
        '<input id="pasted" type="url" placeholder="http://127.0.0.1:5000/#/..."></label></p>'
    )


def _section(comparison: Comparison, number: int, source: RunSource) -> str:
    """Return the section about one dataset: verdict, table, charts, effects, and provenance."""
    return f"""<section data-comparison="{number}">
{_summary(comparison, source)}
<h2>Leaderboard</h2>
<div class="tools" hidden></div>
<div class="table">{_table(comparison, source)}</div>
<div class="charts"></div>
<p class="small scriptless">Charts, sorting, and filters require JavaScript.</p>
{_effects(comparison)}
{deciding_images(comparison)}
<details open><summary>How these runs were made</summary>{_provenance(comparison, source)}</details>
</section>
"""


def _summary(comparison: Comparison, source: RunSource) -> str:
    """Return the title, the verdict, the next step with its command, and the notes."""
    parts = [
        f"<h1>{escape(title_of(comparison))}</h1>",
        f'<p class="verdict">{escape(verdict(comparison))}</p>',
    ]
    for line in best_lines(comparison):
        parts.append(f"<p>{escape(line)}</p>")

    command = next_command(comparison, source.command)
    step = next_step(comparison, command)
    if step is not None:
        parts.append(f"<p>Next: {escape(step)}</p>")
    if command is not None:
        parts.append(_command_with_copy_button(command))

    for note in notes(comparison):
        parts.append(f'<p class="small">{escape(capital(note))}.</p>')
    return "".join(parts)


def _effects(comparison: Comparison) -> str:
    """Return the effects of the flags or, for a search, its summary."""
    lines = effect_lines(comparison)
    if not lines:
        return ""
    title = _title_of_effects(comparison)
    return f"<details open><summary>{title}</summary>{_bullet_list(lines)}</details>"


def _title_of_effects(comparison: Comparison) -> str:
    if comparison.searched is not None:
        return "Search summary"
    unit = ", in points" if comparison.metric.percent else ","
    return f"Effect of each flag{unit} from the overall mean"


def _provenance(comparison: Comparison, source: RunSource) -> str:
    """Return how the runs were made, as a list of names and values."""
    values = {name: escape(text) for name, text in facts(comparison).items()}
    if source.command is None:
        values["Runs"] = escape(source.title)
    else:
        values["Command"] = _command_with_copy_button(source.command)

    if comparison.dataset in source.champion:
        values["Champion"] = escape(source.champion[comparison.dataset])

    command = reproduce_command(comparison, source)
    if command is not None:
        values["Leader's best run"] = _command_with_copy_button(command)

    items = [f"<dt>{name}</dt><dd>{value}</dd>" for name, value in values.items()]
    return f'<dl class="made">{"".join(items)}</dl>'


def _table(comparison: Comparison, source: RunSource) -> str:
    """Return the terminal's table as HTML, with a link to the best run of each configuration."""
    table_columns = columns(comparison)
    head = [_head_cell(column) for column in table_columns]
    rows = []
    for position in range(len(comparison.groups)):
        rows.append(_row(comparison, position, table_columns, source))
    return f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _head_cell(column: Column) -> str:
    title = _with_line_breaks(column.title)
    return f'<th scope="col" class="{column.name}" title="{escape(column.hint)}">{title}</th>'


def _row(
    comparison: Comparison, position: int, table_columns: Sequence[Column], source: RunSource
) -> str:
    """Return the table's row for the configuration at a position in the ranking."""
    group = comparison.groups[position]
    best_page = source.page_of(group.best_run) if group.best_run is not None else None
    cells = []
    for column in table_columns:
        text = escape(column.text(comparison, position))
        if column.name == "accuracy" and best_page is not None:
            text = _link(text, best_page, source)
        cells.append(f'<td class="{column.name}">{text}</td>')

    is_marked = group is comparison.leader and len(comparison.groups) > 1
    mark = ' class="leader"' if is_marked else ""
    return f'<tr data-i="{position}"{mark}>{"".join(cells)}</tr>'


def _link(text: str, run_page: str, source: RunSource) -> str:
    """Link text to the page of a run in MLflow.

    If the server's address is unknown, the page's scripts add it when the user pastes a link.

    Args:
        run_page: address of the run's page, relative to the server.
    """
    address = ""
    if source.server is not None:
        url = f"{source.server}/{run_page}"
        address = f'href="{escape(url)}" '
    return (
        f'<a {address}data-page="{escape(run_page)}" target="_blank" rel="noopener" '
        f'title="best run in MLflow">{text}</a>'
    )


def _command_with_copy_button(command: str) -> str:
    return (
        f'<div class="command"><code>{escape(command)}</code>'
        '<button class="copy" type="button">copy</button></div>'
    )


def _bullet_list(lines: Sequence[str]) -> str:
    items = [f"<li>{escape(line)}</li>" for line in lines]
    return f"<ul>{''.join(items)}</ul>"


def _with_line_breaks(title: str) -> str:
    """Allow line breaks after the dots and underscores in the name of a flag."""
    return escape(title).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _json(value: object) -> str:
    """Format a value as JSON that cannot end the HTML script element that contains it."""
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _digest(script: str) -> str:
    """Return the digest with which the page's Content-Security-Policy allows a script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _script() -> str:
    """Return all scripts as one, whose variables are not visible to the chart library."""
    scripts = [_asset(name) for name in SCRIPTS]
    return "(() => {\n'use strict';\n" + "\n".join(scripts) + "\n})();"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
