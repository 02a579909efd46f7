"""The page, Markdown and LaTeX of a comparison contain exactly the results that lenet-compare
prints.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.runs import ComparedRun, Provenance
from lenet_exp.errors import ConfigError
from lenet_exp.reports.columns import columns, on_test
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.page.comparison_page import ASSETS, LIBRARY
from lenet_exp.reports.page.provenance import facts
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import effect_lines, print_comparison
from lenet_exp.reports.words.best_candidates import best_lines
from lenet_exp.reports.words.next_steps import next_command, next_step, notes
from lenet_exp.reports.words.verdict import verdict
from tests.comparison.made_up import made, many, scored
from tests.reports.page.pages import Page, data_of, page

COMMAND = "lenet-train -m activation=selu,relu,tanh optimizer.lr=0.001,0.01,0.1 'seed=range(3)'"
SERVER = "https://lab.example/mlflow"
SOURCE = RunSource(COMMAND, COMMAND, SERVER)


@pytest.fixture
def comparison() -> Comparison:
    """Return a comparison with accuracies that round half to even, a diverged run and a failed
    run.
    """
    runs = [
        *many([0.91125, 0.92125, 0.92375], activation="selu", optimizer__lr="0.1"),
        *many([0.9, 0.908, 0.905], activation="relu", optimizer__lr="0.1"),
        *many([0.71, 0.7202, 0.7151], activation="tanh", optimizer__lr="0.01"),
        *many([0.909, 0.919, 0.922], activation="selu", optimizer__lr="0.01"),
        made(0, 0.1, activation="relu", optimizer__lr="0.01"),
        made(1, 0.1, "diverged", activation="relu", optimizer__lr="0.01"),
        made(0, None, "failed", activation="relu", optimizer__lr="0.001"),
        made(0, 0.5, activation="tanh", optimizer__lr="0.001"),
    ]
    stored = [stored_run(run, f"{n:032x}") for n, run in enumerate(runs)]
    (comparison,) = compare_runs(stored, ["activation", "optimizer.lr"])
    return comparison


def stored_run(run: ComparedRun, mlflow_id: str) -> ComparedRun:
    """Return a run that the server has under an ID."""
    return replace(run, mlflow_runs=lambda: {SERVER: mlflow_id})


def written(comparison: Comparison, path: Path, source: RunSource = SOURCE) -> Page:
    write_comparison(path, [comparison], source)
    return page(path)


def test_page_and_terminal_have_same_rows(comparison, capsys, tmp_path):
    table_columns = columns(comparison)
    expected = []
    for n in range(len(comparison.groups)):
        expected.append([column.text(comparison, n) for column in table_columns])

    print_comparison(comparison, details=True)
    printed_lines = capsys.readouterr().out.splitlines()
    head, *rows = written(comparison, tmp_path / "x.html").rows

    assert head == [column.title for column in table_columns]
    assert rows == expected
    for row in rows:
        line = next(line for line in printed_lines if line.split()[:1] == row[:1])
        for cell in row:
            assert cell in line


def test_charts_and_terminal_show_same_values(comparison, capsys, tmp_path):
    print_comparison(comparison, details=True)
    printed = capsys.readouterr().out
    html = written(comparison, tmp_path / "x.html")
    (data,) = data_of(html)["comparisons"]

    for group, group_data in zip(comparison.groups, data["groups"], strict=True):
        mean = group.mean if group.n else None
        assert group_data["accuracy"] in printed
        assert group_data["interval"] in printed
        assert group_data["mean"] == mean

    for effect in data["effects"]:
        start = f"  {effect['flag']} "
        line = next(line for line in printed.splitlines() if line.startswith(start))
        assert f" {effect['share']} " in line
        for level in effect["levels"]:
            assert f"{level['value']} {level['said']}" in line

    sentences = [
        verdict(comparison),
        next_step(comparison),
        *best_lines(comparison),
        *notes(comparison),
        *effect_lines(comparison),
    ]
    for sentence in sentences:
        assert sentence[1:] in html.text
        assert sentence in printed


def test_charts_mark_diverged_and_failed_configurations(comparison, tmp_path):
    (data,) = data_of(written(comparison, tmp_path / "x.html"))["comparisons"]

    marked = {group["name"]: group for group in data["groups"] if group["state"]}
    assert set(marked) == {"relu lr=0.01", "relu lr=0.001"}
    half_diverged = marked["relu lr=0.01"]
    assert len(half_diverged["curves"]) == 1  # the curve of the finished run
    assert [run["outcome"] for run in half_diverged["runs"]] == ["finished", "diverged"]
    assert "1 diverged" in half_diverged["state"]
    words = re.findall(r"\d|diverged", half_diverged["remark"])
    assert words[:3] == ["diverged", "1", "2"]


def test_page_links_only_to_runs_and_allows_no_other_scripts(comparison, tmp_path):
    best_run_addresses = []
    for group in comparison.groups:
        if group.n:
            best = max(group.finished, key=lambda run: run.best)
            best_run_addresses.append(f"{SERVER}/#/runs/{best.mlflow_runs()[SERVER]}")

    html = written(comparison, tmp_path / "x.html")

    assert html.addresses == best_run_addresses
    assert not {"link", "img", "iframe", "object"} & set(html.tags)
    contents = [value for name, value in html.attributes if name == "content"]
    (policy,) = [content for content in contents if content and "script-src" in content]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.partition("script-src")[2]
    assert policy.count("'sha256-") == 2


def provenance(torch: str) -> Provenance:
    execution = {"engine": "native", "device": "cpu", "num_threads": 1, "device_model": "EPYC <9>"}
    git = {"git_commit": "c" * 40, "git_dirty": "true"}
    versions = {"lenet_exp": "0.2", "torch": torch}
    digests = {"train": "d" * 64, "validation": "e" * 64}
    return Provenance(digests, execution, versions, git, "node7")


def test_page_shows_provenance_of_runs(tmp_path):
    selu = many([0.9, 0.92], batch_size="64")
    relu = many([0.8, 0.81], batch_size="64", activation="relu")
    selu = [replace(run, provenance=provenance("2.0")) for run in selu]
    relu = [replace(run, provenance=provenance("2.1")) for run in relu]
    runs = [replace(run, id=f"id{n}") for n, run in enumerate([*selu, *relu])]
    stored = [stored_run(run, "b" * 32) for run in runs]

    (comparison,) = compare_runs(runs)
    (of_stored,) = compare_runs(stored)
    named = facts(comparison)
    text = written(comparison, tmp_path / "x.html").text
    text_of_stored = written(of_stored, tmp_path / "x.html", RunSource("filter", store=SERVER)).text

    assert named["SHA-256"] == f"train {'d' * 64}; validation {'e' * 64}"
    assert named["Versions"] == "lenet_exp 0.2, torch 2.0; lenet_exp 0.2, torch 2.1"
    assert named["Engine"] == "native, cpu, 1 thread"
    assert named["Epochs"] == "3"
    assert named["Batch size"] == "64"
    assert named["Split seed"] == "0"
    assert named["Seed"] == "0; 1"

    for fact in named.values():
        assert fact in text
    assert COMMAND in text
    assert "lenet-reproduce run=id1" in text
    assert "c" * 40 in text
    assert "node7, EPYC <9>" in text
    assert f"run={'b' * 32}" in text_of_stored


def test_inseparable_effects_are_not_drawn(comparison, tmp_path):
    selu = many([0.9, 0.91], optimizer__lr="0.1")
    relu = many([0.8, 0.82], activation="relu", optimizer__lr="0.2")
    (inseparable,) = compare_runs([*selu, *relu])

    (data,) = data_of(written(comparison, tmp_path / "x.html"))["comparisons"]
    assert len(data["effects"]) == 2

    (data,) = data_of(written(inseparable, tmp_path / "x.html"))["comparisons"]
    assert len(data["effects"]) == 0


def test_page_shows_two_datasets(comparison, tmp_path):
    relu = many([0.9, 0.9], dataset="digits", activation="relu")
    selu = many([0.9, 0.9], dataset="digits", activation="selu")
    (on_digits,) = compare_runs([*relu, *selu])

    write_comparison(tmp_path / "x.html", [comparison, on_digits], SOURCE)
    html = page(tmp_path / "x.html")

    assert [data["dataset"] for data in data_of(html)["comparisons"]] == ["mnist", "digits"]
    assert html.tags.count("table") == 2
    assert len(html.ids) == len(set(html.ids))


def test_next_command_is_complete():
    """tests/comparison/test_compare.py tests which step is next."""
    close = [*many([0.91, 0.92, 0.914]), *many([0.912, 0.914, 0.919], activation="relu")]
    failed = made(3, None, "failed", activation="tanh")
    single = [made(3, 0.9), made(3, 0.8, activation="relu")]

    def command_after(runs, command=COMMAND, **more):
        design = None
        if more:
            design = Design(len(runs), 0, **more)
        (comparison,) = compare_runs(runs, design=design)
        return next_command(comparison, command)

    assert command_after(close, None, sweep="ab12") is None
    assert command_after(close) is None  # without exactly one sweep, there is nothing to confirm
    assert command_after([*close, failed]) == COMMAND

    program, *arguments = shlex.split(command_after(single))
    assert program == "lenet-train"
    assert [word for word in arguments if "seed" in word] == ["seed=range(4,9)"]

    of_search = shlex.split(command_after(single, can_add_seeds=True))
    assert of_search[-1] == "seeds=5"
    # a search with another objective takes no seeds
    assert command_after(single, has_trials=True) is None


def test_markdown_report_renders_as_table_and_is_truncated(comparison, tmp_path):
    runs = [made(0, 0.5 + i / 1000, optimizer__lr=str(i)) for i in range(1, 40)]
    (of_many_groups,) = compare_runs(runs)

    write_comparison(tmp_path / "x.md", [comparison], SOURCE)
    write_comparison(tmp_path / "y.md", [of_many_groups], SOURCE)

    text = (tmp_path / "x.md").read_text()
    assert text.startswith(f"**{verdict(comparison)}**\n")
    # as source, and as next command, which trains the missing run
    assert text.count(f"`{COMMAND}`") == 2
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert rendered.count("<tr>") == 1 + len(comparison.groups)

    text = (tmp_path / "y.md").read_text()
    table_lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table_lines) == 12
    assert "\n29 more" in text


def test_latex_table_uses_booktabs_and_bold_for_possible_winners(comparison, tmp_path):
    leads = []
    for lead in comparison.leads:
        if lead is not None and lead.n > 1:
            leads.append(f"{lead.points * 100:+.2f} (")

    write_comparison(tmp_path / "x.tex", [comparison], SOURCE)
    text = (tmp_path / "x.tex").read_text()

    assert text.count(r"\toprule") == 1
    assert text.count(r"\midrule") == 1
    assert text.count(r"\bottomrule") == 1
    assert f"% {verdict(comparison)}\n" in text
    assert r"\label{tab:mnist}" in text

    rows = [line.strip() for line in text.splitlines() if line.endswith(r" \\")]
    assert rows[0].startswith("activation & lr & ")
    bold = [row for row in rows if r"\textbf" in row]
    assert len(bold) == len(comparison.not_excluded)
    assert bold[0] == r"selu & 0.1 & \textbf{91.88 $\pm$ 0.66} & 90.23 to 93.52 & 3 & - \\"
    assert rows[-1] == r"relu & 0.001 & 1 failed & - & 0 & - \\"
    for row, lead in zip(rows[2:], leads, strict=False):
        assert lead in row
    assert rows[-2].startswith("relu & 0.01 & 10.00 (diverged ")

    numbers_of_separators = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
    assert len(numbers_of_separators) == 1


def test_latex_table_has_only_the_chosen_columns(comparison, tmp_path):
    write_comparison(tmp_path / "x.tex", [comparison], SOURCE, ["n", "accuracy"])

    text = (tmp_path / "x.tex").read_text()
    assert r"activation & lr & $n$ & accuracy, \% \\" in text
    assert "interval" not in text
    with pytest.raises(ConfigError, match="accuracy"):
        write_comparison(tmp_path / "y.tex", [comparison], SOURCE, ["acuracy"])


def test_every_format_shows_available_test_results(comparison, capsys, tmp_path):
    test_accuracies = {
        ("selu", "0.1"): {0: 0.92, 1: 0.9, 2: 0.91},
        ("relu", "0.1"): {0: 0.91, 1: 0.9},
    }
    runs = []
    for group in comparison.groups:
        for run in group.runs:
            configuration = (run.flags["activation"], run.flags["optimizer.lr"])
            runs += scored([run], test_accuracies.get(configuration, {}))
    (tested,) = compare_runs(runs, ["activation", "optimizer.lr"])
    expected = ["91.00 ± 1.00 (n = 3)", "-", "90.50 ± 0.71 (n = 2); lead +0.50 (-5.85 to +6.85)"]

    assert [on_test(tested, n) for n in range(3)] == expected

    html = written(tested, tmp_path / "x.html")
    head, *rows = html.rows
    test_column = head.index("test, %")
    assert [row[test_column] for row in rows][:3] == expected
    (data,) = data_of(html)["comparisons"]
    assert [group["test"] for group in data["groups"]][:3] == pytest.approx([0.91, None, 0.905])

    print_comparison(tested)
    assert expected[2] in " ".join(capsys.readouterr().out.split())

    for ending in ("md", "tex", "json"):
        write_comparison(tmp_path / f"x.{ending}", [tested], SOURCE)
    assert f"| {expected[2]} |" in (tmp_path / "x.md").read_text()
    text = (tmp_path / "x.tex").read_text()
    assert r"& 90.50 $\pm$ 0.71 (n = 2) & +0.50 ($-$5.85 to +6.85) \\" in text
    groups = json.loads((tmp_path / "x.json").read_text())[0]["groups"]
    assert groups[0]["test_n"] == 3
    assert groups[0]["test_mean"] == pytest.approx(0.91)
    assert groups[1]["test_n"] == 0
    assert groups[1]["test_mean"] is None
    assert groups[2]["test_behind_low"] == tested.test_leads[2].low


def test_bundled_echarts_matches_documented_release():
    origin = (ASSETS / "ORIGIN.txt").read_text()
    library = LIBRARY.read_text()

    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() in origin
    (version,) = re.findall(r"echarts@([\d.]+),", origin)
    assert f'version="{version}"' in library
    assert "Apache License" in (ASSETS / "echarts.LICENSE.txt").read_text()
    assert "</script" not in library.lower()
