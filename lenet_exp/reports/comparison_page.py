"""A comparison as one HTML page: pictures inside, no request, no script."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import datetime
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lenet_exp.comparison.advice import next_step, not_excluded, notes
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.words import verdict
from lenet_exp.reports.comparison_plots import figures
from lenet_exp.reports.leaderboard import capital, cells, effect_lines, heads, more_line, shown_rows, title_of

METHOD = """The leader against each other configuration: paired over common seeds, else Welch's test. The same runs
chose the leader, so all pairs count (Shaffer's method); to win it must lead each other by its test alone. It is called
ahead of one that is as good in at most 5 of 100 comparisons, and in 95 of 100 all intervals of the leads hold; one that
begins at 0 says "ahead" and no more. Its lead is still rather too large than too small. A configuration of which runs
diverged stands after the others, untested."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #fff; margin: 0 auto; padding: 1.5rem;
  max-width: 66rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.verdict { font-size: 1.1rem; border-left: 4px solid #2563eb; padding-left: .8rem; overflow-wrap: anywhere; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .28rem .7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #e5e7eb; }
th { border-bottom: 2px solid #9ca3af; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td:last-child { white-space: normal; min-width: 14rem; }
figure { margin: 1.4rem 0; overflow-x: auto; }
figure svg { width: 100%; height: auto; max-width: 56rem; min-width: 36rem; }
footer, .small { color: #6b7280; font-size: .85rem; } li { overflow-wrap: anywhere; }
"""


def page(comparisons: Sequence[Comparison], title: str) -> str:
    """The page as text.

    Args:
        title: what was compared: a command or a filter.
    """
    parts = [_section(comparison) for comparison in comparisons]
    now = f"{datetime.now():%Y-%m-%d %H:%M}"
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
{"".join(parts)}
<footer><p>Validation accuracy, mean ± sample standard deviation over seeds; 95 % intervals of the mean by Student's t.
{METHOD} Made by lenet-compare, {now}.</p></footer>
</body>
</html>
"""


def _section(comparison: Comparison) -> str:
    step = next_step(comparison)
    parts = [f"<h2>{escape(title_of(comparison))}</h2>", f'<p class="verdict">{escape(verdict(comparison))}</p>']
    if (left := not_excluded(comparison)) is not None:
        parts.append(f"<p>{escape(capital(left))}.</p>")
    if step is not None:
        parts.append(f"<p>Next: {escape(step)}</p>")
    parts += [f"<p class=small>{escape(capital(note))}.</p>" for note in notes(comparison)]
    parts.append(_table(comparison))
    drawn = figures(comparison)
    parts += [f"<figure>{_svg(figure, f'{comparison.dataset}-{name}')}</figure>" for name, figure in drawn.items()]
    lines = effect_lines(comparison)
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        head = "<h2>What each flag does</h2><p class=small>In points, against the mean of all.</p>"
        parts.append(f"{head if comparison.searched is None else '<h2>The search</h2>'}<ul>{items}</ul>")
    return "\n".join(parts)


def _table(comparison: Comparison) -> str:
    titles = heads(comparison)
    numbers = {0, *range(1 + len(comparison.flags), len(titles) - 1)}

    def row(tag: str, values: Sequence[str]) -> str:
        marked = (' class="n"' if i in numbers else "" for i in range(len(values)))
        return "<tr>" + "".join(f"<{tag}{m}>{escape(v)}</{tag}>" for m, v in zip(marked, values, strict=True)) + "</tr>"

    shown = shown_rows(comparison)
    rows = [row("td", cells(comparison, position)) for position in range(shown)]
    table = f'<div class="table"><table><thead>{row("th", titles)}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    more = more_line(comparison, shown)
    return table if more is None else f"{table}<p class=small>{escape(more)}; output=report.csv has them.</p>"


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element of its own; ids made unique, since several stand on one page."""
    FigureCanvasSVG(figure)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    ids = re.sub(r"[^\w-]", "-", name)
    text = re.sub(r'\bid="', f'id="{ids}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{ids}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(name)}" ', 1)
