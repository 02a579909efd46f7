"""A sweep of 200 runs in a real browser. How long its pages take is printed (`pytest -s`), not judged."""

from __future__ import annotations

import random
import time

import pytest
from mlflow.entities import Metric, Param

from lenet_exp.api import compose
from lenet_exp.tracking.store import Store, open_store
from tests.browser.served import lenet_ui
from tests.browser.table import rows

pytestmark = pytest.mark.slow(seconds=20)

RUNS, EPOCHS = 200, 10
METRICS = ("val_accuracy", "val_loss", "train_loss", "train_accuracy", "lr", "epoch_seconds", "images_per_second")
SETTINGS = {f"training.setting_{i}": str(i) for i in range(30)}  # a run has about as many params that do not differ


def write_sweep(store: Store) -> str:
    """What a sweep of 200 runs leaves in MLflow, without its training; the parent run's id."""
    client, experiment = store.client, store.experiment_id
    lines = [f"| {i} | 0.1 | {i} | 98.00% |" for i in range(100)]
    note = "\n".join(["| # | lr | seed | best val |", "| --- | --- | --- | --- |", *lines])
    tags = {"kind": "sweep", "swept": "optimizer.lr seed", "mlflow.note.content": note}
    parent = client.create_run(experiment, run_name=f"lr seed ({RUNS} runs)", tags=tags).info.run_id
    draw = random.Random(0)
    for i in range(RUNS):
        lr, seed = str((i % 5 + 1) / 100), str(i // 5)
        tags = {"kind": "run", "outcome": "finished", "sweeps": parent, "mlflow.parentRunId": parent}
        run = client.create_run(experiment, run_name=f"lr={lr} seed={seed}", tags=tags).info.run_id
        points = [Metric(name, draw.random(), 1000 * e, e) for e in range(1, EPOCHS + 1) for name in METRICS]
        points += [Metric("step_loss", draw.random(), 10 * s, s) for s in range(20, 1000, 20)]
        points += [Metric("best_val_accuracy", draw.random(), 9999, 0), Metric("best_epoch", EPOCHS, 9999, 0)]
        params = {"optimizer.lr": lr, "seed": seed} | SETTINGS
        client.log_batch(run, metrics=points, params=[Param(k, v) for k, v in params.items()])
        client.set_terminated(run)
    client.set_terminated(parent)
    return parent


def test_the_pages_of_a_sweep_of_200_runs(page, ready, screenshot):
    store = open_store(compose([f"tracking.uri=sqlite:///{ready / 'mlflow.db'}"]).tracking)
    parent = write_sweep(store)
    begin = time.monotonic()
    with lenet_ui(f"sweep={parent}", outputs=ready) as served:
        seconds = {"lenet-ui": time.monotonic() - begin}
        begin = time.monotonic()
        page.goto(served.links["runs"])
        table = rows(page)
        seconds["table"] = time.monotonic() - begin
        accuracies = [float(row["metrics.best_val_accuracy"]) for row in table]
        assert accuracies == sorted(accuracies, reverse=True)
        assert {"params.optimizer.lr", "params.seed"} <= table[0].keys()
        screenshot("table_of_200")
        begin = time.monotonic()
        page.goto(served.links["curves"])
        page.locator(".scatterlayer .trace").first.wait_for()
        seconds["curves"] = time.monotonic() - begin
        screenshot("curves_of_200")
        begin = time.monotonic()
        page.goto(served.links["sweep"])
        page.get_by_test_id("note-editor-preview-content").locator("table").wait_for()
        seconds["sweep"] = time.monotonic() - begin
        screenshot("sweep_of_200")
        begin = time.monotonic()
        page.goto(served.links["parallel"])
        page.locator(".dimension").first.wait_for()
        seconds["parallel coordinates"] = time.monotonic() - begin
        screenshot("parallel_of_200")
    print("; ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))
