"""Leaderboard, files and figures of a comparison."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.part import select_part
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import EpochChoice
from lenet_exp.errors import ConfigError
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.comparison_records import records
from lenet_exp.reports.files.comparison_file import write_comparison, write_figures
from lenet_exp.reports.files.comparison_markdown import markdown
from lenet_exp.reports.files.comparison_plots import figures, paper_figure
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.files.plots import png
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import print_comparison
from lenet_exp.reports.terminal.plain import PlainConsole
from lenet_exp.reports.words.next_steps import cautions, notes
from lenet_exp.reports.words.remarks import remark
from lenet_exp.reports.words.run_outcomes import AT_CHANCE, COLLAPSED, at_chance, collapsed
from lenet_exp.reports.words.verdict import verdict
from tests.comparison.made_up import made, many
from tests.tools.records import a_record

SOURCE = RunSource("lenet-train -m 'activation=selu,relu' <b>")
ALL_PICTURES = {"leaderboard", "learning_curves"}


@pytest.fixture
def comparison() -> Comparison:
    """Return a comparison of two flags over three seeds, with a configuration that always
    diverged.
    """
    (comparison,) = compare_runs(
        [
            *many([0.91, 0.92, 0.914], activation="selu", optimizer__lr="0.1"),
            *many([0.90, 0.908, 0.905], activation="relu", optimizer__lr="0.1"),
            *many([0.88, 0.886, 0.881], activation="selu", optimizer__lr="0.01"),
            *many([0.87, 0.88, 0.872], activation="a|b", optimizer__lr="0.01"),
            made(0, 0.1, "diverged", activation="relu", optimizer__lr="0.01"),
        ]
    )
    return comparison


def test_records_contain_every_configuration_with_numeric_values(comparison):
    rows = records(comparison)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["activation"] for row in rows] == ["selu", "relu", "selu", "a|b", "relu"]
    assert [row["optimizer.lr"] for row in rows] == ["0.1", "0.1", "0.01", "0.01", "0.01"]
    assert rows[0]["mean"] == pytest.approx((0.91 + 0.92 + 0.914) / 3)
    assert rows[2]["differs"] is True
    assert rows[2]["behind_low"] > 0
    assert (rows[4]["n"], rows[4]["diverged"], rows[4]["differs"]) == (0, 1, None)
    assert [row["not_excluded"] for row in rows] == [True, False, False, False, False]


def test_terminal_shows_verdict_and_details_on_request(comparison, capsys):
    print_comparison(comparison)
    assert "\nnote: " not in capsys.readouterr().out
    print_comparison(comparison, details=True)
    out = capsys.readouterr().out
    assert re.findall(r"\d+", out.splitlines()[0]) == ["13", "5", "12", "1"]
    assert verdict(comparison) in out
    assert f"\nnote: {notes(comparison)[0]}\n" in out
    assert re.search(r"1 +selu +0.1 +91.47 ± 0.50 +90.22 to 92.72 +3 +2 +1.5", out)
    assert re.search(r"^  optimizer.lr \d+% of the variance", out, re.MULTILINE)


def test_every_report_names_configurations_at_chance(capsys, tmp_path):
    low = a_record(
        outcome=Outcome.finished, best_val_accuracy=0.1, confusion_matrix=[[25] + [0] * 9] * 10
    )
    relu = many([0.1, 0.11, 0.9], activation="relu")
    relu = [replace(run, provenance=low) if run.best < 0.5 else run for run in relu]
    tanh = [replace(run, provenance=low) for run in many([0.1, 0.11], activation="tanh")]
    (comparison,) = compare_runs([*many([0.9, 0.91, 0.9], activation="selu"), *relu, *tanh])
    assert [at_chance(group) for group in comparison.groups] == [
        "",
        "at chance on 2 of 3 seeds",
        "at chance",
    ]
    texts = all_reports(comparison, capsys, tmp_path)
    assert all(at_chance(comparison.groups[1]) in text for text in texts)
    assert all(AT_CHANCE in text for text in texts[:4])


def all_reports(
    comparison: Comparison, capsys: pytest.CaptureFixture[str], folder: Path
) -> list[str]:
    """Return what the terminal, Markdown, LaTeX, the HTML page, and the CSV file say about a
    comparison.
    """
    print_comparison(comparison)
    texts = [capsys.readouterr().out, markdown([comparison], SOURCE), tex([comparison], SOURCE)]
    for ending in ("html", "csv"):
        write_comparison(folder / f"x.{ending}", [comparison], SOURCE)
        texts.append((folder / f"x.{ending}").read_text())
    return texts


def test_every_report_names_runs_that_collapsed_after_best_epoch(capsys, tmp_path):
    selu = many([0.99, 0.991, 0.99], activation="selu")
    selu[0] = replace(selu[0], last=lambda: 0.104)
    tanh = [replace(made(0, 0.98, activation="tanh"), last=lambda: 0.8799)]
    (comparison,) = compare_runs([*selu, *many([0.99, 0.99, 0.9], activation="relu"), *tanh])
    assert [collapsed(group) for group in comparison.groups] == [
        "collapsed on 1 of 3 seeds",
        "collapsed",
        "",
    ]
    texts = all_reports(comparison, capsys, tmp_path)
    assert all(collapsed(comparison.groups[0]) in text for text in texts)
    assert all(COLLAPSED in text for text in texts[:4])


@pytest.mark.parametrize(
    ("last", "metric", "expected"),
    [
        (0.88, Metric(), True),
        (0.89, Metric(), False),
        (None, Metric(), False),
        (0.88, Metric("macro_f1", percent=True), True),
        (0.1, Metric("score", percent=False), False),
        (1.5, Metric("loss", larger=False, percent=False), False),
    ],
)
def test_collapse_is_a_fall_of_more_than_10_points(last, metric, expected):
    assert replace(made(0, 0.985), last=lambda: last, metric=metric).collapsed == expected


def test_comparison_of_optimizers_with_one_rate_each_names_fair_command():
    sgd = many([0.9, 0.91, 0.92], optimizer="sgd", optimizer__lr="0.01")
    adam = many([0.93, 0.94, 0.95], optimizer="adam", optimizer__lr="0.001")
    other = many([0.93, 0.94, 0.95], optimizer="adam", optimizer__lr="0.01")
    (single,) = compare_runs([*sgd, *adam])
    assert any(
        "optimizer.lr=" in note and "best_per=optimizer" in note for note in cautions(single)
    )
    (several,) = compare_runs([*sgd, *adam, *other])
    (one,) = compare_runs([*adam, *other])
    (best,) = select_part([several], None, "optimizer")
    assert not any("best_per" in note for found in (several, one, best) for note in cautions(found))


def test_pruned_run_shows_epochs_and_accuracy_or_count_of_pruned_runs(capsys):
    one = replace(made(0, 0.881, "pruned", activation="relu"), epochs=2)
    (comparison,) = compare_runs([*many([0.9, 0.91], activation="selu"), one])
    print_comparison(comparison)
    text = remark(comparison, 1)
    assert re.findall(r"[\d.]+", text) == ["2", "88.10"]
    assert text in capsys.readouterr().out
    assert text == records(comparison)[1]["verdict"]
    (comparison,) = compare_runs(
        [*many([0.9, 0.91], activation="selu"), one, made(1, 0.88, "pruned", activation="relu")]
    )
    assert remark(comparison, 1) == "2 pruned"


def test_narrow_terminal_omits_less_important_columns(comparison, capsys, monkeypatch):
    monkeypatch.setattr(
        "lenet_exp.reports.terminal.leaderboard.wide_console", lambda: PlainConsole(80)
    )
    print_comparison(
        compare_runs(
            [run for group in comparison.groups for run in group.runs], by=EpochChoice.last
        )[0]
    )
    assert "last val" in capsys.readouterr().out
    print_comparison(comparison)
    lines = capsys.readouterr().out.split(verdict(comparison))[0].splitlines()
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if "activation" in line)
    assert "best val" in head
    assert "seconds" not in head
    assert "91.47 ± 0.50" in "\n".join(lines)


def test_csv_and_json_have_one_row_per_configuration_without_nan(comparison, tmp_path):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for ending in ("csv", "json"):
        write_comparison(tmp_path / f"x.{ending}", [comparison], SOURCE)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert len(rows) == 5
    assert float(rows[0]["mean"]) == records(comparison)[0]["mean"]
    assert (rows[4]["mean"], rows[4]["diverged"]) == ("", "1")
    (found,) = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert (found["verdict"], found["notes"]) == (verdict(comparison), notes(comparison))
    assert found["groups"][4]["mean"] is None
    assert {e["flag"] for e in found["effects"]} == {"activation", "optimizer.lr"}


def test_sizes_of_networks_are_shown_if_different(capsys):
    small, large = (
        many([0.97, 0.975, 0.98], model__width="0.5"),
        many([0.98, 0.985, 0.99], model__width="1.0"),
    )
    runs = [replace(run, size={"parameters": 16_111, "multiply_adds": 100}) for run in small]
    (comparison,) = compare_runs(
        [
            *runs,
            *(replace(run, size={"parameters": 61_706, "multiply_adds": 416_520}) for run in large),
        ]
    )
    print_comparison(comparison)
    assert re.search(r"1 +1 .* 3 +2 +1.5 +61,706 +416,520", capsys.readouterr().out)
    assert [(row["parameters"], row["multiply_adds"]) for row in records(comparison)] == [
        (61_706, 416_520),
        (16_111, 100),
    ]
    assert "& 3 & 61,706 &" in tex([comparison], SOURCE)
    assert "| 61,706 | 416,520 |" in markdown([comparison], SOURCE)
    drawn = figures(comparison)
    assert set(drawn) == ALL_PICTURES | {"accuracy_versus_parameters"}
    (axes,) = drawn["accuracy_versus_parameters"].axes
    points = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert [list(point) for point in points] == [
        [61_706, pytest.approx(0.985)],
        [16_111, pytest.approx(0.975)],
    ]
    assert png(drawn["accuracy_versus_parameters"])
    same = compare_runs([replace(run, size={"parameters": 10}) for run in (*small, *large)])[0]
    assert not same.sizes_differ


def test_figures_without_data_are_omitted():
    (curveless,) = compare_runs([replace(made(0, 0.9), curve=list)])
    assert set(figures(curveless)) == {"leaderboard"}
    (none,) = compare_runs([made(0, None, "failed")])
    assert figures(none) == {}


def test_figures_with_hundreds_of_configurations_stay_small():
    runs = [
        made(0, 0.5 + i / 1000, optimizer__lr=str(i / 1000), activation=a)
        for i in range(1, 76)
        for a in "ab"
    ]
    (comparison,) = compare_runs(runs)
    drawn = figures(comparison)
    assert set(drawn) == ALL_PICTURES
    assert all(figure.get_size_inches()[1] < 14 for figure in drawn.values())


def test_paper_figures_are_one_column_wide_vector_graphics(comparison, tmp_path):
    written = [
        write_figures(tmp_path / f"{kind}.svg", [comparison], kind)[0]
        for kind in ("leaderboard", "curves")
    ]
    assert len({path.read_text() for path in written}) == 2
    for path in written:
        assert float(
            re.search(r'<svg[^>]* width="([\d.]+)pt"', path.read_text()).group(1)
        ) == pytest.approx(3.4 * 72)
    figure = paper_figure(comparison, "leaderboard")
    assert {text.get_fontsize() for text in figure.axes[0].get_yticklabels()} == {7.5}
    (wide,) = write_figures(tmp_path / "x.png", [comparison], "leaderboard", cm=17)
    assert Image.open(wide).width == pytest.approx(17 / 2.54 * 300, abs=1)
    both = write_figures(
        tmp_path / "x.pdf", [comparison, replace(comparison, dataset="kmnist")], "curves"
    )
    assert [path.name for path in both] == ["x_mnist.pdf", "x_kmnist.pdf"]
    assert both[0].read_bytes().startswith(b"%PDF")
    for kind, expected in (("curvs", "curves"), ("history", "history")):
        with pytest.raises(ConfigError, match=expected):
            write_figures(tmp_path / "none.pdf", [comparison], kind)
    assert not (tmp_path / "none.pdf").exists()


def grid(*lrs: str) -> Comparison:
    """Return a comparison of two activations with these learning rates, over four seeds."""
    random, runs = Random(0), []
    for lr, name in product(lrs, ("selu", "relu")):
        runs += many(
            [0.9 + random.gauss(0, 0.01) for _ in range(4)], optimizer__lr=lr, activation=name
        )
    return compare_runs(runs, ["activation", "optimizer.lr"])[0]


def test_interaction_figure_shows_the_flags_in_the_given_order():
    comparison = grid("0.01", "0.1")
    means = dict(
        zip(
            comparison.interactions.pairs[0].levels[0],
            comparison.interactions.pairs[0].means,
            strict=True,
        )
    )
    (axes,) = paper_figure(comparison, "interaction", flags=["optimizer.lr", "activation"]).axes
    lines = {container.get_label(): container[0].get_ydata() for container in axes.containers}
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert {
        (name, lr): y for lr, line in lines.items() for name, y in zip(names, line, strict=True)
    } == {
        (name, lr): y
        for name, line in means.items()
        for lr, y in zip(["0.01", "0.1"], line, strict=True)
    }
    with pytest.raises(ConfigError, match=r"activation,optimizer\.lr"):
        paper_figure(comparison, "interaction", flags=["activation", "batch_size"])


def test_numeric_axis_of_interaction_is_spaced_by_value():
    (axes,) = paper_figure(grid("0.01", "0.02", "0.1"), "interaction").axes
    assert list(axes.get_xticks()) == [0.01, 0.02, 0.1]


def test_curves_of_many_configurations_are_gray_except_the_best():
    runs = [
        run
        for i in range(8)
        for run in many([0.9 - i / 100, 0.901 - i / 100], optimizer__lr=str(1 + i))
    ]
    (axes,) = paper_figure(compare_runs(runs)[0], "curves").axes
    colors = [line.get_color() for line in axes.lines if len(line.get_xdata()) > 1]
    assert colors.count("#8b93a1") == 4
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()][-1] == "others"


def test_curves_figure_omits_gray_configurations_without_curves():
    accuracies = {str(1 + i): 0.9 - i / 100 for i in range(8)}
    runs = [made(0, accuracy, optimizer__lr=lr) for lr, accuracy in accuracies.items()]
    runs[5] = replace(runs[5], curve=list)
    (axes,) = paper_figure(compare_runs(runs)[0], "curves").axes
    colors = [line.get_color() for line in axes.lines if len(line.get_xdata()) > 1]
    assert colors.count("#8b93a1") == 3


def test_parameters_figure_has_pareto_front_and_requires_several_sizes():
    sizes = {
        "0.25": (4_157, 0.95),
        "0.5": (15_738, 0.97),
        "1.0": (61_706, 0.96),
        "2.0": (244_362, 0.98),
    }
    runs = [
        replace(run, size={"parameters": n})
        for width, (n, reached) in sizes.items()
        for run in many([reached, reached], model__width=width)
    ]
    (axes,) = paper_figure(compare_runs(runs)[0], "parameters").axes
    (front,) = (line for line in axes.lines if line.get_color() == "#8b93a1")
    assert list(front.get_xdata()) == [4_157, 15_738, 244_362]
    (same,) = compare_runs([replace(run, size={"parameters": 1000}) for run in runs])
    with pytest.raises(ConfigError, match="same number of parameters"):
        paper_figure(same, "parameters")


def test_leaderboard_figure_grays_configurations_that_cannot_be_best(comparison):
    (axes,) = paper_figure(comparison, "leaderboard").axes
    dots = {
        line.get_ydata()[0]: line.get_color() for line in axes.lines if line.get_marker() == "o"
    }
    bars = {
        line.get_ydata()[0]: line.get_color() for line in axes.lines if line.get_marker() == "None"
    }
    assert dots == bars == {0: "#2563eb", 1: "#8b93a1", 2: "#8b93a1", 3: "#8b93a1"}
    for figure in (paper_figure(comparison, "leaderboard"), figures(comparison)["leaderboard"]):
        (legend,) = figure.legends
        labels = [text.get_text() for text in legend.get_texts()]
        colors = [handle.get_color() for handle in legend.legend_handles]
        assert dict(zip(labels, colors, strict=True)) == {
            "could be the best": "#2563eb",
            "other": "#8b93a1",
        }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("leaderboard", ["12.00%", "11.00%"]),
        ("interaction", ["12.00%", "11.00%"]),
        ("curves", ["11.00%", "10.00%"]),
        ("parameters", ["selu lr=0.1 12.00%", "relu lr=0.1 11.00%"]),
    ],
)
def test_figures_mark_means_beyond_axis_with_arrow_and_value(kind, expected):
    noise = cycle([0.001, -0.001, 0, -0.002, 0.001, 0.001, 0, 0.001, -0.001])
    means = {"0.01": (0.97, 0.96), "0.02": (0.98, 0.965), "0.1": (0.12, 0.11)}
    runs = [
        replace(run, size={"parameters": 1000 + 100 * (name == "relu")})
        for lr, reached in means.items()
        for name, mean in zip(("selu", "relu"), reached, strict=True)
        for run in many([mean + next(noise) for _ in range(3)], optimizer__lr=lr, activation=name)
    ]
    (axes,) = paper_figure(compare_runs(runs, ["activation", "optimizer.lr"])[0], kind).axes
    arrows = [
        line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() in ("<", "v")
    ]
    assert sorted(text.get_text() for text in axes.texts if "%" in text.get_text()) == sorted(
        expected
    )
    low, along = (axes.get_xlim()[0], 0) if kind == "leaderboard" else (axes.get_ylim()[0], 1)
    assert [arrow[along] for arrow in arrows] == [low, low]


def test_labels_in_parameters_figure_do_not_overlap():
    sizes = {"0.25": 4_157, "0.5": 15_738, "1.0": 61_706, "2.0": 244_362}
    of_width = {width: many([0.98, 0.982], model__width=width) for width in sizes}
    runs = [
        replace(run, size={"parameters": sizes[width]})
        for width in sizes
        for run in of_width[width]
    ]
    figure = paper_figure(compare_runs(runs)[0], "parameters")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [
        "width=0.25",
        "width=0.5",
        "width=1",
        "width=2",
    ]
    assert [box.count_overlaps(boxes) for box in boxes] == [1] * 4  # each overlaps only itself
    assert all(axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1 for box in boxes)


def test_interaction_figure_has_line_per_value_of_first_flag():
    comparison = grid("0.01", "0.1")
    figure = paper_figure(comparison, "interaction")
    (axes,), (legend,) = figure.axes, figure.legends
    assert legend.get_title().get_text() == "activation"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1"]
    # bars do not overlap
    assert [*np.diff([container[0].get_xdata()[0] for container in axes.containers])] != [0]
    lines = {container.get_label(): list(container[0].get_ydata()) for container in axes.containers}
    assert lines == {
        row: pytest.approx(list(means))
        for row, means in zip(
            comparison.interactions.pairs[0].levels[0],
            comparison.interactions.pairs[0].means,
            strict=True,
        )
    }
