"""Reports escape names, values and commands in every format."""

from __future__ import annotations

import csv
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.errors import printable
from lenet_exp.reports.escape import as_line, code, csv_text, inline
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.files.comparison_plots import figures
from lenet_exp.reports.files.comparison_tex import SIGNS
from lenet_exp.reports.files.comparison_tex import escaped as in_tex
from lenet_exp.reports.files.description import final_description
from lenet_exp.reports.files.plots import png
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import print_comparison
from tests.comparison.made_up import many
from tests.reports.page.pages import Page, data_of, page

STEERS = "=1+1\x1b[2J\x1b]0;title\x07\r\nfinished: all\x9b1m\u2028x\u202ey"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<javascript:alert(1)>",
    "https://evil.example www.evil.example me@evil.example @evil",
    "a | b || c",
    "`code` ``` *b* **b** __b__ ~~s~~ :smile:",
    "one\n\n# two\n- three\n\n<div>four</div>",
    "&lt;b&gt; &amp; \\<b> \\",
    "$\\frac{$ ${x}$",
    '"><svg onload=alert(1)> \\g<9>',
    "[x]: javascript:alert(1)",
    STEERS,
]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def words(text: str) -> str:
    return " ".join(printable(text).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_hostile_text_literally(text):
    cases = [
        (inline(text), {"p"}),
        (f"**a {inline(text)}**", {"p", "strong"}),
        (as_line(text), {"p"}),
    ]
    for escaped, tags in cases:
        html = Page(MARKDOWN.render(escaped))

        assert set(html.tags) == tags
        assert words(html.text).endswith(words(text))
        assert not re.search(r"(?<!\\)://", escaped)  # some renderers link bare addresses
        assert "<" not in escaped
        assert ">" not in escaped


@settings(max_examples=50)
@given(st.text(st.sampled_from("\\`*_[]()<>&#!|~:/.-+=1a \n\"'$"), max_size=12) | st.text())
def test_markdown_escapes_arbitrary_text(text):
    html = Page(MARKDOWN.render("x " + inline(text)))

    assert html.tags == ["p"]
    assert words(html.text) == words("x " + text)


def test_plain_text_is_unchanged_and_commands_are_code():
    usual = (
        "fashion_mnist: relu lr=0.1 batch=[no] 90.92 ± 0.21% (n=3), 'seed=range(5)'; ahead by 0.69"
    )

    assert inline(usual) == usual.replace("[", "\\[").replace("]", "\\]")
    for plain in ("Friedman's test: [0, 1]", "-", "+4.94 (above 0, up to +9.98)", "a-b?"):
        assert in_tex(plain) == plain
    assert code("lenet-train -m 'seed=range(5)'") == "`lenet-train -m 'seed=range(5)'`"
    assert Page(MARKDOWN.render(code("a `b` <c>"))).tags == ["p"]


def compared(text: str) -> Comparison:
    """Return the comparison of a sweep in which every name is this text."""
    one = many([0.91, 0.92], dataset=text, activation=text, **{text: text})
    other = many([0.90, 0.91], dataset=text, activation=f"{text} 2", **{text: f"{text} 2"})
    (comparison,) = compare_runs([*one, *other])
    return comparison


def test_descriptions_pages_and_figures_show_hostile_text_literally(tmp_path):
    for text in HOSTILE:
        comparison = compared(text)
        source = RunSource(text, f"lenet-train {text}")

        description = final_description(
            [comparison], lambda group: "#/experiments/1/runs/2", "#/report"
        )
        for html in (Page(description), Page(MARKDOWN.render(description))):
            assert set(html.tags) == {"div", "b", "a"}
            assert set(html.addresses) == {"#/report", "#/experiments/1/runs/2"}
            assert words(text) in words(html.text.replace("\N{NO-BREAK SPACE}", " "))

        for ending in ("html", "md", "tex"):
            write_comparison(tmp_path / f"x.{ending}", [comparison], source)

        html = page(tmp_path / "x.html")
        assert set(html.tags) & {"script", "img", "a", "svg", "iframe", "link"} == {"script"}
        assert [name for name, _ in html.attributes if name.startswith("on")] == []
        assert words(text) in words(html.text)
        assert len(html.scripts) == 3
        (data,) = data_of(html)["comparisons"]
        assert data["dataset"] == text
        values = {value for group in data["groups"] for value in group["values"]}
        assert values == {text, f"{text} 2"}

        markdown = Page(MARKDOWN.render((tmp_path / "x.md").read_text()))
        assert not set(markdown.tags) & {"script", "img", "a", "div", "svg"}

    for figure in figures(compared(HOSTILE[-3])).values():
        assert png(figure)


def printed(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    print_comparison(comparison)
    return capsys.readouterr().out


def test_terminal_and_csv_neutralize_control_characters_and_formulas(tmp_path, capsys):
    comparison = compared(STEERS)

    text = printed(comparison, capsys)
    plain_text = printed(compared("plain"), capsys)
    assert len(text.splitlines()) == len(plain_text.splitlines())
    control_characters = {character for character in text if printable(character) != character}
    assert control_characters == {"\n"}
    assert "=1+1 [2J ]0;title" in text

    write_comparison(tmp_path / "x.csv", [comparison], RunSource(STEERS))
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    cells = {cell for row in rows for cell in row}
    assert len(rows) == 3
    assert f"'{printable(STEERS)}" in cells
    for cell in cells:
        assert printable(cell) == cell
        assert not re.match(r"[=@]|[-+](?![\d.])", cell)

    numbers = csv_text([{"-a": "-0.5", "b": "+1e-3", "c": "-x", "d": -2, "e": "-", "@f": "-inf"}])
    assert numbers == "'-a,b,c,d,e,'@f\n-0.5,+1e-3,'-x,-2,-,-inf\n"


@settings(max_examples=50)
@example(" [")
@given(st.text(st.sampled_from("\\{}$&#%_^~<>|\"'`-[]*,?! ab1"), max_size=12) | st.text())
def test_latex_escapes_arbitrary_text(text):
    """No special character of TeX stays unescaped, and no characters merge into a ligature."""
    character_of_escape = {escape: character for character, escape in SIGNS.items()}
    for character in "-'`,[*":
        character_of_escape[f"{{{character}}}"] = character
    longest_first = sorted(character_of_escape, key=len, reverse=True)
    any_escape = "|".join(re.escape(escape) for escape in longest_first)

    escaped = in_tex(text)

    # TeX would read it as an argument of the previous row's end
    assert not re.match(r"\s*[\[*]", escaped)
    assert not re.search(r"--|``|''|,,|[?!]`", escaped)
    # escapes, empty groups, and single characters
    tokens = re.findall(rf"{any_escape}|\{{\}}|.", escaped, re.DOTALL)
    read_by_tex = ""
    for token in tokens:
        if token in character_of_escape:
            read_by_tex += character_of_escape[token]
        elif token != "{}":
            assert token not in set('\\{}$&#%_^~<>|"')
            read_by_tex += token
    assert read_by_tex == printable(text)
