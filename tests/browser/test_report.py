"""The page of a comparison in a real browser: sorting, filters, tooltips, and links, without
network requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design
from lenet_exp.reports.columns import accuracy
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.next_steps import next_command
from tests.browser.conftest import SCREENSHOTS
from tests.browser.report import SIZES, VISIBLE, Report
from tests.comparison.made_up import made, many, scored
from tests.reports.test_search import made as trial
from tests.reports.test_search import of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

pytestmark = pytest.mark.slow(seconds=2)

COMMAND = "lenet-train -m activation=relu,selu optimizer.lr=0.001,0.01,0.1 'seed=range(3)'"
SOURCE = RunSource(COMMAND, COMMAND)


def grid() -> Comparison:
    """A grid over learning rates; one configuration diverged, one is at chance, one has a single
    seed.
    """
    selu = many([0.962, 0.971, 0.966], activation="selu", optimizer__lr="0.01")
    relu = many([0.961, 0.968, 0.967], activation="relu", optimizer__lr="0.01")
    runs = [
        *scored(selu, {0: 0.96, 1: 0.96, 2: 0.97}),
        *scored(relu, {0: 0.95, 1: 0.96, 2: 0.96}),
        *many([0.941, 0.938, 0.946], activation="selu", optimizer__lr="0.001"),
        *many([0.951, 0.948, 0.952], activation="relu", optimizer__lr="0.001"),
        *many([0.1, 0.11, 0.09], activation="relu", optimizer__lr="0.1"),
        *[made(seed, 0.3, "diverged", activation="selu", optimizer__lr="0.1") for seed in range(3)],
        made(0, 0.95, activation="<b>tanh</b>", optimizer__lr="0.01"),
    ]
    design = Design(len(runs), 0, sweep="ab12cd34")
    (comparison,) = compare_runs(runs, ["activation", "optimizer.lr"], design=design)
    return comparison


def searched() -> Comparison:
    """A search of forty trials, two thirds of which were pruned, over a learning rate from 0.0001
    to 1.
    """
    trials = []
    runs = []
    for i in range(40):
        lr = 10 ** (-4 + i / 10)
        best = 0.97 - 0.002 * abs(i - 25)
        outcome = "pruned"
        epochs = 1 + i % 4
        if i % 3 == 0:
            outcome = "finished"
            epochs = 9
        elif i == 38:
            outcome = "diverged"
        curve = [best * (1 - 0.4 / (1 + epoch)) for epoch in range(epochs)]
        searched_run = trial(i, curve, outcome, lr=f"{lr:.4g}")
        trials.append(searched_run)

        activation = searched_run.flags["activation"]
        lr_text = searched_run.flags["optimizer.lr"]
        run = made(
            0,
            searched_run.value,
            searched_run.outcome,
            activation=activation,
            optimizer__lr=lr_text,
        )
        runs.append(run)
    (comparison,) = compare_runs(runs, ["activation", "optimizer.lr"])
    return replace(comparison, searched=of(*trials))


def clear() -> Comparison:
    """A grid in which the learning rate has an effect and the activation has none."""
    runs = [
        *many([0.962, 0.971, 0.966], activation="selu", optimizer__lr="0.01"),
        *many([0.961, 0.973, 0.967], activation="relu", optimizer__lr="0.01"),
        *many([0.941, 0.938, 0.946], activation="selu", optimizer__lr="0.001"),
        *many([0.943, 0.937, 0.944], activation="relu", optimizer__lr="0.001"),
    ]
    return compare_runs(runs, ["activation", "optimizer.lr"])[0]


def front() -> Comparison:
    """Return a comparison of a search for accurate and small networks."""
    comparison = searched()
    groups = []
    for i, group in enumerate(comparison.groups):
        size = {"parameters": 1000 + 37 * i % 400}
        runs = [replace(run, size=size) for run in group.runs]
        groups.append(replace(group, runs=runs))
    search = replace(comparison.searched, cost="parameters")
    return replace(comparison, groups=groups, leader=groups[0], searched=search)


def stored_in_mlflow() -> Comparison:
    """Return a comparison of runs that are in a local database of MLflow."""
    runs = clear().groups[0].runs
    stored = [replace(run, mlflow_runs=lambda: {"mlflow.db": "a" * 32}) for run in runs]
    return compare_runs(stored)[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of comparisons, by name."""
    folder = tmp_path_factory.mktemp("pages")
    write_comparison(folder / "grid.html", [grid()], SOURCE)
    write_comparison(folder / "search.html", [searched()], SOURCE)
    write_comparison(folder / "front.html", [front()], SOURCE)
    write_comparison(folder / "clear.html", [clear()], SOURCE)
    write_comparison(
        folder / "linked.html", [stored_in_mlflow()], replace(SOURCE, store="mlflow.db")
    )
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def alone(chromium: Browser) -> Iterator[Page]:
    """A page that fails if it requests any other address or logs an error."""
    requested: list[str] = []
    errors: list[str] = []

    def note_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            errors.append(message.text)

    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.on("request", lambda request: requested.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note_message)

    yield page

    context.close()
    assert errors == []
    assert len(requested) <= 1
    for url in requested:
        assert url.startswith("file://")


def test_table_sorts_by_any_column(alone, files):
    report = Report(alone).open(files["grid"])
    assert report.ranks() == [1, 2, 3, 4, 5, 6, 7]

    for _ in range(2):
        alone.get_by_role("button", name="best val, %").click()
    *accuracies, last = report.rows("accuracy")
    assert accuracies == sorted(accuracies, key=lambda text: float(text.split()[0]))
    assert last == "-"  # unknown values stay last

    alone.get_by_role("button", name="test, %").click()
    test_accuracies = [text.split()[0] for text in report.rows("test")]
    assert test_accuracies[:3] == ["95.67", "96.33", "-"]

    alone.get_by_role("button", name="lr", exact=True).click()
    rates = alone.locator(f"{VISIBLE} td.flag:nth-child(3)").all_inner_texts()
    assert rates == sorted(rates, key=float)
    assert alone.locator("th[aria-sort=ascending]").inner_text() == "lr"


def test_filter_applies_to_table_and_charts(alone, files):
    report = Report(alone).open(files["grid"])
    all_names = report.option("intervals")["yAxis"][0]["data"]
    relu_names = [name for name in all_names if "relu" in name]
    search_box = alone.get_by_role("searchbox", name="filter")

    search_box.fill("relu lr<=0.01")
    activations = alone.locator(f"{VISIBLE} td.flag:nth-child(2)").all_inner_texts()
    assert activations == ["relu", "relu"]
    assert alone.locator(".count").inner_text() == "2 of 7"
    alone.wait_for_timeout(300)
    assert report.option("intervals")["yAxis"][0]["data"] == relu_names[:2]

    for typed, ranks in {"accuracy>96 n=3": [1, 2], "diverged": [7], "no such thing": []}.items():
        search_box.fill(typed)
        assert report.ranks() == ranks
    alone.locator("[data-chart=intervals]").wait_for(state="hidden")

    search_box.fill("")
    alone.locator("[data-chart=intervals]").wait_for(state="visible")


def test_curves_show_only_ticked_configurations(alone, files):
    report = Report(alone).open(files["grid"])
    types = [series["type"] for series in report.option("curves")["series"]]
    assert types.count("custom") == 5  # bands; the sixth configuration has one seed

    for row in (0, 6):
        alone.get_by_role("checkbox").nth(row).check()
    alone.wait_for_timeout(300)
    types = [series["type"] for series in report.option("curves")["series"]]
    # only one of the two has finished runs
    assert types == ["custom", "line", "scatter"]


def test_charts_show_results_of_lenet_compare_on_fitting_axes(alone, files):
    best = grid().groups[0]
    report = Report(alone).open(files["grid"])

    tooltip = report.hover("intervals", 0, [best.mean, 0])
    assert f"{accuracy(best)}% (n = 3)" in tooltip
    tooltip = report.hover("curves", 1, [2, best.mean])
    numbers = set(re.findall(r"[\d.]+", tooltip))
    assert {"2", f"{best.mean * 100:.2f}", "96.20", "97.10"} <= numbers
    effects = report.option("effects")["yAxis"][0]["data"]
    assert {"lr = 0.01", "activation = <b>tanh</b>"} <= set(effects)
    assert alone.locator(".tip script, .tip b b").count() == 0

    axes = {axis["name"]: axis for axis in report.option("parallel")["parallelAxis"]}
    assert axes["lr (log)"]["type"] == "log"
    # the axis does not extend to the configuration at chance
    assert 0.8 < axes["best val"]["min"] < 0.94


def test_chart_is_saved_as_svg(alone, files, tmp_path):
    report = Report(alone).open(files["grid"])

    with alone.expect_download() as download:
        report.chart("effects").get_by_role("button", name="SVG").click()
    download.value.save_as(tmp_path / "effects.svg")

    assert download.value.suggested_filename == "effects.svg"
    svg = ElementTree.parse(tmp_path / "effects.svg").getroot()
    texts = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"activation = relu", "lr = 0.001", "lr = 0.01", "lr = 0.1"} <= texts


def test_effects_have_intervals_and_are_pale_if_not_significant(alone, files):
    report = Report(alone).open(files["clear"])
    option = report.option("effects")
    names = option["yAxis"][0]["data"]
    bars, whiskers = option["series"]

    pale = set()
    for name, bar in zip(names, bars["data"], strict=True):
        if bar["itemStyle"]["opacity"] < 1:
            pale.add(name)
    assert pale == {"activation = relu", "activation = selu"}
    assert len(names) == 4
    assert len(whiskers["data"]) == 4

    level = clear().effects.flags[0].levels[0]
    tooltip = report.hover("effects", 0, [level.effect * 50, 0])
    assert f"{level.low * 100:+.2f} to {level.high * 100:+.2f}" in tooltip


def test_interaction_chart_has_a_line_for_each_value(alone, files):
    report = Report(alone).open(files["clear"])
    option = report.option("interactions")
    (pair,) = clear().interactions.pairs
    last_mean = pair.means[1][1]

    lines = [series for series in option["series"] if series["type"] == "line"]
    assert [line["data"] for line in lines] == [list(row) for row in pair.means]
    assert option["xAxis"][0]["data"] == ["0.001", "0.01"]
    assert list(pair.levels[1]) == ["0.001", "0.01"]
    tooltip = report.hover("interactions", 2, [1, last_mean])
    assert f"{last_mean * 100:.2f}%" in tooltip


def test_pasted_lenet_ui_link_adds_links_to_runs(alone, files):
    Report(alone).open(files["linked"])
    alone.get_by_role("button", name="its runs").first.click()
    runs = alone.locator("a[data-page]")
    links = alone.locator("a[href]")
    text_box = alone.get_by_role("textbox", name="paste a link")
    assert runs.count() == 4
    assert links.count() == 0

    text_box.fill("http://127.0.0.1:6001/#/experiments/1/runs?x=y")
    assert runs.first.get_attribute("href") == f"http://127.0.0.1:6001/#/runs/{'a' * 32}"
    assert links.count() == 4

    text_box.fill("javascript:alert(1)")
    assert links.count() == 0


@pytest.mark.parametrize(("name", "scheme"), [("grid", "light"), ("search", "dark")])
def test_page_fits_any_window_width(alone, files, scheme, name):
    alone.emulate_media(color_scheme=scheme)
    Report(alone).open(files[name])
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width, height in SIZES:
        alone.set_viewport_size({"width": width, "height": height})
        alone.wait_for_timeout(200)

        assert alone.evaluate("document.documentElement.scrollWidth") <= width
        cut = alone.locator("p.verdict, .command code").evaluate_all(
            """(cells) => cells.filter(cell => {
              const box = cell.getBoundingClientRect();
              const isOutside = box.right > innerWidth || box.left < 0;
              return isOutside || cell.scrollWidth > cell.clientWidth + 1;
            }).map(cell => cell.innerText)"""
        )
        assert cut == []

        empty = alone.locator(".card:not([hidden])").evaluate_all(
            """(cards) => cards.filter((card) => {
              const box = card.getBoundingClientRect();
              const drawn = card.querySelector("canvas").getBoundingClientRect();
              const note = card.querySelector(".note").getBoundingClientRect();
              const spaceAboveNote = Math.abs(drawn.bottom - note.top);
              const spaceBelowNote = box.bottom - note.bottom;
              const isNarrow = drawn.width < 0.9 * box.width;
              return spaceAboveNote > 12 || spaceBelowNote > 24 || isNarrow;
            }).map((card) => card.dataset.chart)"""
        )
        assert empty == []

        row_widths = alone.locator(".card:not([hidden])").evaluate_all(
            """(cards) => {
              const rows = Object.values(Object.groupBy(cards, (card) => card.offsetTop));
              return rows.map((row) => row.reduce((sum, card) => sum + card.offsetWidth + 16, -16));
            }"""
        )
        assert max(row_widths) - min(row_widths) < 3  # all rows of charts are equally wide

    alone.screenshot(path=SCREENSHOTS / f"report_{name}_{scheme}.png", full_page=True)


def test_command_can_be_copied_and_rows_expand_to_runs(alone, files):
    Report(alone).open(files["grid"])

    alone.get_by_role("button", name="copy").first.click()
    alone.get_by_role("status").get_by_text("copied").wait_for()
    copied = alone.evaluate("navigator.clipboard.readText()")
    assert copied == alone.locator(".command code").first.inner_text()
    assert copied == next_command(grid(), COMMAND)

    alone.get_by_role("button", name="its runs").nth(0).click()
    runs = alone.locator("tr.more li").all_inner_texts()
    assert [re.findall(r"[\d.]+", run) for run in runs] == [
        ["0", "96.20"],
        ["1", "97.10"],
        ["2", "96.60"],
    ]

    alone.get_by_role("button", name="its runs").nth(0).click()
    assert alone.locator("tr.more").count() == 0


def test_search_page_charts_history_runs_and_trials_by_flag(alone, files):
    search = searched().searched
    best = search.best
    report = Report(alone).open(files["search"])

    note = report.chart("history").locator(".note").inner_text()
    assert search.steps[-1].named in note
    improvements = report.option("history")["series"][1]["data"]
    assert len(improvements) == len(search.improvements)
    assert len(report.option("trials")["series"][0]["data"]) == 40

    series_of_runs = report.option("runs")["series"]
    ends = next(series for series in series_of_runs if series["type"] == "scatter")
    assert len(ends["data"]) == 40
    line_names = {series["name"] for series in series_of_runs if series["type"] == "lines"}
    assert line_names == {"pruned", "diverged", "finished", "best"}

    report.chart("trials").get_by_role("combobox").select_option("optimizer.lr")
    axis = report.option("trials")["xAxis"][0]
    assert axis["name"] == "optimizer.lr"
    assert axis["type"] == "log"
    tooltip = report.hover("trials", 0, [float(best.flags["optimizer.lr"]), best.value])
    assert best.name in tooltip


def test_search_page_draws_the_pareto_front(alone, files):
    trials = [(group.parameters, group.mean) for group in front().groups if group.n]
    on_front = []
    for parameters, mean in trials:
        better = [
            other
            for other in trials
            if other != (parameters, mean) and other[0] <= parameters and other[1] >= mean
        ]
        if not better:
            on_front.append((parameters, mean))

    report = Report(alone).open(files["front"])
    line, front_dots, other_dots = report.option("front")["series"]

    assert line["data"] == pytest.approx(np.array(sorted(on_front)))
    assert len(front_dots["data"]) == len(on_front)
    assert len(other_dots["data"]) == len(trials) - len(on_front)


def test_long_table_shows_best_configurations_first(alone, files):
    report = Report(alone).open(files["search"])
    assert report.ranks() == list(range(1, 21))

    alone.get_by_role("button", name="show all 40").click()
    assert len(report.ranks()) == 40


@pytest.mark.slow(seconds=4)
def test_comparison_is_first_artifact_in_mlflow_and_links_runs(
    page, served, sweep, tmp_path, screenshot
):
    parent = sweep.parent.info
    sweep_page = f"{served.address}/#/experiments/{parent.experiment_id}/runs/{parent.run_id}"
    name_at = {}
    for run in sweep.runs:
        name_at[f"{served.address}/#/runs/{run.info.run_id}"] = run.info.run_name

    artifacts = sweep.store.list_artifacts(parent.run_id)
    assert artifacts[0].path == "comparison.html"
    page.goto(f"{sweep_page}/artifacts/comparison.html?workflowType=machine_learning")
    nodes = page.get_by_test_id("artifact-tree-node")
    nodes.get_by_text("comparison.html").wait_for()
    assert nodes.first.inner_text() == "comparison.html"

    frame = page.frame_locator("iframe#html")
    chart = frame.locator("[data-chart=intervals]")
    chart.scroll_into_view_if_needed()
    chart.locator("canvas").first.wait_for()
    screenshot("sweep_comparison")
    for button in frame.get_by_role("button", name="its runs").all():
        button.click()
    links = frame.locator("tr.more a[data-page]").all()
    addresses = [link.get_attribute("href") for link in links]
    assert set(addresses) == set(name_at)

    links[0].click()
    frame.get_by_role("status").get_by_text("copied").wait_for()
    page.goto(addresses[0])
    page.get_by_role("heading", name=name_at[addresses[0]]).wait_for()
