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
from lenet_exp.comparison.runs import Provenance
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
        *[
            made(
                seed,
                0.1,
                "diverged" if seed else "finished",
                activation="relu",
                optimizer__lr="0.01",
            )
            for seed in (0, 1)
        ],
        made(0, None, "failed", activation="relu", optimizer__lr="0.001"),
        made(0, 0.5, activation="tanh", optimizer__lr="0.001"),
    ]
    runs = [
        replace(run, mlflow_runs=lambda n=n: {SERVER: f"{n:032x}"}) for n, run in enumerate(runs)
    ]
    (comparison,) = compare_runs(runs, ["activation", "optimizer.lr"])
    return comparison


def written(comparison: Comparison, path: Path, source: RunSource = SOURCE) -> Page:
    write_comparison(path, [comparison], source)
    return page(path)


def test_page_and_terminal_have_same_rows(comparison, capsys, tmp_path):
    print_comparison(comparison, details=True)
    printed = capsys.readouterr().out
    head, *rows = written(comparison, tmp_path / "x.html").rows
    assert head == [column.title for column in columns(comparison)]
    table_columns = columns(comparison)
    assert rows == [
        [column.text(comparison, n) for column in table_columns]
        for n in range(len(comparison.groups))
    ]
    for row in rows:
        line = next(text for text in printed.splitlines() if text.split()[:1] == row[:1])
        assert all(cell in line for cell in row)


def test_charts_and_terminal_show_same_values(comparison, capsys, tmp_path):
    print_comparison(comparison, details=True)
    printed = capsys.readouterr().out
    read = written(comparison, tmp_path / "x.html")
    (data,) = data_of(read)["comparisons"]
    for group, shown in zip(comparison.groups, data["groups"], strict=True):
        assert shown["accuracy"] in printed
        assert shown["interval"] in printed
        assert shown["mean"] == (group.mean if group.n else None)
    for effect in data["effects"]:
        line = next(
            text for text in printed.splitlines() if text.startswith(f"  {effect['flag']} ")
        )
        assert f" {effect['share']} " in line
        assert all(f"{level['value']} {level['said']}" in line for level in effect["levels"])
    told = (verdict(comparison), next_step(comparison), *best_lines(comparison), *notes(comparison))
    for text in (*told, *effect_lines(comparison)):
        assert text[1:] in read.text
        assert text in printed


def test_charts_mark_diverged_and_failed_configurations(comparison, tmp_path):
    (data,) = data_of(written(comparison, tmp_path / "x.html"))["comparisons"]
    states = {group["name"]: group for group in data["groups"] if group["state"]}
    assert set(states) == {"relu lr=0.01", "relu lr=0.001"}
    torn = states["relu lr=0.01"]
    assert len(torn["curves"]) == 1  # the curve of the finished run
    assert [run["outcome"] for run in torn["runs"]] == ["finished", "diverged"]
    assert "1 diverged" in torn["state"]
    assert re.findall(r"\d|diverged", torn["remark"])[:3] == ["diverged", "1", "2"]


def test_page_links_only_to_runs_and_allows_no_other_scripts(comparison, tmp_path):
    read = written(comparison, tmp_path / "x.html")
    best = [max(group.finished, key=lambda run: run.best) for group in comparison.groups if group.n]
    wanted = [f"{SERVER}/#/runs/{run.mlflow_runs()[SERVER]}" for run in best]
    assert read.addresses == wanted
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    (policy,) = (v for k, v in read.attributes if k == "content" and "script-src" in v)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.partition("script-src")[2]
    assert policy.count("'sha256-") == 2


def test_page_shows_provenance_of_runs(tmp_path):
    def provenance(torch: str) -> Provenance:
        execution = {
            "engine": "native",
            "device": "cpu",
            "num_threads": 1,
            "device_model": "EPYC <9>",
        }
        git = {"git_commit": "c" * 40, "git_dirty": "true"}
        versions = {"lenet_exp": "0.2", "torch": torch}
        digests = {"train": "d" * 64, "validation": "e" * 64}
        return Provenance(digests, execution, versions, git, "node7")

    runs = [
        *many([0.9, 0.92], batch_size="64"),
        *many([0.8, 0.81], batch_size="64", activation="relu"),
    ]
    runs = [
        replace(run, id=f"id{n}", provenance=provenance(f"2.{n // 2}"))
        for n, run in enumerate(runs)
    ]
    (comparison,) = compare_runs(runs)
    made = facts(comparison)
    assert made["SHA-256"] == f"train {'d' * 64}; validation {'e' * 64}"
    assert made["Versions"] == "lenet_exp 0.2, torch 2.0; lenet_exp 0.2, torch 2.1"
    assert made["Engine"] == "native, cpu, 1 thread"
    assert (made["Epochs"], made["Batch size"], made["Split seed"], made["Seed"]) == (
        "3",
        "64",
        "0",
        "0; 1",
    )
    text = written(comparison, tmp_path / "x.html").text
    for told in (*made.values(), COMMAND, "lenet-reproduce run=id1", "c" * 40, "node7, EPYC <9>"):
        assert told in text
    stored = [replace(run, mlflow_runs=lambda: {SERVER: "b" * 32}) for run in runs]
    read = written(*compare_runs(stored), tmp_path / "x.html", RunSource("filter", store=SERVER))
    assert f"run={'b' * 32}" in read.text


def test_inseparable_effects_are_not_drawn(comparison, tmp_path):
    runs = [
        *many([0.9, 0.91], optimizer__lr="0.1"),
        *many([0.8, 0.82], activation="relu", optimizer__lr="0.2"),
    ]
    for found, drawn in ((comparison, 2), (*compare_runs(runs), 0)):
        (data,) = data_of(written(found, tmp_path / "x.html"))["comparisons"]
        assert len(data["effects"]) == drawn


def test_page_shows_two_datasets(comparison, tmp_path):
    runs = [
        made(seed, 0.9, dataset="digits", activation=a)
        for a in ("relu", "selu")
        for seed in range(2)
    ]
    write_comparison(tmp_path / "x.html", [comparison, *compare_runs(runs)], SOURCE)
    read = page(tmp_path / "x.html")
    assert [found["dataset"] for found in data_of(read)["comparisons"]] == ["mnist", "digits"]
    assert read.tags.count("table") == 2
    assert len(read.ids) == len(set(read.ids))


def test_next_command_is_complete():
    """tests/comparison/test_compare.py tests which step is next."""
    close = [*many([0.91, 0.92, 0.914]), *many([0.912, 0.914, 0.919], activation="relu")]
    single = [made(3, 0.9), made(3, 0.8, activation="relu")]

    def typed(runs, command=COMMAND, **design):
        (comparison,) = compare_runs(
            runs, design=Design(len(runs), 0, **design) if design else None
        )
        return next_command(comparison, command)

    assert typed(close, None, sweep="ab12") is None
    assert typed(close) is None  # without exactly one sweep, there is nothing to confirm
    assert typed([*close, made(3, None, "failed", activation="tanh")]) == COMMAND
    fresh = shlex.split(typed(single))
    assert (fresh[0], [word for word in fresh if "seed" in word]) == (
        "lenet-train",
        ["seed=range(4,9)"],
    )
    assert shlex.split(typed(single, can_add_seeds=True))[-1] == "seeds=5"
    assert typed(single, has_trials=True) is None  # a search with another objective takes no seeds


def test_markdown_report_renders_as_table_and_is_truncated(comparison, tmp_path):
    write_comparison(tmp_path / "x.md", [comparison], SOURCE)
    text = (tmp_path / "x.md").read_text()
    assert text.startswith(f"**{verdict(comparison)}**\n")
    # as source, and as next command, which trains the missing run
    assert text.count(f"`{COMMAND}`") == 2
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert rendered.count("<tr>") == 1 + len(comparison.groups)
    (many_groups,) = compare_runs(
        [made(0, 0.5 + i / 1000, optimizer__lr=str(i)) for i in range(1, 40)]
    )
    write_comparison(tmp_path / "y.md", [many_groups], SOURCE)
    text = (tmp_path / "y.md").read_text()
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 12
    assert "\n29 more" in text


def test_latex_table_uses_booktabs_and_bold_for_possible_winners(comparison, tmp_path):
    write_comparison(tmp_path / "x.tex", [comparison], SOURCE)
    text = (tmp_path / "x.tex").read_text()
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    assert f"% {verdict(comparison)}\n" in text
    assert r"\label{tab:mnist}" in text
    rows = [line.strip() for line in text.splitlines() if line.endswith(r" \\")]
    assert rows[0].startswith("activation & lr & ")
    bold = [row for row in rows if r"\textbf" in row]
    assert len(bold) == len(comparison.not_excluded)
    assert bold[0] == r"selu & 0.1 & \textbf{91.88 $\pm$ 0.66} & 90.23 to 93.52 & 3 & - \\"
    assert rows[-1] == r"relu & 0.001 & 1 failed & - & 0 & - \\"
    leads = [
        f"{lead.points * 100:+.2f} ("
        for lead in comparison.leads
        if lead is not None and lead.n > 1
    ]
    assert [row for row, lead in zip(rows[2:], leads, strict=False) if lead not in row] == []
    assert rows[-2].startswith("relu & 0.01 & 10.00 (diverged ")
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def test_latex_table_has_only_the_chosen_columns(comparison, tmp_path):
    write_comparison(tmp_path / "x.tex", [comparison], SOURCE, ["n", "accuracy"])
    text = (tmp_path / "x.tex").read_text()
    assert r"activation & lr & $n$ & accuracy, \% \\" in text
    assert "interval" not in text
    with pytest.raises(ConfigError, match="accuracy"):
        write_comparison(tmp_path / "y.tex", [comparison], SOURCE, ["acuracy"])


def test_every_format_shows_available_test_results(comparison, capsys, tmp_path):
    runs = [run for group in comparison.groups for run in group.runs]
    tested = {"selu 0.1": {0: 0.92, 1: 0.9, 2: 0.91}, "relu 0.1": {0: 0.91, 1: 0.9}}
    names = [f"{run.flags['activation']} {run.flags['optimizer.lr']}" for run in runs]
    runs = [
        found
        for run, name in zip(runs, names, strict=True)
        for found in scored([run], tested.get(name, {}))
    ]
    (found,) = compare_runs(runs, ["activation", "optimizer.lr"])
    shown = ["91.00 ± 1.00 (n = 3)", "-", "90.50 ± 0.71 (n = 2); lead +0.50 (-5.85 to +6.85)"]
    assert [on_test(found, n) for n in range(3)] == shown
    read = written(found, tmp_path / "x.html")
    head, *rows = read.rows
    assert [row[head.index("test, %")] for row in rows][:3] == shown
    (data,) = data_of(read)["comparisons"]
    assert [group["test"] for group in data["groups"]][:3] == pytest.approx([0.91, None, 0.905])
    print_comparison(found)
    assert shown[2] in " ".join(capsys.readouterr().out.split())
    for ending in ("md", "tex", "json"):
        write_comparison(tmp_path / f"x.{ending}", [found], SOURCE)
    assert f"| {shown[2]} |" in (tmp_path / "x.md").read_text()
    text = (tmp_path / "x.tex").read_text()
    assert r"& 90.50 $\pm$ 0.71 (n = 2) & +0.50 ($-$5.85 to +6.85) \\" in text
    groups = json.loads((tmp_path / "x.json").read_text())[0]["groups"]
    assert [(g["test_n"], g["test_mean"]) for g in groups][:2] == [
        (3, pytest.approx(0.91)),
        (0, None),
    ]
    assert groups[2]["test_behind_low"] == found.test_leads[2].low


def test_bundled_echarts_matches_documented_release():
    named = (ASSETS / "ORIGIN.txt").read_text()
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() in named
    (version,) = re.findall(r"echarts@([\d.]+),", named)
    assert f'version="{version}"' in LIBRARY.read_text()
    assert "Apache License" in (ASSETS / "echarts.LICENSE.txt").read_text()
    assert "</script" not in LIBRARY.read_text().lower()
