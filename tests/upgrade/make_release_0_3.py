"""Make release_0_3.tar.xz, an outputs folder of release 0.3.0, and release_0_3.json, what that
release prints about it.

With PLACE=/tmp/lenet_exp-release_0_3, a clone of 532c4119 in $PLACE/source and an environment with
the oldest supported dependencies (`.ci/oldest.py`) in $PLACE/python, under neutral names of host
and user:

    unshare --uts sh -c "hostname machine; env -i LOGNAME=user HOME=$PLACE/home \
        PATH=$PLACE/python/bin:/usr/bin:/bin python tests/upgrade/make_release_0_3.py"

The script takes about eight minutes. Do not run it again: tests compare the IDs in its results.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

PLACE = Path("/tmp/lenet_exp-release_0_3")
MINE = PLACE / "mine"  # the user's folder, in which all commands run
OUTPUTS = PLACE / "outputs"
UNDISTURBED = PLACE / "undisturbed"
COLLEAGUE = PLACE / "colleague"  # outputs folder of another user of the same MLflow server
KEPT = ("outputs", "mine")  # folders of PLACE that the archive contains

OWN_FILES = {
    "mine.py": '''"""A network, a loss, an augmentation, and a schedule of the user's own."""

import torch
from blocks import Block
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, in_channels, num_classes, activation, maps=4):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, maps, 5, stride=4)
        self.block = Block(maps, activation)
        self.head = nn.Linear(maps * 49, num_classes)

    def forward(self, images):
        return self.head(self.block(self.stem(images)).flatten(1))


class Margin(nn.Module):
    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def forward(self, logits, labels):
        return F.multi_margin_loss(logits, labels, margin=self.margin, reduction="none")


def noise(images, generator, strength=0.1):
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + strength * noise


def triangle(step, steps, peaks=2):
    return 1 - abs(2 * ((step + 0.5) / steps * peaks % 1) - 1)
''',
    "blocks.py": '''"""A helper of mine.py."""

from torch import nn


class Block(nn.Module):
    def __init__(self, maps, activation):
        super().__init__()
        self.norm = nn.BatchNorm2d(maps)
        self.conv = nn.Conv2d(maps, maps, 3, padding=1)
        self.activation = activation()

    def forward(self, x):
        return x + 1.0 * self.activation(self.conv(self.norm(x)))
''',
    "leaky.py": '''"""An activation of the user's own."""

import torch
from torch import nn


class Leaky(nn.Module):
    def __init__(self, slope=0.1):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.maximum(x, self.slope * x)
''',
    "recalls.py": '''"""A metric of the user's own."""


def worst_recall(labels, logits):
    correct = logits.argmax(1) == labels
    return min(correct[labels == label].float().mean() for label in labels.unique())
''',
    "conf/model/residual.yaml": (
        "name: residual\n_target_: mine.Residual\nmaps: 4 # number of maps\n"
    ),
    "conf/activation/leaky.yaml": "_target_: leaky.Leaky\nslope: 0.1\n",
    "conf/loss/margin.yaml": "_target_: mine.Margin\nmargin: 1.0\n",
    "conf/augmentation/noise.yaml": "own:\n  _target_: mine.noise\n  strength: 0.1\n",
    "conf/schedule/triangle.yaml": "own:\n  _target_: mine.triangle\n  peaks: 2\n",
    "conf/metric/worst_recall.yaml": (
        "_target_: recalls.worst_recall\ndirection: maximize\npercent: true\n"
    ),
    "conf/dataset/cells.yaml": f"""defaults: [arrays]
name: cells
file: {MINE}/cells.npz
val_size: 150
exact_classes: true
""",
    "conf/dataset/shapes.yaml": f"""defaults: [folder]
name: shapes
folder: {MINE}/shapes
channels: 3
image_size: 16
shows: things
val_size: 30
""",
}
SHAPES = ("bar", "box", "disk")
SHAPE_IMAGES = {"train": 40, "test": 20}  # number of images per class
EDIT = ("blocks.py", "x + 1.0 *", "x + 0.5 *")  # the second version of the user's network

SHORT = ("num_iter_echo=100", "tracking.plots=false", "num_epoch=3")
DIGITS = ("dataset=digits", "batch_size=16", "model.width=0.25", *SHORT, "optimizer.lr=0.02")
LONG = (
    "dataset=digits",
    "batch_size=2",
    "model.width=0.25",
    "num_iter_echo=500",
    "tracking.plots=false",
)
SEARCH = (
    "hydra/sweeper=search",
    "n_trials=8",
    "seeds=3",
    "search.seed=3",
    "sweep.workers=1",
    "num_epoch=20",
)
CONVNET = ("dataset=digits", "model=convnet", "model.channels=[4,8]", "batch_size=32", *SHORT)
OWN = ("dataset=cells", "model=residual", "batch_size=32", *SHORT, "optimizer.lr=0.05")
PARTS = (
    "loss=cross_entropy,margin",
    "metric=worst_recall",
    "augmentation=noise",
    "schedule=triangle",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    # enough configurations to moderate variances, a margin that was fixed in advance, and both
    # hooks
    "grid": (
        *("-m", *DIGITS, "activation=relu,selu,tanh", "optimizer.momentum=0,0.9", "seed=range(4)"),
        *(
            "sweep.margin=2",
            f"sweep.on_end='cat >{PLACE}/summary.json'",
            "sweep.webhook=${oc.env:WEBHOOK}",
        ),
    ),
    # network with a helper, loss, metric, augmentation, and schedule of the user's own, on arrays
    "own": ("-m", *OWN, *PARTS, "seed=0,1,2"),
    "own edited": ("-m", *OWN, *PARTS, "seed=0,1,2"),
    # two datasets, one in color; an activation of the user's own; noisy labels
    "two datasets": (
        *("-m", "dataset=digits,shapes", "activation=relu,leaky", "seed=0,1", "batch_size=16"),
        *("model.width=0.25", *SHORT, "optimizer.lr=0.02", "training.label_noise=0.1"),
    ),
    # diverges at one of two learning rates
    "diverged": ("-m", *OWN[:-1], "optimizer.lr=0.05,1e6", "seed=0,1"),
    "convnet": ("-m", *CONVNET, "training.ema_decay=0.9", "training.select=best,last", "seed=0,1"),
    # pruned, with additional seeds, and killed in a trial
    "search": (
        *("-m", *SEARCH, *LONG, "optimizer.lr=tag(log,interval(1e-4,0.02))"),
        "optimizer.momentum=choice(0.5,0.9)",
    ),
    "shorter": (*DIGITS, "seed=5"),
    "continued": (*DIGITS, "seed=5", "num_epoch=5"),
    "killed": (*LONG, "num_epoch=30", "seed=7", "optimizer.lr=0.001"),
    "taken over": (*DIGITS, "seed=6", "activation=tanh"),
}
PLANS = {  # flags of lenet-compare that plan and run a confirmation of `grid`
    "confirmation": ("confirm=1", "seeds=3", "run=true"),
    "equivalence": ("confirm=equivalence", "margin=5", "seeds=3", "run=true"),
}
TESTED = (  # leaders and their ensembles that are evaluated on test sets
    ("grid", "digits"),
    ("two datasets", "shapes"),
    ("own edited", "cells"),
    ("confirmation", "digits"),
)
LEFT_OUT = ("bins", "classes", "files", "test_opened")  # of the results of lenet-predict


def start(
    program: str, *arguments: str, outputs: Path = OUTPUTS, **environment: str
) -> subprocess.Popen[str]:
    """Start a command of release 0.3.0 in the user's folder."""
    paths = {
        "LENET_EXP_OUTPUTS": str(outputs),
        "LENET_EXP_DATA": str(PLACE),
        "PYTHONPATH": f"{PLACE}/source",
    }
    command = [sys.executable, "-m", "lenet_exp", program, *arguments]
    return subprocess.Popen(
        command, cwd=MINE, env=os.environ | paths | environment, text=True, stdout=subprocess.PIPE
    )


def lenet(
    program: str, *arguments: str, outputs: Path = OUTPUTS, status: int = 0, **environment: str
) -> str:
    """Run a command to its end, check its exit status, and return what it prints."""
    process = start(program, *arguments, outputs=outputs, **environment)
    output = process.communicate()[0]
    assert process.returncode == status, (program, arguments, process.returncode)
    return output


def written(program: str, *arguments: str) -> Any:
    """Return the JSON that a command writes with output=."""
    path = PLACE / "written.json"
    lenet(program, *arguments, f"output={path}")
    return json.loads(path.read_text())


def kill(*arguments: str, when: Callable[[], bool]) -> None:
    """Start lenet-train and kill its process once `when` returns True."""
    process = start("train", *arguments)
    while not when():
        time.sleep(0.002)
        assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(35)  # the worker of a sweep writes a checkpoint and exits


def neutral(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the names of the user who made the archive."""
    member.uname = member.gname = ""
    member.uid = member.gid = 0
    return member


def write_own_files() -> None:
    """Write the user's code, option files, and images of three shapes."""
    for name, text in OWN_FILES.items():
        path = MINE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    draws = np.random.default_rng(3)
    arrays = {}
    for part, count in (("", 600), ("test_", 200)):
        labels = draws.integers(0, 3, count)
        images = draws.integers(0, 130, (count, 16, 16))
        for image, label in zip(images, labels, strict=True):
            row, column = draws.integers(1, 5, 2)
            side = draws.integers(7, 10)
            if label == 0:
                image[row : row + side, column] += 90
            elif label == 1:
                image[row, column : column + side] += 90
            else:
                image[row : row + side, column : column + side].flat[:: side + 1] += 90
        arrays[f"{part}images"] = images.astype(np.uint8)
        arrays[f"{part}labels"] = labels
    np.savez_compressed(MINE / "cells.npz", **arrays)
    write_color_pictures(draws)


def write_color_pictures(draws: np.random.Generator) -> None:
    """Write color pictures of three shapes, one folder for each class."""
    for part, images in SHAPE_IMAGES.items():
        for name in SHAPES:
            folder = MINE / "shapes" / part / name
            folder.mkdir(parents=True)
            for number in range(images):
                x, y, side = (int(value) for value in draws.integers((1, 1, 6), (6, 6, 9)))
                color = tuple(int(value) for value in draws.integers(120, 256, 3))
                picture = Image.new("RGB", (16, 16))
                pen = ImageDraw.Draw(picture)
                shape = {"bar": pen.line, "box": pen.rectangle, "disk": pen.ellipse}[name]
                shape((x, y, x + side, y + side), fill=color)
                picture.save(folder / f"{number:02}.png")


@contextlib.contextmanager
def webhook() -> Iterator[str]:
    """Accept POST requests, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@contextlib.contextmanager
def mlflow_server() -> Iterator[str]:
    """Run `mlflow server`, and yield its address once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    folder = PLACE / "server"
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder),
    ]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, *stores], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while True:
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{address}/health", timeout=60)
                break
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def in_mlflow(outputs: Path) -> dict[str, Any]:
    """Return what MLflow shows of each run and sweep, by the name of its folder."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "lenet_exp")
    return {
        run.data.tags.get("run_folder") or run.data.tags["sweep"]: {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "metrics": run.data.metrics,
            "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            "tags": {k: v for k, v in run.data.tags.items() if k != "mlflow.note.content"},
        }
        for run in client.search_runs([experiment.experiment_id])
    }


def folders(kind: str) -> set[Path]:
    return set((OUTPUTS / kind).glob("*"))


def trained_epochs(run: Path) -> int:
    log = run / "run.log"
    return log.read_text().count("INFO epoch ") if log.is_file() else 0


def make() -> dict[str, str]:
    """Fill the outputs folder, and return the IDs of the sweeps and single runs by name."""
    made: dict[str, str] = {}

    def note(name: str, kind: str = "sweeps") -> None:
        (made[name],) = (path.name for path in folders(kind) - known[kind])
        known[kind] = folders(kind)
        known["runs"] = folders("runs")

    known: dict[str, set[Path]] = {"sweeps": set(), "runs": set()}
    with webhook() as address:
        lenet("train", *COMMANDS["grid"], WEBHOOK=address)
    note("grid")
    for name, plan in PLANS.items():
        lenet("compare", f"sweep={made['grid']}", *plan)
        note(name)
    lenet("train", *COMMANDS["own"])
    note("own")
    file, before, after = EDIT
    text = (MINE / file).read_text()
    assert before in text
    (MINE / file).write_text(text.replace(before, after))
    lenet("train", *COMMANDS["own edited"])
    note("own edited")
    for name in ("two datasets", "convnet"):
        lenet("train", *COMMANDS[name])
        note(name)
    lenet("train", *COMMANDS["diverged"], status=1)
    note("diverged")
    for name in ("shorter", "continued"):
        lenet("train", *COMMANDS[name])
        note(name, "runs")
    lenet(
        "train", *DIGITS, "seed=8", "num_epoch=1", f"init_from={OUTPUTS}/runs/{made['continued']}"
    )
    note("init_from", "runs")
    arrays = "import lenet_exp, numpy; cells = numpy.load('cells.npz');"
    overrides = [*SHORT, "batch_size=32", "model.width=0.25", "seed=9", "dataset.val_size=100"]
    arrays += f"lenet_exp.train({overrides},"
    arrays += "images=cells['images'], labels=cells['labels'])"
    environment = {"LENET_EXP_OUTPUTS": str(OUTPUTS), "PYTHONPATH": f"{PLACE}/source"}
    subprocess.run(
        [sys.executable, "-c", arrays], cwd=MINE, env=os.environ | environment, check=True
    )
    note("arrays", "runs")
    with mlflow_server() as address:
        for outputs in (COLLEAGUE, OUTPUTS):
            lenet("train", *COMMANDS["taken over"], f"tracking.uri={address}", outputs=outputs)
    note("taken over", "runs")
    for name, dataset in TESTED:
        lenet("predict", f"sweep={made[name]}", f"dataset={dataset}", "ensemble=true")

    def in_a_late_trial() -> bool:
        """Return whether a trial is being trained with its first seed."""
        new = folders("runs") - known["runs"]
        ended = {path for path in new if (path / "record.json").is_file()}
        running = [path for path in new - ended if trained_epochs(path) >= 3]
        names = [json.loads((path / "job.json").read_text())["name"] for path in running]
        return len(ended) >= 8 and any("seed=" not in name for name in names)

    before_search = known["runs"]
    kill(*COMMANDS["search"], when=in_a_late_trial)
    note("search")
    trials = folders("runs") - before_search
    outcomes = [json.loads((path / "record.json").read_text())["outcome"] for path in trials]
    assert outcomes.count("killed") == 1
    assert outcomes.count("pruned") >= 1
    kill(
        *COMMANDS["killed"],
        when=lambda: any(trained_epochs(path) >= 10 for path in folders("runs") - known["runs"]),
    )
    note("killed", "runs")
    return made


def predictions(made: dict[str, str]) -> dict[str, list[str]]:
    """Return the flags of lenet-predict for each prediction that is compared."""
    color = ["dataset=shapes", "trained_model=lenet5-shapes", "trust=leaky"]
    return {
        "color": color,
        "picture": [*color, f"images=[{MINE}/shapes/test/box/00.png]"],
        "color ensemble": ["dataset=shapes", f"sweep={made['two datasets']}", "ensemble=true"],
        "champion": ["dataset=digits"],
        "run folder": ["dataset=digits", f"trained_model={OUTPUTS}/runs/{made['init_from']}"],
        "own network": [
            "dataset=cells",
            "trained_model=mine_Residual-cells-worst_recall",
            "trust=mine.Residual",
        ],
        "own sweep": ["dataset=cells", f"sweep={made['own']}"],
        "ensemble": ["dataset=digits", f"sweep={made['grid']}", "ensemble=true"],
        "convnets": ["dataset=digits", f"sweep={made['convnet']}", "configurations=all"],
        "confirmation": ["dataset=digits", f"sweep={made['confirmation']}"],
    }


def without_details(result: Any) -> Any:
    """Remove what a prediction prints for each class, bin of the calibration, and file."""
    if isinstance(result, list):
        return [without_details(part) for part in result]
    if isinstance(result, dict):
        return {key: without_details(part) for key, part in result.items() if key not in LEFT_OUT}
    return result


def exported_logits(made: dict[str, str]) -> dict[str, Any]:
    """Return the logits of exported models for three images, by the name of the run or sweep."""
    import onnxruntime

    images = np.random.default_rng(5).uniform(-1, 1, (3, 1, 32, 32)).astype(np.float32)
    logits = {}
    for name in ("grid", "convnet", "own"):
        file = PLACE / "model.onnx"
        lenet("export", "format=onnx", f"sweep={made[name]}", f"output={file}")
        (values,) = onnxruntime.InferenceSession(file).run(None, {"images": images})
        logits[name] = values.tolist()
    return logits


def expected(made: dict[str, str]) -> dict[str, Any]:
    """Return what release 0.3.0 prints about the outputs folder, and the results of both killed
    commands.
    """
    for name in ("search", "killed"):
        lenet("train", *COMMANDS[name], outputs=UNDISTURBED)
    records = [json.loads(path.read_text()) for path in UNDISTURBED.glob("runs/*/record.json")]
    sweeps = {path.name for path in folders("sweeps")}
    compared = {name: [f"sweep={which}"] for name, which in made.items() if which in sweeps}
    compared |= {
        "last epoch": [f"sweep={made['grid']}", "by=last"],
        "best per activation": [f"sweep={made['grid']}", "best_per=activation"],
        "part": [f"sweep={made['grid']}", "only=activation=relu,tanh"],
        "two versions": [f"sweep={made['own']},{made['own edited']}"],
        "filter": ["filter=params.dataset = 'digits' and params.model = 'lenet5'"],
    }
    return {
        "made": made,
        "commands": COMMANDS,
        "list": lenet("sweep", "list"),
        "status": lenet("sweep", "status", f"sweep={made['search']}"),
        "flags": {program: lenet(program, "--cfg", "job") for program in ("train", "predict")},
        "compare": {
            name: {"flags": flags, "gives": written("compare", *flags)}
            for name, flags in compared.items()
        },
        "predict": {
            name: {"flags": flags, "gives": without_details(written("predict", *flags))}
            for name, flags in predictions(made).items()
        },
        "logits": exported_logits(made),
        "undisturbed": {record["fingerprint"]: record["weights_digest"] for record in records},
        "undisturbed_mlflow": in_mlflow(UNDISTURBED)[made["killed"]],
    }


if __name__ == "__main__":
    for folder in (OUTPUTS, UNDISTURBED, COLLEAGUE, MINE, PLACE / "server"):
        shutil.rmtree(folder, ignore_errors=True)
    write_own_files()
    made_by_release = make()
    with tarfile.open(PLACE / "release_0_3.tar.xz", "w:xz", preset=9) as archive:
        for kept in KEPT:
            archive.add(PLACE / kept, kept, filter=neutral)
    values = json.dumps(expected(made_by_release), indent=1, sort_keys=True)
    (PLACE / "release_0_3.json").write_text(values.replace(str(UNDISTURBED), str(OUTPUTS)) + "\n")
