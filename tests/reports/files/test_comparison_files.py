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
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
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
BLUE = "#2563eb"  # a configuration that could be the best
GRAY = "#8b93a1"


@pytest.fixture
def comparison() -> Comparison:
    """Return a comparison of two flags over three seeds, with a configuration that always
    diverged.
    """
    runs = [
        *many([0.91, 0.92, 0.914], activation="selu", optimizer__lr="0.1"),
        *many([0.90, 0.908, 0.905], activation="relu", optimizer__lr="0.1"),
        *many([0.88, 0.886, 0.881], activation="selu", optimizer__lr="0.01"),
        *many([0.87, 0.88, 0.872], activation="a|b", optimizer__lr="0.01"),
        made(0, 0.1, "diverged", activation="relu", optimizer__lr="0.01"),
    ]
    (comparison,) = compare_runs(runs)
    return comparison


def test_records_contain_every_configuration_with_numeric_values(comparison):
    rows = records(comparison)

    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["activation"] for row in rows] == ["selu", "relu", "selu", "a|b", "relu"]
    assert [row["optimizer.lr"] for row in rows] == ["0.1", "0.1", "0.01", "0.01", "0.01"]
    assert rows[0]["mean"] == pytest.approx((0.91 + 0.92 + 0.914) / 3)
    assert rows[2]["differs"] is True
    assert rows[2]["behind_low"] > 0
    assert rows[4]["n"] == 0
    assert rows[4]["diverged"] == 1
    assert rows[4]["differs"] is None
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
    only_class_0 = [[25] + [0] * 9] * 10
    record_at_chance = a_record(
        outcome=Outcome.finished, best_val_accuracy=0.1, confusion_matrix=only_class_0
    )
    selu = many([0.9, 0.91, 0.9], activation="selu")
    relu = many([0.1, 0.11, 0.9], activation="relu")
    relu[0] = replace(relu[0], provenance=record_at_chance)
    relu[1] = replace(relu[1], provenance=record_at_chance)
    tanh = many([0.1, 0.11], activation="tanh")
    tanh = [replace(run, provenance=record_at_chance) for run in tanh]

    (comparison,) = compare_runs([*selu, *relu, *tanh])
    texts = all_reports(comparison, capsys, tmp_path)

    assert [at_chance(group) for group in comparison.groups] == [
        "",
        "at chance on 2 of 3 seeds",
        "at chance",
    ]
    for text in texts:
        assert at_chance(comparison.groups[1]) in text
    for text in texts[:4]:
        assert AT_CHANCE in text


def all_reports(
    comparison: Comparison, capsys: pytest.CaptureFixture[str], folder: Path
) -> list[str]:
    """Return what the terminal, Markdown, LaTeX, the HTML page, and the CSV file say about a
    comparison.
    """
    print_comparison(comparison)
    texts = [capsys.readouterr().out, markdown([comparison], SOURCE), tex([comparison], SOURCE)]
    for ending in ("html", "csv"):
        path = folder / f"x.{ending}"
        write_comparison(path, [comparison], SOURCE)
        texts.append(path.read_text())
    return texts


def test_every_report_names_runs_that_collapsed_after_best_epoch(capsys, tmp_path):
    selu = many([0.99, 0.991, 0.99], activation="selu")
    selu[0] = replace(selu[0], last=lambda: 0.104)
    tanh = replace(made(0, 0.98, activation="tanh"), last=lambda: 0.8799)
    relu = many([0.99, 0.99, 0.9], activation="relu")

    (comparison,) = compare_runs([*selu, *relu, tanh])
    texts = all_reports(comparison, capsys, tmp_path)

    assert [collapsed(group) for group in comparison.groups] == [
        "collapsed on 1 of 3 seeds",
        "collapsed",
        "",
    ]
    for text in texts:
        assert collapsed(comparison.groups[0]) in text
    for text in texts[:4]:
        assert COLLAPSED in text


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
    adam_faster = many([0.93, 0.94, 0.95], optimizer="adam", optimizer__lr="0.01")

    (one_rate_each,) = compare_runs([*sgd, *adam])
    (several_rates,) = compare_runs([*sgd, *adam, *adam_faster])
    (one_optimizer,) = compare_runs([*adam, *adam_faster])
    (best_per_optimizer,) = select_part([several_rates], None, "optimizer")

    assert any(
        "optimizer.lr=" in note and "best_per=optimizer" in note for note in cautions(one_rate_each)
    )
    for fair in (several_rates, one_optimizer, best_per_optimizer):
        assert not any("best_per" in note for note in cautions(fair))


def test_pruned_run_shows_epochs_and_accuracy_or_count_of_pruned_runs(capsys):
    selu = many([0.9, 0.91], activation="selu")
    pruned = replace(made(0, 0.881, "pruned", activation="relu"), epochs=2)
    second_pruned = made(1, 0.88, "pruned", activation="relu")

    (comparison,) = compare_runs([*selu, pruned])
    print_comparison(comparison)
    text = remark(comparison, 1)
    assert re.findall(r"[\d.]+", text) == ["2", "88.10"]
    assert text in capsys.readouterr().out
    assert text == records(comparison)[1]["verdict"]

    (comparison,) = compare_runs([*selu, pruned, second_pruned])
    assert remark(comparison, 1) == "2 pruned"


def test_narrow_terminal_omits_less_important_columns(comparison, capsys, monkeypatch):
    monkeypatch.setattr(
        "lenet_exp.reports.terminal.leaderboard.wide_console", lambda: PlainConsole(80)
    )
    runs = [run for group in comparison.groups for run in group.runs]
    (by_last_epoch,) = compare_runs(runs, by=EpochChoice.last)

    print_comparison(by_last_epoch)
    assert "last val" in capsys.readouterr().out

    print_comparison(comparison)
    above_verdict = capsys.readouterr().out.split(verdict(comparison))[0]
    lines = above_verdict.splitlines()
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
    csv_text = (tmp_path / "x.csv").read_text()
    json_text = (tmp_path / "x.json").read_text()

    rows = list(csv.DictReader(io.StringIO(csv_text)))
    assert len(rows) == 5
    assert float(rows[0]["mean"]) == records(comparison)[0]["mean"]
    assert rows[4]["mean"] == ""
    assert rows[4]["diverged"] == "1"

    (in_json,) = json.loads(json_text, parse_constant=refuse)
    assert in_json["verdict"] == verdict(comparison)
    assert in_json["notes"] == notes(comparison)
    assert in_json["groups"][4]["mean"] is None
    assert {effect["flag"] for effect in in_json["effects"]} == {"activation", "optimizer.lr"}


def test_sizes_of_networks_are_shown_if_different(capsys):
    narrow = many([0.97, 0.975, 0.98], model__width="0.5")
    wide = many([0.98, 0.985, 0.99], model__width="1.0")
    narrow_size = {"parameters": 16_111, "multiply_adds": 100}
    wide_size = {"parameters": 61_706, "multiply_adds": 416_520}
    narrow_sized = [replace(run, size=narrow_size) for run in narrow]
    wide_sized = [replace(run, size=wide_size) for run in wide]
    equal_sized = [replace(run, size={"parameters": 10}) for run in (*narrow, *wide)]

    (comparison,) = compare_runs([*narrow_sized, *wide_sized])
    (of_equal_size,) = compare_runs(equal_sized)

    print_comparison(comparison)
    assert re.search(r"1 +1 .* 3 +2 +1.5 +61,706 +416,520", capsys.readouterr().out)
    rows = records(comparison)
    assert [row["parameters"] for row in rows] == [61_706, 16_111]
    assert [row["multiply_adds"] for row in rows] == [416_520, 100]
    assert "& 3 & 61,706 &" in tex([comparison], SOURCE)
    assert "| 61,706 | 416,520 |" in markdown([comparison], SOURCE)

    pictures = figures(comparison)
    assert set(pictures) == ALL_PICTURES | {"accuracy_versus_parameters"}
    (axes,) = pictures["accuracy_versus_parameters"].axes
    points = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert [list(point) for point in points] == [
        [61_706, pytest.approx(0.985)],
        [16_111, pytest.approx(0.975)],
    ]
    assert png(pictures["accuracy_versus_parameters"])

    assert not of_equal_size.sizes_differ


def test_figures_without_data_are_omitted():
    (curveless,) = compare_runs([replace(made(0, 0.9), curve=list)])
    (failed,) = compare_runs([made(0, None, "failed")])

    assert set(figures(curveless)) == {"leaderboard"}
    assert figures(failed) == {}


def test_figures_with_hundreds_of_configurations_stay_small():
    runs = []
    for i in range(1, 76):
        for activation in "ab":
            accuracy = 0.5 + i / 1000
            runs.append(made(0, accuracy, optimizer__lr=str(i / 1000), activation=activation))

    (comparison,) = compare_runs(runs)
    pictures = figures(comparison)

    assert set(pictures) == ALL_PICTURES
    for figure in pictures.values():
        assert figure.get_size_inches()[1] < 14


def test_paper_figures_are_one_column_wide_vector_graphics(comparison, tmp_path):
    (leaderboard_svg,) = write_figures(tmp_path / "leaderboard.svg", [comparison], "leaderboard")
    (curves_svg,) = write_figures(tmp_path / "curves.svg", [comparison], "curves")
    assert leaderboard_svg.read_text() != curves_svg.read_text()
    for path in (leaderboard_svg, curves_svg):
        width = re.search(r'<svg[^>]* width="([\d.]+)pt"', path.read_text()).group(1)
        assert float(width) == pytest.approx(3.4 * 72)

    figure = paper_figure(comparison, "leaderboard")
    assert {text.get_fontsize() for text in figure.axes[0].get_yticklabels()} == {7.5}

    (wide,) = write_figures(tmp_path / "x.png", [comparison], "leaderboard", cm=17)
    assert Image.open(wide).width == pytest.approx(17 / 2.54 * 300, abs=1)

    on_kmnist = replace(comparison, dataset="kmnist")
    of_both = write_figures(tmp_path / "x.pdf", [comparison, on_kmnist], "curves")
    assert [path.name for path in of_both] == ["x_mnist.pdf", "x_kmnist.pdf"]
    assert of_both[0].read_bytes().startswith(b"%PDF")

    for kind, expected in (("curvs", "curves"), ("history", "history")):
        with pytest.raises(ConfigError, match=expected):
            write_figures(tmp_path / "none.pdf", [comparison], kind)
    assert not (tmp_path / "none.pdf").exists()


def grid(*lrs: str) -> Comparison:
    """Return a comparison of two activations with these learning rates, over four seeds."""
    random = Random(0)
    runs = []
    for lr, name in product(lrs, ("selu", "relu")):
        accuracies = [0.9 + random.gauss(0, 0.01) for _ in range(4)]
        runs += many(accuracies, optimizer__lr=lr, activation=name)
    (comparison,) = compare_runs(runs, ["activation", "optimizer.lr"])
    return comparison


def test_interaction_figure_shows_the_flags_in_the_given_order():
    comparison = grid("0.01", "0.1")
    pair = comparison.interactions.pairs[0]
    expected = {}
    for activation, means in zip(pair.levels[0], pair.means, strict=True):
        for lr, mean in zip(["0.01", "0.1"], means, strict=True):
            expected[activation, lr] = mean

    (axes,) = paper_figure(comparison, "interaction", flags=["optimizer.lr", "activation"]).axes

    activations = [label.get_text() for label in axes.get_xticklabels()]
    drawn = {}
    for container in axes.containers:
        lr = container.get_label()
        heights = container[0].get_ydata()
        for activation, height in zip(activations, heights, strict=True):
            drawn[activation, lr] = height
    assert drawn == expected
    with pytest.raises(ConfigError, match=r"activation,optimizer\.lr"):
        paper_figure(comparison, "interaction", flags=["activation", "batch_size"])


def test_numeric_axis_of_interaction_is_spaced_by_value():
    (axes,) = paper_figure(grid("0.01", "0.02", "0.1"), "interaction").axes

    assert list(axes.get_xticks()) == [0.01, 0.02, 0.1]


def test_curves_of_many_configurations_are_gray_except_the_best():
    runs = []
    for i in range(8):
        runs += many([0.9 - i / 100, 0.901 - i / 100], optimizer__lr=str(1 + i))

    (axes,) = paper_figure(compare_runs(runs)[0], "curves").axes

    assert colors_of_curves(axes).count(GRAY) == 4
    legend = axes.figure.legends[0]
    assert legend.get_texts()[-1].get_text() == "others"


def colors_of_curves(axes: Axes) -> list[Any]:
    return [line.get_color() for line in axes.lines if len(line.get_xdata()) > 1]


def test_curves_figure_omits_gray_configurations_without_curves():
    runs = [made(0, 0.9 - i / 100, optimizer__lr=str(1 + i)) for i in range(8)]
    runs[5] = replace(runs[5], curve=list)

    (axes,) = paper_figure(compare_runs(runs)[0], "curves").axes

    assert colors_of_curves(axes).count(GRAY) == 3


def test_parameters_figure_has_pareto_front_and_requires_several_sizes():
    networks = [
        ("0.25", 4_157, 0.95),
        ("0.5", 15_738, 0.97),
        ("1.0", 61_706, 0.96),
        ("2.0", 244_362, 0.98),
    ]
    runs = []
    for width, parameters, accuracy in networks:
        for run in many([accuracy, accuracy], model__width=width):
            runs.append(replace(run, size={"parameters": parameters}))
    equal_sized = [replace(run, size={"parameters": 1000}) for run in runs]

    (axes,) = paper_figure(compare_runs(runs)[0], "parameters").axes
    (of_equal_size,) = compare_runs(equal_sized)

    (front,) = [line for line in axes.lines if line.get_color() == GRAY]
    assert list(front.get_xdata()) == [4_157, 15_738, 244_362]
    with pytest.raises(ConfigError, match="same number of parameters"):
        paper_figure(of_equal_size, "parameters")


def test_leaderboard_figure_grays_configurations_that_cannot_be_best(comparison):
    leaderboard = paper_figure(comparison, "leaderboard")

    (axes,) = leaderboard.axes
    dots = {}
    bars = {}
    for line in axes.lines:
        row = line.get_ydata()[0]
        if line.get_marker() == "o":
            dots[row] = line.get_color()
        elif line.get_marker() == "None":
            bars[row] = line.get_color()
    expected = {0: BLUE, 1: GRAY, 2: GRAY, 3: GRAY}
    assert dots == expected
    assert bars == expected

    for figure in (leaderboard, figures(comparison)["leaderboard"]):
        (legend,) = figure.legends
        labels = [text.get_text() for text in legend.get_texts()]
        colors = [handle.get_color() for handle in legend.legend_handles]
        color_of_label = dict(zip(labels, colors, strict=True))
        assert color_of_label == {"could be the best": BLUE, "other": GRAY}


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
    configurations = [
        ("0.01", "selu", 0.97),
        ("0.01", "relu", 0.96),
        ("0.02", "selu", 0.98),
        ("0.02", "relu", 0.965),
        ("0.1", "selu", 0.12),
        ("0.1", "relu", 0.11),
    ]
    parameters = {"selu": 1000, "relu": 1100}
    runs = []
    for lr, name, mean in configurations:
        accuracies = [mean + next(noise) for _ in range(3)]
        for run in many(accuracies, optimizer__lr=lr, activation=name):
            runs.append(replace(run, size={"parameters": parameters[name]}))
    (comparison,) = compare_runs(runs, ["activation", "optimizer.lr"])

    (axes,) = paper_figure(comparison, kind).axes

    texts = [text.get_text() for text in axes.texts]
    values = [text for text in texts if "%" in text]
    assert sorted(values) == sorted(expected)
    arrows = [line for line in axes.lines if line.get_marker() in ("<", "v")]
    if kind == "leaderboard":
        axis_start = axes.get_xlim()[0]
        positions = [arrow.get_xdata()[0] for arrow in arrows]
    else:
        axis_start = axes.get_ylim()[0]
        positions = [arrow.get_ydata()[0] for arrow in arrows]
    assert positions == [axis_start, axis_start]


def test_labels_in_parameters_figure_do_not_overlap():
    sizes = {"0.25": 4_157, "0.5": 15_738, "1.0": 61_706, "2.0": 244_362}
    runs = []
    for width, parameters in sizes.items():
        for run in many([0.98, 0.982], model__width=width):
            runs.append(replace(run, size={"parameters": parameters}))

    figure = paper_figure(compare_runs(runs)[0], "parameters")
    figure.draw_without_rendering()

    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        "width=0.25",
        "width=0.5",
        "width=1",
        "width=2",
    ]
    boxes = [text.get_window_extent() for text in axes.texts]
    for box in boxes:
        assert box.count_overlaps(boxes) == 1  # each overlaps only itself
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1


def test_interaction_figure_has_line_per_value_of_first_flag():
    comparison = grid("0.01", "0.1")
    pair = comparison.interactions.pairs[0]
    expected = {}
    for activation, means in zip(pair.levels[0], pair.means, strict=True):
        expected[activation] = pytest.approx(list(means))

    figure = paper_figure(comparison, "interaction")

    (axes,) = figure.axes
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "activation"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1"]

    lines = {}
    left_ends = []
    for container in axes.containers:
        line = container[0]
        lines[container.get_label()] = list(line.get_ydata())
        left_ends.append(line.get_xdata()[0])
    assert lines == expected
    distances = list(np.diff(left_ends))
    assert distances != [0]  # bars do not overlap
