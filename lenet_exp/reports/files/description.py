"""The description of a sweep's own MLflow run: the verdict and the best ten configurations.

MLflow's page shows 100 pixels of a description, in a column that a screen of 1280 pixels gives 554 of; what is higher
hides behind "Show more". So the configurations stand in blocks side by side. HTML, since a paragraph of Markdown takes
a margin and a table of it a line of titles; MLflow lets these few tags through.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.words import percent, unit, verdict
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.escape import html
from lenet_exp.reports.terminal.leaderboard import accuracy, interval

MOST = 10  # configurations
HEIGHT, LINE, ROW = 100, 18, 20  # pixels: of what is shown, of a line of text, of a row of a table
GAPS, LEAST_VALUE = 5, 5  # characters: a rank and what is between; `90.92`
WIDTH = 84  # characters of a line in the narrow column
NO_BREAK = "\N{NO-BREAK SPACE}"

Links = Callable[[Group], str | None]


def ended(comparisons: Sequence[Comparison], links: Links, report: str) -> str:
    """Of a sweep that has ended.

    Args:
        links: where a configuration leads to.
        report: address of the whole report.
    """
    several = len(comparisons) > 1
    said = [f"{c.dataset}: {headline(c)}" if several else headline(c) for c in comparisons]
    more = f' <a href="{escape(report)}">report</a>'
    heads = [f"<b>{html(line)}</b>{more}" for line in said]
    return _laid_out(heads, [_lines(f"{line} report") for line in said], comparisons, links)


def so_far(said: str, comparisons: Sequence[Comparison], links: Links) -> str:
    """Of a sweep that runs.

    Args:
        said: how it stands.
    """
    heads, lines = [html(said)], [_lines(said)]
    for extra in comparisons[1:]:
        heads, lines = [*heads, html(extra.dataset)], [*lines, 1]
    return _laid_out(heads, lines, comparisons, links)


def headline(comparison: Comparison) -> str:
    """The verdict, in a line where it can be said in one."""
    leader, design = comparison.leader, comparison.design
    confirms = design is not None and design.confirms is not None
    if leader is None or leader.diverged or confirms or len(comparison.groups) < 2:
        return verdict(comparison)
    others = [lead for lead in comparison.leads if lead is not None]
    ahead = sum(lead.ahead for lead in others)
    name, reached = comparison.name(leader), percent(leader.mean)
    if leader.n > 1:
        reached += f" ± {leader.sd * 100:.2f} (n={leader.n})"
    complete = not any(g.missing for g in comparison.groups)
    if others and ahead == len(others) and complete:
        said = f"{name} wins: {reached}, ahead of {'the other' if ahead == 1 else f'all {ahead} others'}"
    elif all(lead.n < 2 for lead in others):
        said = f"{name} is first: {reached}; with one {unit(leader)[:-1]} each, whether by luck can't be told"
    elif ahead:
        said = f"{name} is first: {reached}, ahead of {ahead} of {len(others)}; the rest can't be told apart"
    else:
        said = f"{name} is first: {reached}; can't be told apart from the other{'s' if len(others) > 1 else ''}"
    lost = "".join(f"; {n} {outcome}" for outcome, n in _wrong(comparison).items())
    doubt = "; some runs had begun before" if design is not None and design.known else ""
    return f"{said}{lost}{doubt}."


def _wrong(comparison: Comparison) -> Counter[str]:
    """Runs by outcome, but for those that ended well."""
    found: Counter[str] = Counter()
    for group in comparison.groups:
        found.update({o: n for o, n in group.outcomes.items() if o not in {Outcome.finished, Outcome.pruned}})
    return found


def _laid_out(heads: Sequence[str], lines: Sequence[int], comparisons: Sequence[Comparison], links: Links) -> str:
    """Head and block of each comparison, as high as MLflow shows."""
    rows = max(1, (HEIGHT - LINE * sum(lines)) // (ROW * max(1, len(comparisons))))
    parts = []
    for n, head in enumerate(heads):
        parts.append(f"<div>{head}</div>")
        if n < len(comparisons):
            parts += _block(comparisons[n], rows, links)
    return "\n".join(parts) + "\n"


def _block(comparison: Comparison, rows: int, links: Links) -> list[str]:
    """The best configurations, read down the first block, then the next; fewer where their names are long."""
    known = [g for g in comparison.groups if g.n or g.diverged][:MOST]
    if not known:
        return []
    longest = max(len(comparison.name(g)) for g in known)
    known = known[: rows * max(1, WIDTH // (longest + LEAST_VALUE + GAPS))]
    across = math.ceil(len(known) / rows)
    names = [comparison.name(g) for g in known]
    forms = [[_full(g) for g in known], [accuracy(g) for g in known], [f"{g.mean * 100:.2f}" for g in known]]
    width = WIDTH / across - GAPS
    fits = (form for form in forms if max(len(n) + len(v) for n, v in zip(names, form, strict=True)) <= width)
    values = next(fits, forms[-1])
    rest = len(comparison.groups) - len(known)
    table = []
    for row in range(min(rows, len(known))):
        cells = [_cells(n, known[n], names[n], values[n], links) for n in range(row, len(known), rows)]
        table.append(f"<tr>{''.join(cells)}</tr>")
    if rest and len(known) % rows:  # beside the last one, where there is room
        table[-1] = table[-1].replace("</tr>", f"<td></td><td>{rest} more</td><td></td></tr>")
    return ["<table>", *table, "</table>"]


def _cells(position: int, group: Group, name: str, value: str, links: Links) -> str:
    link, shown = links(group), _spaced(value if group.n else "diverged")
    if link is not None:
        shown = f'<a href="{escape(link)}">{shown}</a>'
    return f"<td>{position + 1}{NO_BREAK}</td><td>{_spaced(name)}{NO_BREAK}</td><td>{shown}{3 * NO_BREAK}</td>"


def _full(group: Group) -> str:
    low_to_high = interval(group)
    return accuracy(group) + (f" ({low_to_high})" if low_to_high != "-" else "")


def _spaced(text: str) -> str:
    """MLflow's page breaks `90.92 ± 0.21` in two lines."""
    return html(text).replace(" ", NO_BREAK)


def _lines(text: str) -> int:
    return math.ceil(len(text) / WIDTH)
