"""The pages of a sweep in MLflow's UI, in a real browser."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import WAIT
from tests.browser.served import links_in
from tests.browser.table import rows
from tests.tools.stores import models

# equal durations, so that the tests run in sequence and share a server
pytestmark = pytest.mark.slow(seconds=4)

SWEPT = ("activation", "optimizer.lr", "seed")
TRAINING = "workflowType=machine_learning"
CARD = "experiment-view-compare-runs-card"


@pytest.fixture
def experiment(served, sweep) -> str:
    """The address of the experiment's pages."""
    return f"{served.address}/#/experiments/{sweep.parent.info.experiment_id}"


@pytest.fixture
def best(sweep):
    """The run with the best validation accuracy of those that finished."""
    finished = [run for run in sweep.runs if run.info.status == "FINISHED"]
    return max(finished, key=lambda run: run.data.metrics["best_val_accuracy"])


def test_table_of_sweep_lists_runs_best_first_with_swept_flags(page, served, sweep, screenshot):
    accuracies = []
    for run in sweep.runs:
        if "best_val_accuracy" in run.data.metrics:
            accuracies.append(run.data.metrics["best_val_accuracy"])
    num_unknown = len(sweep.runs) - len(accuracies)
    configurations = {tuple(run.data.params[flag] for flag in SWEPT) for run in sweep.runs}

    for url in served.links.values():
        assert len(url) < 190
        assert TRAINING in url
    page.goto(served.links["runs"])
    table = rows(page)

    cells = [row["metrics.best_val_accuracy"] for row in table]
    displayed_accuracies = [float(cell) for cell in cells[: len(accuracies)]]
    assert displayed_accuracies == pytest.approx(sorted(accuracies, reverse=True), abs=1e-6)
    assert cells[len(accuracies) :] == ["-"] * num_unknown
    displayed_configurations = {tuple(row[f"params.{flag}"] for flag in SWEPT) for row in table}
    assert displayed_configurations == configurations
    assert set(table[0]) == {
        *(f"params.{flag}" for flag in SWEPT),
        "params.model",
        "metrics.best_val_accuracy",
        "metrics.best_epoch",
        "duration",
        "tags.outcome",
        "tags.users",
    }
    screenshot("table")


def test_curves_are_grouped_by_configuration_with_seed_bands(page, served, sweep, screenshot):
    page.goto(served.links["curves"])
    cards = page.get_by_test_id(CARD)
    first_card = cards.first
    first_card.locator(".scatterlayer .trace").first.wait_for()

    titles = [text.splitlines()[0] for text in cards.all_inner_texts()]
    assert titles[:2] == ["val_accuracy", "val_loss"]
    legend = first_card.inner_text()
    for run in sweep.runs:
        activation = run.data.params["activation"]
        lr = run.data.params["optimizer.lr"]
        assert f"activation: {activation}, optimizer.lr: {lr}" in legend
    assert first_card.locator(".scatterlayer .js-fill").count() >= 1
    ticks = first_card.locator(".ytick text").all_text_contents()
    assert min(float(tick) for tick in ticks) >= 0
    screenshot("curves")


def test_browser_that_logged_in_once_opens_links_of_report(chromium, served, tmp_path):
    """A browser without the password gets nothing; a browser with it is asked once."""
    stranger = chromium.new_context()
    assert stranger.request.get(served.address).status == 401
    stranger.close()

    user, password = served.login
    address = f"{served.address}/"
    report = tmp_path / "report.html"
    report.write_text(f'<a href="{address}" target="_blank" rel="noopener">a run</a>')
    context = chromium.new_context(http_credentials={"username": user, "password": password})
    context.set_default_timeout(WAIT)
    page = context.new_page()

    page.goto(served.links["runs"])
    assert len(rows(page)) == 8
    assert password not in page.evaluate("location.href + document.referrer + document.cookie")

    page.goto(report.as_uri())
    with context.expect_event("response", lambda answer: answer.url == address) as response:
        page.get_by_role("link").click()
    assert response.value.status == 200
    context.close()


def test_sweep_page_lists_runs_and_links_report_and_best_run(page, served, sweep, screenshot):
    swept = sweep.parent.data.params
    assert swept == {"activation": "relu, selu", "optimizer.lr": "0.05, 0.1", "seed": "0, 1"}

    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(served.links["sweep"])
    page.get_by_role("heading", name="activation lr seed (8 runs)").wait_for()
    children = page.get_by_test_id("key-value-Child runs").get_by_role("link")
    children.first.wait_for()
    assert set(children.all_inner_texts()) == {run.info.run_name for run in sweep.runs}
    assert page.get_by_test_id("key-value-Source").inner_text().split() == ["Source", "lenet-train"]
    for flag in swept:
        page.get_by_role("cell", name=flag, exact=True).wait_for()

    description = page.get_by_test_id("note-editor-preview-content")
    links = description.get_by_role("link")
    links.nth(1).wait_for()
    assert re.match(r"Use (relu|selu) lr=0\.\d+:\s\d\d\.\d\d%", description.inner_text())
    assert page.get_by_test_id("show-comment-toggle").count() == 0  # all of it is displayed
    screenshot("sweep")

    targets = {link.inner_text(): link.get_attribute("href") for link in links.all()}
    page.goto(f"{served.address}/{targets.pop('report')}")
    page.get_by_text("of the variance").first.wait_for()
    name, run = next(iter(targets.items()))
    assert re.fullmatch(r"(relu|selu)\Wlr=0\.\d+", name)
    page.goto(f"{served.address}/{run}")
    page.get_by_role("link", name="best_val_accuracy", exact=True).wait_for()


@pytest.mark.parametrize(("kind", "name"), [("run", "mistakes.png"), ("sweep", "leaderboard.png")])
def test_image_artifacts_are_displayed(page, experiment, sweep, best, kind, name):
    """The server must read the artifacts, because a browser cannot open their file:// locations."""
    run = best if kind == "run" else sweep.parent
    page.goto(f"{experiment}/runs/{run.info.run_id}/artifacts/{name}?{TRAINING}")
    page.wait_for_function(
        "[...document.images].some(i => i.src.startsWith('blob:') && i.naturalWidth > 300)"
    )


def test_run_page_links_sweep_and_starts_with_validation_accuracy(
    page, experiment, best, screenshot
):
    page.goto(f"{experiment}/runs/{best.info.run_id}?{TRAINING}")
    page.get_by_role("heading", name=best.info.run_name).wait_for()
    page.get_by_role("link", name="activation lr seed (8 runs)").wait_for()
    page.get_by_role("link", name="val_accuracy", exact=True).wait_for()

    links = page.get_by_role("link").all_inner_texts()
    metrics = [text for text in links if text in best.data.metrics]
    assert metrics[0] == "val_accuracy"
    screenshot("run")


def test_model_page_names_dataset_and_run(page, experiment, sweep, best, screenshot):
    best_id = best.info.run_id
    (model,) = [model for model in models(sweep.store) if model.source_run_id == best_id]

    page.goto(f"{experiment}/models/{model.model_id}?{TRAINING}")
    page.get_by_role("heading", name="lenet5-digits").wait_for()

    row = page.get_by_role("row").filter(has_text="best_val_accuracy")
    assert "digits (#" in row.inner_text()
    assert best.info.run_name in row.inner_text()
    screenshot("model")


def test_links_for_all_sweeps_list_every_run_of_the_experiment(
    page, served, sweep, main, monkeypatch
):
    """`lenet-ui` with `tracking.uri` prints links into a running server."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    done = main("sweep=all", f"tracking.uri={served.address}", program="ui")
    page.goto(links_in(done.stdout)["runs"])
    table = rows(page)

    assert set(table[0]) >= {
        "params.dataset",
        "params.activation",
        "params.optimizer",
        "params.optimizer.lr",
        "params.num_epoch",
        "params.seed",
    }
    assert len(table) == len(sweep.runs)
