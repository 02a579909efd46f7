"""An outputs folder with all that there may be, to be damaged and made whole again.

Always at the same place, since MLflow's paths are absolute.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from tests.commands import MINE, NO_NETWORK, SMALL, Done, end, start
from tests.data.idx import pictures, write_mnist_like

ROOTS = ("outputs", "models", "mine", "data", "model.safetensors")
WRITTEN_BY_WHO_LOOKS = {"lock", "owner.json"}
SHOWING = ("compare the other", "status of the other")  # what concerns nothing that is damaged


@dataclass(frozen=True)
class Whole:
    """Two sweeps, one with a run that failed after a commit; a model file, an export, options, a data set.

    Attributes:
        files: what may be damaged, below `path`: all that is not of the other sweep.
        of_other: folders of the other sweep, its runs and their artifacts.
        others: digests of the files in those.
        readers: the commands that read all this, the program first.
        said: what the commands of `SHOWING` print.
    """

    path: Path
    copy: Path
    one: SweepFolder
    files: list[str]
    of_other: list[Path]
    others: dict[Path, str]
    readers: dict[str, list[str]]
    said: dict[str, str]

    def renew(self) -> None:
        """Makes everything whole."""
        for name in ROOTS:
            old, new = self.path / name, self.copy / name
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
            shutil.copytree(new, old) if new.is_dir() else shutil.copy2(new, old)


def digests(paths: list[Path]) -> dict[Path, str]:
    """Of all files in folders."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in paths
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in WRITTEN_BY_WHO_LOOKS
    }


def folders_of(sweep: SweepFolder) -> list[Path]:
    """Its own, those of its runs, and those of the runs' artifacts."""
    runs = [job.folder for job in sweep.jobs()]
    in_mlflow = [entry.run_id for run in runs for entry in run.delivered().mlflow_runs]
    artifacts = [sweep.outputs / "mlartifacts" / "lenet_exp" / run_id for run_id in in_mlflow]
    return [sweep.path, *(run.path for run in runs), *artifacts]


def done(path: Path, program: str, *arguments: str) -> Done:
    """A command in there, however long it takes."""
    return end(start(*arguments, outputs=path / "outputs", program=program, cwd=path, env=NO_NETWORK))


def make_whole(path: Path, copy: Path, empty_store: Path) -> Whole:
    """Trains, exports and looks at it."""
    shutil.copytree(empty_store, path / "outputs")
    shutil.copytree(MINE, path / "mine")
    write_mnist_like(path / "data", "OWN", *pictures(200))
    mnist = (CONF_DIR / "dataset" / "mnist.yaml").read_text()
    own = mnist.partition("sha256:")[0].replace("MNIST", "OWN").replace("name: mnist", "name: own")
    own += "sha256: {}" + mnist.partition("torchvision_class: MNIST")[2].replace("10000", "40")
    (path / "mine" / "dataset").mkdir()
    (path / "mine" / "dataset" / "own.yaml").write_text(own.replace("mirrors", "torchvision_class: null\nmirrors"))

    mine = f"--config-dir={path / 'mine'}"
    short = ("num_epoch=2", "tracking.plots=false", f"data_root={path / 'data'}")
    one = ["train", mine, "-m", "hydra/launcher=basic", *short, *SMALL, "activation=relu,raises", "model_path=models"]
    other = ["train", "-m", "hydra/launcher=basic", *short, *SMALL, "activation=tanh,selu", "tracking.models=none"]
    for command in (one, other):
        done(path, *command)
    (first,) = [sweep for sweep in all_sweeps(path / "outputs") if "raises" in sweep.started().command]
    (second,) = [sweep for sweep in all_sweeps(path / "outputs") if sweep.id != first.id]
    finished, failed = (job.folder for job in first.jobs())
    (run_id,) = [entry.run_id for entry in finished.delivered().mlflow_runs]
    (model,) = (path / "models").glob(f"*_{finished.id[:8]}.safetensors")
    export = ["export", "format=safetensors", f"trained_model=runs:/{run_id}"]
    done(path, *export, "output=model.safetensors")
    (first.path / "active" / "1").touch()
    (finished.path / "abandoned.json").write_text('[{"store": "s", "run_id": "r"}]')
    (failed.path / "owner.json").write_text('{"host": "elsewhere", "pid": 1}')
    readers = {
        "the same line": one,
        "one run of it": ["train", *short, *SMALL, "activation=relu"],
        "the run that failed": ["train", mine, *short, *SMALL, "activation=raises"],
        "the other line": other,
        "an own data set": ["train", mine, *short, "dataset=own", "batch_size=20"],
        "resume": ["train", "-m", f"sweep.resume={first.id}"],
        "options": ["train", mine, "--cfg", "job", *short, "dataset=own", "activation=raises"],
        "list": ["sweep", "list"],
        "status": ["sweep", "status", f"sweep={first.id}"],
        "status of the other": ["sweep", "status", f"sweep={second.id}"],
        "stop": ["sweep", "stop", f"sweep={first.id}"],
        "compare": ["compare", f"sweep={first.id}"],
        "compare both": ["compare", f"sweep={first.id},{second.id}", "output=both.html"],
        "compare the other": ["compare", f"sweep={second.id}"],
        "compare the store": ["compare", "filter="],
        "predict": ["predict", "dataset=digits"],
        "predict by file": ["predict", "dataset=digits", f"trained_model={model}"],
        "predict by export": ["predict", "dataset=digits", "trained_model=model.safetensors"],
        "predict by run": ["predict", "dataset=digits", f"trained_model=runs:/{run_id}"],
        "export": [*export, "output=again.safetensors"],
        "reproduce": ["reproduce", f"run={finished.id}"],
        "reproduce the run that failed": ["reproduce", f"run={failed.id}"],
        "check a run": ["reproduce", "check=true", f"run={finished.id}"],
        "check a model file": ["reproduce", "check=true", f"run={model}"],
        "check the champion": ["reproduce", "check=true", "run=champion:digits"],
        "sync": ["sync"],
        "sync the sweep": ["sync", f"sweep={first.id}"],
        "sync a run": ["sync", f"run={finished.id}"],
    }
    of_other = folders_of(second)
    files = [
        str(file.relative_to(path))
        for root in ROOTS
        for file in [path / root, *(path / root).rglob("*")]
        if not any(file.is_relative_to(folder) or folder.is_relative_to(file) for folder in of_other)
        and file.name not in ROOTS[:-1]
    ]
    said = {name: done(path, *readers[name]).stdout for name in SHOWING}
    for root in ROOTS:
        shutil.copytree(path / root, copy / root) if (path / root).is_dir() else shutil.copy2(path / root, copy / root)
    return Whole(path, copy, first, sorted(files), of_other, digests(of_other), readers, said)
