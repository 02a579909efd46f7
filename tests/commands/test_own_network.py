"""Every command accepts a user's own network with batch norm, also after the run was killed and
resumed.
"""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import lenet_exp
from benchmarks.samples import COLOR_CLASSES, own_set
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from tests.prediction.test_export import READERS, needs_onnx
from tests.tools.commands import MINE, SMALL, end, lenet_train, start, succeeded
from tests.tools.stores import champions, client, runs
from tests.tools.until import until

LINE = (
    f"--config-dir={MINE}",
    *SMALL,
    "model=residual",
    "activation=tanh",
    "num_epoch=30",
    "num_threads=1",
    "optimizer.lr=0.05",
    "training.ema_decay=0.9",
    "tracking.plots=false",
)


def only_run(outputs: Path) -> RunFolder:
    (folder,) = (outputs / "runs").iterdir()
    return RunFolder(folder)


@pytest.fixture(scope="module")
def uninterrupted(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = tmp_path_factory.mktemp("uninterrupted") / "outputs"
    shutil.copytree(empty_store, outputs)
    assert lenet_train(*LINE, outputs=outputs).returncode == 0
    return outputs


@pytest.mark.slow(seconds=15)
def test_killed_run_of_own_network_resumes_bit_for_bit(uninterrupted, ready):
    for stop in (signal.SIGTERM, signal.SIGKILL):
        process = start(*LINE, outputs=ready)
        until(lambda: list(ready.glob("runs/*/history.json")), process)
        time.sleep(0.5)
        process.send_signal(stop)
        end(process)
        record = only_run(ready).record()
        assert record is None or record.outcome is Outcome.killed
        assert 0 < len(only_run(ready).history().epochs) < 30

    assert end(start(*LINE, outputs=ready)).returncode == 0

    undisturbed = only_run(uninterrupted).record()
    record = only_run(ready).record()
    assert undisturbed is not None
    assert record is not None
    assert record.resumed
    assert record.weights_digest == undisturbed.weights_digest
    assert record.confusion_matrix == undisturbed.confusion_matrix


@needs_onnx
@pytest.mark.slow(seconds=25)
def test_every_command_accepts_own_network_on_color_images(ready, tmp_path, main):
    colors = own_set(tmp_path / "colors", COLOR_CLASSES)
    dataset = ("dataset=folder", "dataset.name=colors", f"dataset.folder={colors}")
    shape = (
        "dataset.channels=3",
        "dataset.val_size=100",
        "dataset.stratified=true",
        "augmentation=affine",
    )
    grid = (
        "-m",
        *LINE,
        *dataset,
        *shape,
        "dataset.train_size=null",
        "model.maps=2,4",
        "seed=0,1",
        "num_epoch=3",
    )

    succeeded(lenet_train(*grid, "tracking.plots=true", outputs=ready))
    assert lenet_train(*grid, outputs=ready).stdout.count("; 0 trained") == 1

    table = lenet_exp.compare()
    maps = table["model.maps"]
    assert sorted(maps) == [2, 4]
    assert list(table["parameters"]) == list(9 * maps**2 + 101 * maps + 20)
    assert list(table["multiply_adds"]) == list(49 * (75 * maps + 9 * maps**2) + 20 * maps)
    logged = set()
    for run in runs(client(ready)):
        params = run.data.params
        logged.add((params["model"], params["model.maps"], params["parameters"]))
    assert logged == {("residual", "2", "258"), ("residual", "4", "568")}
    registered = "tests_tools_networks_Residual-colors"
    assert champions(client(ready)).keys() == {registered}

    for selected in (f"trained_model={registered}", "sweep=last"):
        succeeded(main(*dataset, selected, program="predict"))
    image = colors / "test" / "red_line" / "00.png"
    predicted = main("sweep=last", f"images={image}", program="predict")
    assert any(name in predicted.stdout for name in COLOR_CLASSES), predicted.stderr
    succeeded(main(f"run={next(ready.glob('runs/*'))}", program="reproduce"))

    network = lenet_exp.load(registered, trust="tests.tools.networks.Residual")
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for form in ("onnx", "pt2"):
        file = tmp_path / f"net.{form}"
        words = (f"trained_model={registered}", f"format={form}", f"output={file}")
        succeeded(main(*words, program="export"))
        with torch.inference_mode():
            exported_logits = READERS[form](file, images)
            logits = network(images)
        torch.testing.assert_close(exported_logits, logits, rtol=0, atol=1e-4)
