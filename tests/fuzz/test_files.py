"""A corrupt file of a sweep, run, store, or model gives a result or a one-line error, and other
files stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.errors import UserError
from lenet_exp.folders import damage
from lenet_exp.folders.find import all_runs, find_run, find_sweep
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.reports.terminal.sweep_status import print_list, print_status
from lenet_exp.sweeps.comparisons import load_comparisons
from lenet_exp.tracking.models.load import load_file
from lenet_exp.tracking.stores.find_runs import runs_of_filter
from tests.fuzz.test_lines import check
from tests.tools.commands import MINE, SMALL, lenet_train

SHORT = ("-m", "hydra/launcher=basic", *SMALL, "num_epoch=2", "tracking.plots=false")
ODD: list[Any] = [
    None,
    -1,
    10**400,
    "\ud800",
    "../../x",
    [[]],
    {"a": {"b": [None]}},
    1.5,
    True,
    float("nan"),
]
WRITTEN_BY_READERS = {"lock", "owner.json"}
DEAD_AGO = 1000.0  # seconds since the heartbeat of an owner on another machine


@dataclass(frozen=True)
class Whole:
    """Two sweeps, one with a run that failed after a checkpoint, and a model file; and a copy of
    all files.

    The folder stays the same, because MLflow's paths are absolute.
    """

    path: Path
    copy: Path
    one: SweepFolder
    other: SweepFolder

    def digests_of_other(self) -> dict[Path, str]:
        """Return the digests of all files of the other sweep and its runs."""
        folders = [self.other.path, *(job.folder.path for job in self.other.jobs())]
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        kept = [file for file in files if file.name not in WRITTEN_BY_READERS]
        return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept}


@pytest.fixture(scope="module")
def made(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    path, copy = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("copy") / "files"
    outputs = Path(shutil.copytree(empty_store, path / "outputs"))
    lenet_train(
        f"--config-dir={MINE}",
        *SHORT,
        "activation=relu,raises",
        f"model_path={path / 'models'}",
        outputs=outputs,
    )
    (one,) = all_sweeps(outputs)
    lenet_train(*SHORT, "activation=tanh", "tracking.models=none", outputs=outputs)
    (other,) = [sweep for sweep in all_sweeps(outputs) if sweep.id != one.id]
    finished, failed = (job.folder.path for job in one.jobs())
    (finished / "abandoned.json").write_text('[{"store": "s", "run_id": "r"}]')
    (failed / "owner.json").write_text('{"host": "elsewhere", "pid": 1}')
    os.utime(failed / "owner.json", (time.time() - DEAD_AGO, time.time() - DEAD_AGO))
    shutil.copytree(path, copy)
    return Whole(path, copy, one, other)


@pytest.fixture
def whole(made: Whole, monkeypatch: pytest.MonkeyPatch) -> Whole:
    shutil.rmtree(made.path)
    shutil.copytree(made.copy, made.path)
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(made.path / "outputs"))
    return made


def contents(held: bytes) -> Iterator[bytes]:
    """Yield contents after a crash, a full disk, a bad sector, an edit, or a write by another
    release.
    """
    yield from (
        b"",
        held[: len(held) // 2],
        bytes(len(held)),
        held * 2,
        held.replace(b"e", b"\xff\xfe", 1),
    )
    yield from (b"{}", b"[]", b"null", b"7", b"NaN", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}")
    for at in (9, len(held) // 3, len(held) - 1) if len(held) > 9 else ():
        yield held[:at] + bytes([held[at] ^ 4]) + held[at + 1 :]
    with contextlib.suppress(ValueError):
        value = json.loads(held)
        for n, key in enumerate(value if isinstance(value, dict) else ()):
            without = {k: v for k, v in value.items() if k != key}
            yield json.dumps(without | ({key: ODD[n // 2 % len(ODD)]} if n % 2 else {})).encode()


KINDS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "pipe": os.mkfifo,
    "folder": lambda path: (path / "x").mkdir(parents=True),
    "loop": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


def read_everything(whole: Whole) -> None:
    """Call each function with which commands read files."""
    outputs, sweep = whole.path / "outputs", SweepFolder(whole.one.path)
    found: list[Callable[[], object]] = [
        lambda: print_list(all_sweeps(outputs)),
        lambda: print_status(find_sweep(sweep.id)),
        lambda: load_comparisons(sweep.id, None, None, "lenet_exp", find_runs=runs_of_filter),
        lambda: find_sweep("last"),
        lambda: find_sweep(sweep.id).jobs(),
        sweep.owner,
        *(
            lambda path=path: load_file(path)
            for path in (whole.path / "models").glob("*.safetensors")
        ),  # type: ignore[misc]
    ]
    for folder in all_runs(outputs):
        names = (
            "begun",
            "history",
            "best_weights",
            "record",
            "checked_result",
            "delivered",
            "abandoned",
        )
        found += [getattr(folder, name) for name in names]
        found += [
            lambda folder=folder: owner_of(folder.path),
            lambda folder=folder: find_run(folder.id),
        ]  # type: ignore[misc]
    for read in found:
        damage._warned_problems.clear()
        with contextlib.suppress(UserError):
            read()


FILES = [
    "outputs/sweeps/{one}/sweep.json",
    "outputs/sweeps/{one}/jobs.jsonl",
    "outputs/sweeps/{one}/ended/1",
    *(
        f"outputs/runs/{{finished}}/{name}.json"
        for name in ("record", "history", "delivered", "abandoned")
    ),
    "outputs/runs/{failed}/job.json",
    "outputs/runs/{finished}/best-*",
    "outputs/runs/{failed}/owner.json",
    "outputs/runs/{failed}/state-*",
    "{model}",
]


def names(whole: Whole) -> dict[str, str]:
    finished, failed = (job.folder.path.name for job in whole.one.jobs())
    (model,) = whole.path.glob(f"models/*_{finished[:8]}.safetensors")
    found = {"one": whole.one.id, "finished": finished, "failed": failed}
    return found | {"model": str(model.relative_to(whole.path))}


def file_of(whole: Whole, pattern: str) -> Path:
    return sorted(whole.path.glob(pattern.format(**names(whole))))[-1]


@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize("pattern", FILES)
def test_readers_of_corrupt_file_return_or_raise_user_error(whole, pattern):
    file, before = file_of(whole, pattern), whole.digests_of_other()
    for content in contents(held := file.read_bytes()):
        file.write_bytes(content)
        read_everything(whole)
    for make in KINDS.values():
        file.unlink()
        make(file)
        read_everything(whole)
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(
            missing_ok=True
        )
        file.write_bytes(held)
    assert whole.digests_of_other() == before


COMMANDS = [
    ("outputs/mlflow.db", "NUL", ["compare", "filter="]),
    ("outputs/mlflow.db", "folder", ["sync"]),
    ("outputs/mlartifacts/**/*.safetensors", "NUL", ["predict", "dataset=digits"]),
    ("{model}", "pipe", ["predict", "dataset=digits", "trained_model={model}"]),
    ("{model}", "NUL", ["reproduce", "run={model}"]),
    ("outputs/runs/{finished}/record.json", "pipe", ["reproduce", "run={finished}"]),
    ("outputs/sweeps/{one}/jobs.jsonl", "link to a device", ["sweep", "stop", "sweep={one}"]),
    ("outputs/runs/{failed}/state-*", "loop", ["train", "-m", "sweep.resume={one}"]),
]


@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize(("pattern", "how", "line"), COMMANDS)
def test_command_with_corrupt_file_ends_with_result_or_one_line(
    whole, main, pattern, how, line, monkeypatch
):
    monkeypatch.chdir(whole.path)
    file, before = file_of(whole, pattern), whole.digests_of_other()
    program, *arguments = [part.format(**names(whole)) for part in line]
    if how == "NUL":
        file.write_bytes(bytes(file.stat().st_size))
    else:
        file.unlink()
        KINDS[how](file)
    check(main(*arguments, program=program), program)
    assert whole.digests_of_other() == before
