"""Whatever a name, a value or a command holds, Markdown and pages show it and do nothing else."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.reports.comparison_file import write_comparison
from lenet_exp.reports.comparison_plots import figures
from lenet_exp.reports.comparison_tex import SIGNS
from lenet_exp.reports.comparison_tex import escaped as in_tex
from lenet_exp.reports.description import ended
from lenet_exp.reports.escape import as_line, code, inline
from lenet_exp.reports.plots import confusion_figure, png
from lenet_exp.reports.source import Source
from tests.commands import SMALL, lenet_train
from tests.comparison.made_up import many
from tests.reports.pages import data_of, page
from tests.stores import client, runs

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
]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class _Seen(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, str | None] = {}
        self.links: set[str | None] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)
        self.links.update(value for name, value in attrs if name == "href")

    def handle_data(self, data: str) -> None:
        self.text += data


def words(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_a_text_as_it_is(text):
    for escaped, tags in ((inline(text), {"p"}), (f"**a {inline(text)}**", {"p", "strong"}), (as_line(text), {"p"})):
        seen = _Seen(MARKDOWN.render(escaped))
        assert seen.tags == tags
        assert words(seen.text).endswith(words(text))
        assert not re.search(r"(?<!\\)://", escaped)  # some make links of bare addresses
        assert not set("<>") & set(escaped)


@given(st.text(st.sampled_from("\\`*_[]()<>&#!|~:/.-+=1a \n\"'$"), max_size=12) | st.text())
def test_so_it_does_with_any_text(text):
    seen = _Seen(MARKDOWN.render("x " + inline(text)))
    assert seen.tags == {"p"}
    assert words(seen.text) == words("x " + text)


def test_a_command_is_code_where_it_can_be():
    assert code("lenet-train -m 'seed=range(5)'") == "`lenet-train -m 'seed=range(5)'`"
    assert _Seen(MARKDOWN.render(code("a `b` <c>"))).tags == {"p"}


def test_what_is_usual_stays_as_it_is():
    usual = "fashion_mnist: relu lr=0.1 batch=[no] 90.92 ± 0.21 % (n=3), 'seed=range(5)'; ahead by 0.69"
    assert inline(usual) == usual.replace("[", "\\[").replace("]", "\\]")


def compared(text: str) -> Comparison:
    """A sweep all of whose names are this text."""
    (found,) = compare_runs(
        [
            *many([0.91, 0.92], dataset=text, activation=text, **{text: text}),
            *many([0.90, 0.91], dataset=text, activation=f"{text} 2", **{text: f"{text} 2"}),
        ]
    )
    return found


def test_a_sweeps_description_has_no_link_but_its_own():
    for text in HOSTILE:
        told = ended([compared(text)], lambda group: "#/experiments/1/runs/2", "#/report")
        for seen in (_Seen(told), _Seen(MarkdownIt("commonmark", {"html": True}).render(told))):
            assert seen.tags == {"div", "b", "a", "table", "tr", "td"}
            assert seen.links == {"#/report", "#/experiments/1/runs/2"}
            assert words(text) in words(seen.text.replace("\N{NO-BREAK SPACE}", " "))


def test_pages_and_pictures_hold_it_as_text(tmp_path):
    for text in HOSTILE:
        comparison = compared(text)
        for ending in ("html", "md", "tex"):
            write_comparison(tmp_path / f"x.{ending}", [comparison], Source(text, f"lenet-train {text}"))
        read = page(tmp_path / "x.html")
        assert set(read.tags) & {"script", "img", "a", "svg", "iframe", "link"} == {"script"}
        assert [name for name, _ in read.attributes if name.startswith("on")] == []
        assert words(text) in words(read.text)
        (found,) = data_of(read)["comparisons"]
        assert found["dataset"] == text
        assert {value for group in found["groups"] for value in group["values"]} == {text, f"{text} 2"}
        assert len(read.scripts) == 3
        assert not _Seen(MARKDOWN.render((tmp_path / "x.md").read_text())).tags & {"script", "img", "a", "div", "svg"}
    assert all(png(figure) for figure in figures(compared(HOSTILE[-3])).values())


@given(st.text(st.sampled_from("\\{}$&#%_^~<>|\"'`-[]*,?! ab1"), max_size=12) | st.text())
def test_tex_prints_a_text_as_it_is(text):
    """No sign of TeX's is left bare, and no two signs are drawn as one."""
    told = in_tex(text)
    signs = {tex: sign for sign, tex in SIGNS.items()}
    words = "|".join(map(re.escape, sorted(signs, key=len, reverse=True)))
    read = re.findall(rf"{words}|\{{\}}|.", told, re.DOTALL)
    assert not {word for word in read if word not in signs} & set('\\{}$&#%_^~<>|"[]*')
    assert not re.search(r"--|``|''|,,|[?!]`", told)
    plain = "".join("" if word == "{}" else signs.get(word, word) for word in read)
    assert plain == re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def test_a_confusion_matrix_is_drawn_with_any_class_names():
    picture = png(confusion_figure([[1] * 10] * 10, ["$\\frac{$", "<b>", "a$b$", *"3456789"], "$\\x$"))
    with Image.open(io.BytesIO(picture)) as drawn:
        assert drawn.width > 600


def test_a_real_sweep_with_hostile_names_stands_in_mlflow_as_text(ready):
    quick = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=1", "tracking.models=none", "seed=0,1")
    tag = "tracking.tags.note='<img src=x onerror=alert(1)> [a](javascript:alert(1))'"
    names = "dataset.class_names=['$\\frac{$','<script>','[a](javascript:b)',d,e,f,g,h,i,j]"
    done = lenet_train(*quick, tag, names, outputs=ready)
    assert done.returncode == 0, done.stderr
    assert "can't be written" not in done.stderr
    (parent,) = runs(client(ready), "sweep")
    description = parent.data.tags["mlflow.note.content"]
    assert _Seen(description).tags <= {"div", "b", "a", "table", "tr", "td"}
    assert _Seen(description).attributes.keys() <= {"href"}
    told = Path(client(ready).download_artifacts(parent.info.run_id, "report.md")).read_text()
    assert "tracking.tags.note=" in told
    assert _Seen(MARKDOWN.render(told)).tags & {"img", "script"} == set()
    assert not re.search(r"<|(?<!\\)\]\((?!#/experiments/)", told)
    assert {run.info.status for run in (parent, *runs(client(ready)))} == {"FINISHED"}
