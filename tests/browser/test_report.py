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
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow(seconds=2)

COMMAND = "lenet-train -m activation=relu,selu optimizer.lr=0.001,0.01,0.1 'seed=range(3)'"
SOURCE = RunSource(COMMAND, COMMAND)


def grid() -> Comparison:
    """A grid over learning rates; one configuration diverged, one is at chance, one has a single
    seed.
    """
    runs = [
        *scored(
            many([0.962, 0.971, 0.966], activation="selu", optimizer__lr="0.01"),
            {0: 0.96, 1: 0.96, 2: 0.97},
        ),
        *scored(
            many([0.961, 0.968, 0.967], activation="relu", optimizer__lr="0.01"),
            {0: 0.95, 1: 0.96, 2: 0.96},
        ),
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
    for i in range(40):
        lr, reached = 10 ** (-4 + i / 10), 0.97 - 0.002 * abs(i - 25)
        outcome = "finished" if i % 3 == 0 else "pruned" if i != 38 else "diverged"
        curve = [
            reached * (1 - 0.4 / (1 + e)) for e in range(9 if outcome == "finished" else 1 + i % 4)
        ]
        trials.append(trial(i, curve, outcome, lr=f"{lr:.4g}"))
    runs = [
        made(
            0,
            run.value,
            run.outcome,
            activation=run.flags["activation"],
            optimizer__lr=run.flags["optimizer.lr"],
        )
        for run in trials
    ]
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
    groups = [
        replace(g, runs=[replace(run, size={"parameters": 1000 + 37 * i % 400}) for run in g.runs])
        for i, g in enumerate(comparison.groups)
    ]
    return replace(
        comparison,
        groups=groups,
        leader=groups[0],
        searched=replace(comparison.searched, cost="parameters"),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of comparisons, by name."""
    folder = tmp_path_factory.mktemp("pages")
    for name, comparison in {
        "grid": grid(),
        "search": searched(),
        "front": front(),
        "clear": clear(),
    }.items():
        write_comparison(folder / f"{name}.html", [comparison], SOURCE)
    stored = [
        replace(run, mlflow_runs=lambda: {"mlflow.db": "a" * 32})
        for g in clear().groups[:1]
        for run in g.runs
    ]
    write_comparison(
        folder / "linked.html", compare_runs(stored), replace(SOURCE, store="mlflow.db")
    )
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def alone(chromium: Browser) -> Iterator[Page]:
    """A page that fails if it requests any other address or logs an error."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    requested, errors = [], []
    context.on("request", lambda request: requested.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    yield page
    context.close()
    assert errors == []
    assert len(requested) <= 1
    assert all(url.startswith("file://") for url in requested)


def test_table_sorts_by_any_column(alone, files):
    report = Report(alone).open(files["grid"])
    assert report.ranks() == [1, 2, 3, 4, 5, 6, 7]
    for _ in range(2):
        alone.get_by_role("button", name="best val, %").click()
    *known, unknown = report.rows("accuracy")  # unknown values stay last
    assert (known, unknown) == (sorted(known, key=lambda text: float(text.split()[0])), "-")
    alone.get_by_role("button", name="test, %").click()
    assert [text.split()[0] for text in report.rows("test")][:3] == ["95.67", "96.33", "-"]
    alone.get_by_role("button", name="lr", exact=True).click()
    rates = alone.locator(f"{VISIBLE} td.flag:nth-child(3)").all_inner_texts()
    assert rates == sorted(rates, key=float)
    assert alone.locator("th[aria-sort=ascending]").inner_text() == "lr"


def test_filter_applies_to_table_and_charts(alone, files):
    report = Report(alone).open(files["grid"])
    before = report.option("intervals")["yAxis"][0]["data"]
    find = alone.get_by_role("searchbox", name="filter")
    find.fill("relu lr<=0.01")
    assert alone.locator(f"{VISIBLE} td.flag:nth-child(2)").all_inner_texts() == ["relu", "relu"]
    assert alone.locator(".count").inner_text() == "2 of 7"
    alone.wait_for_timeout(300)
    assert (
        report.option("intervals")["yAxis"][0]["data"]
        == [name for name in before if "relu" in name][:2]
    )
    for typed, ranks in {"accuracy>96 n=3": [1, 2], "diverged": [7], "no such thing": []}.items():
        find.fill(typed)
        assert report.ranks() == ranks
    alone.locator("[data-chart=intervals]").wait_for(state="hidden")
    find.fill("")
    alone.locator("[data-chart=intervals]").wait_for(state="visible")


def test_curves_show_only_ticked_configurations(alone, files):
    report = Report(alone).open(files["grid"])
    bands = [s for s in report.option("curves")["series"] if s["type"] == "custom"]
    assert len(bands) == 5  # the sixth has one seed
    for row in (0, 6):
        alone.get_by_role("checkbox").nth(row).check()
    alone.wait_for_timeout(300)
    series = report.option("curves")["series"]
    assert [s["type"] for s in series] == [
        "custom",
        "line",
        "scatter",
    ]  # only one of the two has finished runs


def test_charts_show_results_of_lenet_compare_on_fitting_axes(alone, files):
    best = grid().groups[0]
    report = Report(alone).open(files["grid"])
    assert f"{accuracy(best)}% (n = 3)" in report.hover("intervals", 0, [best.mean, 0])
    tooltip = report.hover("curves", 1, [2, best.mean])
    assert {"2", f"{best.mean * 100:.2f}", "96.20", "97.10"} <= set(re.findall(r"[\d.]+", tooltip))
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
    drawn = ElementTree.parse(tmp_path / "effects.svg").getroot()
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"activation = relu", "lr = 0.001", "lr = 0.01", "lr = 0.1"} <= texts


def test_effects_have_intervals_and_are_pale_if_not_significant(alone, files):
    report = Report(alone).open(files["clear"])
    bars, whiskers = report.option("effects")["series"]
    names = report.option("effects")["yAxis"][0]["data"]
    pale = {
        name
        for name, bar in zip(names, bars["data"], strict=True)
        if bar["itemStyle"]["opacity"] < 1
    }
    assert pale == {"activation = relu", "activation = selu"}
    assert len(whiskers["data"]) == len(names) == 4
    level = clear().effects.flags[0].levels[0]
    assert f"{level.low * 100:+.2f} to {level.high * 100:+.2f}" in report.hover(
        "effects", 0, [level.effect * 50, 0]
    )


def test_interaction_chart_has_a_line_for_each_value(alone, files):
    report = Report(alone).open(files["clear"])
    option, (pair,) = report.option("interactions"), clear().interactions.pairs
    lines = [series for series in option["series"] if series["type"] == "line"]
    assert [series["data"] for series in lines] == [list(row) for row in pair.means]
    assert option["xAxis"][0]["data"] == list(pair.levels[1]) == ["0.001", "0.01"]
    assert f"{pair.means[1][1] * 100:.2f}%" in report.hover(
        "interactions", 2, [1, pair.means[1][1]]
    )


def test_pasted_lenet_ui_link_adds_links_to_runs(alone, files):
    Report(alone).open(files["linked"])
    alone.get_by_role("button", name="its runs").first.click()
    runs = alone.locator("a[data-page]")
    assert runs.count() == 4
    assert alone.locator("a[href]").count() == 0
    paste = alone.get_by_role("textbox", name="paste a link")
    paste.fill("http://127.0.0.1:6001/#/experiments/1/runs?x=y")
    assert runs.first.get_attribute("href") == f"http://127.0.0.1:6001/#/runs/{'a' * 32}"
    assert alone.locator("a[href]").count() == 4
    paste.fill("javascript:alert(1)")
    assert alone.locator("a[href]").count() == 0


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
        rows = alone.locator(".card:not([hidden])").evaluate_all(
            """(cards) => {
              const rows = Object.values(Object.groupBy(cards, (card) => card.offsetTop));
              return rows.map((row) => row.reduce((sum, card) => sum + card.offsetWidth + 16, -16));
            }"""
        )
        assert max(rows) - min(rows) < 3  # all rows of charts are equally wide
    alone.screenshot(path=SCREENSHOTS / f"report_{name}_{scheme}.png", full_page=True)


def test_command_can_be_copied_and_rows_expand_to_runs(alone, files):
    Report(alone).open(files["grid"])
    alone.get_by_role("button", name="copy").first.click()
    alone.get_by_role("status").get_by_text("copied").wait_for()
    copied = alone.evaluate("navigator.clipboard.readText()")
    assert (
        copied == alone.locator(".command code").first.inner_text() == next_command(grid(), COMMAND)
    )
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
    report = Report(alone).open(files["search"])
    assert search.steps[-1].named in report.chart("history").locator(".note").inner_text()
    assert len(report.option("history")["series"][1]["data"]) == len(search.improvements)
    assert len(report.option("trials")["series"][0]["data"]) == 40
    drawn = report.option("runs")["series"]
    assert next(len(s["data"]) for s in drawn if s["type"] == "scatter") == 40
    assert {s["name"] for s in drawn if s["type"] == "lines"} == {
        "pruned",
        "diverged",
        "finished",
        "best",
    }
    report.chart("trials").get_by_role("combobox").select_option("optimizer.lr")
    axis = report.option("trials")["xAxis"][0]
    assert (axis["name"], axis["type"]) == ("optimizer.lr", "log")
    best = search.best
    assert best.name in report.hover("trials", 0, [float(best.flags["optimizer.lr"]), best.value])


def test_search_page_draws_the_pareto_front(alone, files):
    report = Report(alone).open(files["front"])
    trials = [(group.parameters, group.mean) for group in front().groups if group.n]
    best = [t for t in trials if not any(o != t and o[0] <= t[0] and o[1] >= t[1] for o in trials)]
    line, on_front, dominated = report.option("front")["series"]
    assert line["data"] == pytest.approx(np.array(sorted(best)))
    assert (len(on_front["data"]), len(dominated["data"])) == (len(best), len(trials) - len(best))


def test_long_table_shows_best_configurations_first(alone, files):
    report = Report(alone).open(files["search"])
    assert report.ranks() == list(range(1, 21))
    alone.get_by_role("button", name="show all 40").click()
    assert len(report.ranks()) == 40


@pytest.mark.slow(seconds=4)
def test_comparison_is_first_artifact_in_mlflow_and_links_runs(
    page, served, sweep, tmp_path, screenshot
):
    run = sweep.parent.info
    files = sweep.store.list_artifacts(run.run_id)
    assert files[0].path == "comparison.html"
    at = f"{served.address}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    page.goto(f"{at}/artifacts/comparison.html?workflowType=machine_learning")
    listed = page.get_by_test_id("artifact-tree-node")
    listed.get_by_text("comparison.html").wait_for()
    assert listed.first.inner_text() == "comparison.html"
    frame = page.frame_locator("iframe#html")
    frame.locator("[data-chart=intervals]").scroll_into_view_if_needed()
    frame.locator("[data-chart=intervals] canvas").first.wait_for()
    screenshot("sweep_comparison")
    for opened in frame.get_by_role("button", name="its runs").all():
        opened.click()
    links = frame.locator("tr.more a[data-page]").all()
    addresses = [link.get_attribute("href") for link in links]
    names = {f"{served.address}/#/runs/{run.info.run_id}": run.info.run_name for run in sweep.runs}
    assert set(addresses) == set(names)
    links[0].click()
    frame.get_by_role("status").get_by_text("copied").wait_for()
    page.goto(addresses[0])
    page.get_by_role("heading", name=names[addresses[0]]).wait_for()
