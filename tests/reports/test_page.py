"""The page, Markdown and LaTeX of a comparison say what lenet-compare prints, and nothing else."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from lenet_exp.comparison.advice import next_command, next_step, not_excluded, notes
from lenet_exp.comparison.brief import brief
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.words import verdict
from lenet_exp.reports.comparison_file import write_comparison
from lenet_exp.reports.comparison_page import ASSETS, LIBRARY
from lenet_exp.reports.leaderboard import cells, effect_lines, heads, print_comparison
from lenet_exp.reports.page_data import is_log
from lenet_exp.reports.source import Source
from tests.comparison.made_up import made, many
from tests.reports.pages import Page, data_of, page

COMMAND = "lenet-train -m activation=selu,relu,tanh optimizer.lr=0.001,0.01,0.1 'seed=range(3)'"
SERVER = "https://me:***@lab.example/mlflow"
SOURCE = Source(COMMAND, COMMAND, SERVER)


@pytest.fixture
def comparison() -> Comparison:
    """Accuracies of which a half is rounded to even, one that diverged, one that is missing."""
    runs = [
        *many([0.91125, 0.92125, 0.92375], activation="selu", optimizer__lr="0.1"),
        *many([0.9, 0.908, 0.905], activation="relu", optimizer__lr="0.1"),
        *many([0.71, 0.7202, 0.7151], activation="tanh", optimizer__lr="0.01"),
        *many([0.909, 0.919, 0.922], activation="selu", optimizer__lr="0.01"),
        *[
            made(seed, 0.1, "diverged" if seed else "finished", activation="relu", optimizer__lr="0.01")
            for seed in (0, 1)
        ],
        made(0, None, "failed", activation="relu", optimizer__lr="0.001"),
        made(0, 0.5, activation="tanh", optimizer__lr="0.001"),
    ]
    runs = [replace(run, mlflow_runs=lambda n=n: {SERVER: f"{n:032x}"}) for n, run in enumerate(runs)]
    (found,) = compare_runs(runs, ["activation", "optimizer.lr"])
    return found


def written(comparison: Comparison, path: Path, source: Source = SOURCE) -> Page:
    write_comparison(path, [comparison], source)
    return page(path)


def test_each_row_of_the_page_is_that_of_the_terminal(comparison, capsys, tmp_path):
    print_comparison(comparison)
    printed = capsys.readouterr().out
    head, *rows = written(comparison, tmp_path / "x.html").rows
    place = {name: i for i, name in enumerate(head)}
    assert set(place) == {*heads(comparison)[:-1], "verdict"}
    assert len(rows) == len(comparison.groups)
    for position, row in enumerate(rows):
        line = next(text for text in printed.splitlines() if text.split()[:1] == [str(position + 1)])
        own = dict(zip(heads(comparison)[:-1], cells(comparison, position), strict=False))
        assert {name: row[place[name]] for name in own} == own
        assert all(cell in line for cell in row if cell != row[place["verdict"]])
        said = row[place["verdict"]]
        assert said == brief(comparison, position)
        assert len(said) <= 45
        assert all(number in line for number in re.findall(r"\d+\.\d\d", said))


def test_what_the_charts_say_is_what_is_printed(comparison, capsys, tmp_path):
    print_comparison(comparison)
    printed = capsys.readouterr().out
    read = written(comparison, tmp_path / "x.html")
    (data,) = data_of(read)["comparisons"]
    for group, shown in zip(comparison.groups, data["groups"], strict=True):
        assert shown["accuracy"] in printed
        assert shown["interval"] in printed
        assert shown["mean"] == (group.mean if group.n else None)
        if group.n:
            assert shown["accuracy"].startswith(f"{group.mean * 100:.2f}")
    for effect in data["effects"]:
        line = next(text for text in printed.splitlines() if text.startswith(f"  {effect['flag']} "))
        assert f" {effect['share']} of the variance" in line
        for level in effect["levels"]:
            assert f"{level['value']} {level['said']}" in line
    for text in (verdict(comparison), next_step(comparison), *notes(comparison), *effect_lines(comparison)):
        assert text[1:] in read.text
        assert text in printed
    assert not_excluded(comparison)[1:] in read.text


def test_diverged_and_missing_ones_say_so(comparison, tmp_path):
    (data,) = data_of(written(comparison, tmp_path / "x.html"))["comparisons"]
    states = {group["name"]: group["state"] for group in data["groups"] if group["state"]}
    assert states == {"relu lr=0.01": "1 of 2 diverged", "relu lr=0.001": "failed"}
    (torn,) = (group for group in data["groups"] if group["state"].endswith("diverged"))
    assert [curve["diverged"] for curve in torn["curves"]] == [False, True]
    assert torn["brief"] == "diverged on 1 of 2 seeds"
    assert [run["outcome"] for run in torn["runs"]] == ["finished", "diverged"]


def test_the_page_holds_no_address_but_of_the_runs_and_lets_no_other_script_run(comparison, tmp_path):
    read = written(comparison, tmp_path / "x.html")
    best = [max(group.finished, key=lambda run: run.best_val_accuracy) for group in comparison.groups if group.n]
    wanted = [f"https://lab.example/mlflow/#/runs/{run.mlflow_runs()[SERVER]}" for run in best]
    assert read.addresses == wanted
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    (policy,) = (v for k, v in read.attributes if k == "content" and "script-src" in v)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.partition("script-src")[2]
    assert policy.count("'sha256-") == 2
    assert "***" not in "".join(read.addresses)


def test_two_data_sets_stand_on_one_page(comparison, tmp_path):
    (other,) = compare_runs(
        [*many([0.9, 0.8], dataset="digits"), *many([0.7, 0.6], dataset="digits", activation="relu")]
    )
    write_comparison(tmp_path / "x.html", [comparison, other], SOURCE)
    read = page(tmp_path / "x.html")
    assert [found["dataset"] for found in data_of(read)["comparisons"]] == ["mnist", "digits"]
    assert read.tags.count("table") == 2
    assert len(read.ids) == len(set(read.ids))


@pytest.mark.parametrize(
    ("values", "log"),
    [
        (["0.001", "0.01", "0.1"], True),
        (["1", "2", "4"], True),
        (["0.1", "0.2", "0.3"], False),
        (["1e-4", "1"], True),
        (["1", "2"], False),
        (["0", "0.01", "0.1"], False),
        (["relu", "selu"], False),
        (["0.001", "0.03", "0.1", "-"], True),
    ],
)
def test_numbers_that_were_swept_in_factors_have_a_logarithmic_axis(values, log):
    assert is_log(values) is log


def test_the_next_command_is_whole():
    runs = [*many([0.91, 0.92, 0.914]), *many([0.912, 0.914, 0.918], activation="relu")]
    (found,) = compare_runs(runs, design=Design(6, 0, sweep="ab12"))
    points = next_step(found).rpartition("=")[2]
    assert next_command(found, COMMAND) == f"lenet-compare sweep=ab12 confirm={points}"
    assert next_command(found, None) is None
    (found,) = compare_runs(runs)  # of no sweep, or of several: there is none to confirm
    assert next_step(found).endswith("once one sweep has tried all of these")
    assert next_command(found, COMMAND) is None
    (found,) = compare_runs([*runs, made(3, None, "failed", activation="tanh")])
    assert next_command(found, COMMAND) == COMMAND
    (found,) = compare_runs([made(3, 0.9), made(3, 0.8, activation="relu")])
    typed = shlex.split(next_command(found, COMMAND))
    assert (typed[0], typed[-1]) == ("lenet-train", "seed=range(4,9)")
    assert [word for word in typed if word.startswith("seed=")] == ["seed=range(4,9)"]
    (found,) = compare_runs([made(3, 0.9), made(3, 0.8, activation="relu")], design=Design(2, 0, searched=True))
    assert shlex.split(next_command(found, COMMAND))[-1] == "seeds=5"
    (found,) = compare_runs([made(s, 0.1, "diverged", activation=a) for s in (0, 1) for a in ("relu", "selu")])
    assert shlex.split(next_command(found, COMMAND))[-1] == "training.clip_norm=1"
    (found,) = compare_runs([*many([0.91, 0.911, 0.912]), *many([0.5, 0.502, 0.501], activation="relu")])
    assert next_command(found, COMMAND) is None


def test_markdown_is_what_a_pull_request_takes(comparison, tmp_path):
    write_comparison(tmp_path / "x.md", [comparison], SOURCE)
    text = (tmp_path / "x.md").read_text()
    assert text.startswith(f"**{verdict(comparison)}**\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == r"| # | activation | lr | best val, % | n | verdict |"
    assert len(rows) == 2 + len(comparison.groups)
    assert rows[2].endswith("| 3 | the leader |")
    assert f"Next: `{COMMAND}`" in text  # the same line again trains what is missing
    assert f"Made by `{COMMAND}`" in text
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert rendered.count("<tr>") == 1 + len(comparison.groups)
    (many_groups,) = compare_runs([made(0, 0.5 + i / 1000, optimizer__lr=str(i)) for i in range(1, 40)])
    write_comparison(tmp_path / "y.md", [many_groups], SOURCE)
    assert len([line for line in (tmp_path / "y.md").read_text().splitlines() if line.startswith("|")]) == 12
    assert "\n29 more.\n" in (tmp_path / "y.md").read_text()


def test_tex_is_a_booktabs_table_with_what_may_be_best_in_bold(comparison, tmp_path):
    write_comparison(tmp_path / "x.tex", [comparison], SOURCE)
    text = (tmp_path / "x.tex").read_text()
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    rows = [line.strip() for line in text.splitlines() if line.endswith(r" \\")]
    assert rows[0] == r"activation & lr & accuracy, \% & seeds \\"
    bold = [row for row in rows if r"\textbf" in row]
    assert len(bold) == len(comparison.not_excluded)
    assert bold[0] == r"selu & 0.1 & \textbf{91.88 $\pm$ 0.66} & 3 \\"
    assert rows[-1] == r"relu & 0.001 & failed & 0 \\"
    assert rows[-2] == r"relu & 0.01 & 10.00 (diverged on 1 of 2 seeds) & 1 \\"
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def _knows_booktabs() -> bool:
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    return subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _knows_booktabs(), reason="pdflatex with booktabs is not installed")
def test_tex_compiles(comparison, tmp_path):
    write_comparison(tmp_path / "x.tex", [comparison], SOURCE)
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{x}\end{document}"
    (tmp_path / "all.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_library_is_the_release_that_is_named():
    named = (ASSETS / "ORIGIN.txt").read_text()
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() in named
    (version,) = re.findall(r"echarts@([\d.]+),", named)
    assert f'version="{version}"' in LIBRARY.read_text()
    assert "Apache License" in (ASSETS / "echarts.LICENSE.txt").read_text()
    assert "</script" not in LIBRARY.read_text().lower()
