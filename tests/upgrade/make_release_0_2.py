"""Create release_0_2.tar.xz, an outputs folder of release 0.2.0, and release_0_2.json, that release's results for it.

With PLACE=/tmp/lenet_exp-release_0_2, a clone of 148f6a66 in $PLACE/source and an environment with the oldest supported
dependencies (`.ci/oldest.py`) in $PLACE/python, under neutral names of host and user:

    unshare --uts sh -c "hostname machine; env -i LOGNAME=user HOME=$PLACE/home PATH=$PLACE/python/bin:/usr/bin:/bin \
        python tests/upgrade/make_release_0_2.py"
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

PLACE = Path("/tmp/lenet_exp-release_0_2")
OUTPUTS, UNDISTURBED = PLACE / "outputs", PLACE / "undisturbed"
KEPT = ("outputs", "mine", "shapes")  # the folders of PLACE in the archive

OWN_PARTS = {
    "parts.py": """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_channels, num_classes, activation, maps=4):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(in_channels, maps, 5, stride=4), nn.BatchNorm2d(maps)
        self.activation = activation()
        self.head = nn.Linear(maps * 49, num_classes)

    def forward(self, images):
        return self.head(self.activation(self.norm(self.stem(images))).flatten(1))


class Leaky(nn.Module):
    def __init__(self, slope=0.1):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.maximum(x, self.slope * x)
""",
    "model/net.yaml": "_target_: parts.Net\nname: net\nmaps: 4\n",
    "activation/leaky.yaml": "_target_: parts.Leaky\nname: leaky\nslope: 0.1\n",
    "dataset/shapes.yaml": f"""defaults: [folder]
name: shapes
folder: {PLACE}/shapes
channels: 3
image_size: 16
shows: things
val_size: 30
""",
}
SHAPES = ("bar", "box", "disk")
IMAGES = {"train": 40, "test": 20}  # number of images per class

MINE = ("--config-dir", "mine")
SMALL = ("batch_size=16", "num_iter_echo=100", "model.width=0.25", "tracking.plots=false")
LONG = ("dataset=digits", "batch_size=2", "model.width=0.25", "num_iter_echo=500", "tracking.plots=false")
SEARCH = ("hydra/sweeper=search", "n_trials=8", "seeds=3", "search.seed=3", "sweep.workers=1", "num_epoch=20")
COMMANDS = {
    # two datasets, one in color; an activation of the user's own; noisy labels
    "grid": (
        *("-m", *MINE, "dataset=digits,shapes", "activation=relu,leaky", "seed=0,1", *SMALL, "num_epoch=3"),
        *("optimizer.lr=0.02", "training.label_noise=0.1"),
    ),
    # a network of the user's own, which diverges at one of two learning rates
    "own": ("-m", *MINE, "dataset=digits", "model=net", "optimizer.lr=0.05,1e6", "seed=0,1", *SMALL[:2], "num_epoch=3"),
    "base": ("-m", "dataset=digits", "activation=selu,tanh", "seed=0,1,2", *SMALL, "num_epoch=3", "optimizer.lr=0.02"),
    # pruned, with additional seeds, and killed in a trial
    "search": ("-m", *SEARCH, *LONG, "optimizer.lr=tag(log,interval(1e-4,0.02))", "optimizer.momentum=choice(0.5,0.9)"),
    "killed": (*LONG, "num_epoch=30", "seed=7", "optimizer.lr=0.001"),
}
TESTED = (("grid", "digits"), ("grid", "shapes"), ("base", "digits"))  # leaders and their ensembles on test sets
LEFT_OUT = ("bins", "classes", "files", "test_opened")  # of the results of lenet-predict
PLANS = {  # how the two confirmations of `base` are planned
    "confirmation": ("confirm=1", "seeds=3", "run=true"),
    "equivalence": ("confirm=equivalence", "margin=5", "seeds=3", "run=true"),
}


def start(program: str, *arguments: str, outputs: Path = OUTPUTS) -> subprocess.Popen[str]:
    paths = {"OUTPUTS": str(outputs), "DATA": str(PLACE)}
    paths = {f"LENET_EXP_{name}": path for name, path in paths.items()} | {"PYTHONPATH": f"{PLACE}/source:{PLACE}/mine"}
    command = [sys.executable, "-m", "lenet_exp", program, *arguments]
    return subprocess.Popen(command, cwd=PLACE, env=os.environ | paths, text=True, stdout=subprocess.PIPE)


def lenet(program: str, *arguments: str, outputs: Path = OUTPUTS) -> str:
    return start(program, *arguments, outputs=outputs).communicate()[0]


def written(program: str, *arguments: str) -> Any:
    """Return the JSON that a command writes with output=."""
    lenet(program, *arguments, f"output={PLACE}/written.json")
    return json.loads((PLACE / "written.json").read_text())


def kill(*arguments: str, when: Callable[[], bool]) -> None:
    """Start lenet-train and kill its process once `when` returns True."""
    process = start("train", *arguments)
    while not when():
        time.sleep(0.002)
        assert process.poll() is None, "the command ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(35)  # the worker of a sweep writes a checkpoint and exits


def neutral(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the names of the user who created the archive."""
    member.uname = member.gname = ""
    member.uid = member.gid = 0
    return member


def own_parts() -> None:
    """Write the user's network, activation and dataset."""
    for name, text in OWN_PARTS.items():
        (PLACE / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (PLACE / "mine" / name).write_text(text)
    draws = np.random.default_rng(2)
    for part, images in IMAGES.items():
        for name in SHAPES:
            folder = PLACE / "shapes" / part / name
            folder.mkdir(parents=True)
            for number in range(images):
                x, y, side = (int(value) for value in draws.integers((1, 1, 6), (6, 6, 9)))
                picture = Image.new("RGB", (16, 16))
                pen = ImageDraw.Draw(picture)
                shape = {"bar": pen.line, "box": pen.rectangle, "disk": pen.ellipse}[name]
                shape((x, y, x + side, y + side), fill=tuple(int(value) for value in draws.integers(120, 256, 3)))
                picture.save(folder / f"{number:02}.png")


def in_mlflow(outputs: Path) -> dict[str, Any]:
    """Return the content of each MLflow run by the name of its run folder or sweep folder."""
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


def predictions(made: dict[str, str]) -> dict[str, list[str]]:
    """Return the flags of lenet-predict for each prediction to compare."""
    picture = f"images=[{PLACE}/shapes/test/box/00.png]"
    return {
        "champion": ["dataset=digits"],
        "own network": ["dataset=digits", "trained_model=net-digits", "trust=parts.Net"],
        "color": [*MINE, "dataset=shapes", "trained_model=lenet5-shapes", "trust=parts"],
        "picture": [*MINE, "dataset=shapes", "trained_model=lenet5-shapes", "trust=parts", picture],
        "ensemble": [f"sweep={made['base']}", "dataset=digits", "ensemble=true"],
        "color ensemble": [*MINE, f"sweep={made['grid']}", "dataset=shapes", "ensemble=true", "trust=parts"],
        "all": [f"sweep={made['base']}", "dataset=digits", "configurations=all"],
        "confirmation": [f"sweep={made['confirmation']}", "dataset=digits"],
    }


def values(result: Any) -> Any:
    """Remove results per class, calibration bin and file, and the number of evaluations."""
    if isinstance(result, list):
        return [values(part) for part in result]
    if isinstance(result, dict):
        return {key: values(part) for key, part in result.items() if key not in LEFT_OUT}
    return result


def exported(made: dict[str, str]) -> list[list[float]]:
    """Return the logits of the exported ensemble for three images."""
    import onnxruntime

    file = PLACE / "ensemble.onnx"
    lenet("export", "format=onnx", f"sweep={made['base']}", "ensemble=true", f"output={file}")
    images = np.random.default_rng(5).uniform(-1, 1, (3, 1, 32, 32)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(file).run(None, {"images": images})
    return logits.tolist()


def make() -> dict[str, str]:
    """Fill the outputs folder, and return the ID of each sweep and of the killed run by name."""
    made: dict[str, str] = {}

    def note(name: str) -> None:
        (made[name],) = (path.name for path in folders("sweeps") if path.name not in made.values())

    for name in ("grid", "own", "base"):
        lenet("train", *COMMANDS[name])
        note(name)
    for name, plan in PLANS.items():
        lenet("compare", f"sweep={made['base']}", *plan)
        note(name)
    for name, dataset in TESTED:
        lenet("predict", *MINE, f"sweep={made[name]}", f"dataset={dataset}", "ensemble=true", "trust=parts")
    known = folders("runs")

    def trained(path: Path, epochs: int) -> bool:
        log = path / "run.log"
        return log.is_file() and log.read_text().count("INFO epoch ") >= epochs

    def in_a_late_trial() -> bool:
        """Return whether a late trial is training with its first seed."""
        new = folders("runs") - known
        ended = [path for path in new if (path / "record.json").is_file()]
        return len(ended) >= 8 and any(
            trained(path, 3) and "seed=" not in json.loads((path / "job.json").read_text())["name"]
            for path in new.difference(ended)
        )

    kill(*COMMANDS["search"], when=in_a_late_trial)
    note("search")
    outcomes = [json.loads((path / "record.json").read_text())["outcome"] for path in folders("runs") - known]
    assert outcomes.count("killed") == 1
    known = folders("runs")
    kill(*COMMANDS["killed"], when=lambda: any(trained(path, 10) for path in folders("runs") - known))
    (made["killed"],) = (path.name for path in folders("runs") - known)
    return made


def expected(made: dict[str, str]) -> dict[str, Any]:
    for name in ("search", "killed"):
        lenet("train", *COMMANDS[name], outputs=UNDISTURBED)
    records = [json.loads(path.read_text()) for path in UNDISTURBED.glob("runs/*/record.json")]
    flags = {name: f"sweep={made[name]}" for name in made if name != "killed"} | {"every run": "filter="}
    compared = {name: {"flags": [flag], "gives": written("compare", flag)} for name, flag in flags.items()}
    said = {
        "list": lenet("sweep", "list"),
        "status": lenet("sweep", "status", f"sweep={made['search']}"),
        "usage": lenet("sweep", "du"),
    }
    return said | {
        "made": made,
        "commands": COMMANDS,
        "flags": {program: lenet(program, "--cfg", "job") for program in ("train", "predict")},
        "compare": compared,
        "predict": {
            name: {"flags": flags, "gives": values(written("predict", *flags))}
            for name, flags in predictions(made).items()
        },
        "logits": exported(made),
        "undisturbed": {record["fingerprint"]: record["weights_digest"] for record in records},
        "undisturbed_mlflow": {k: v for k, v in in_mlflow(UNDISTURBED).items() if k == made["killed"]},
    }


if __name__ == "__main__":
    for folder in (OUTPUTS, UNDISTURBED, PLACE / "mine", PLACE / "shapes"):
        shutil.rmtree(folder, ignore_errors=True)
    own_parts()
    left = make()
    with tarfile.open(PLACE / "release_0_2.tar.xz", "w:xz", preset=9) as archive:
        for kept in KEPT:
            archive.add(PLACE / kept, kept, filter=neutral)
    text = json.dumps(expected(left), indent=1, sort_keys=True).replace(str(UNDISTURBED), str(OUTPUTS))
    (PLACE / "release_0_2.json").write_text(text + "\n")
