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
from functools import partial
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
        digests = {}
        for folder in folders:
            for file in folder.rglob("*"):
                if file.is_file() and file.name not in WRITTEN_BY_READERS:
                    digests[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        return digests


@pytest.fixture(scope="module")
def made(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    path = tmp_path_factory.mktemp("files")
    copy = tmp_path_factory.mktemp("copy") / "files"
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
    owner = failed / "owner.json"
    owner.write_text('{"host": "elsewhere", "pid": 1}')
    last_heartbeat = time.time() - DEAD_AGO
    os.utime(owner, (last_heartbeat, last_heartbeat))

    shutil.copytree(path, copy)
    return Whole(path, copy, one, other)


@pytest.fixture
def whole(made: Whole, monkeypatch: pytest.MonkeyPatch) -> Whole:
    shutil.rmtree(made.path)
    shutil.copytree(made.copy, made.path)
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(made.path / "outputs"))
    return made


def contents(original: bytes) -> Iterator[bytes]:
    """Yield contents after a crash, a full disk, a bad sector, an edit, or a write by another
    release.
    """
    yield b""
    yield original[: len(original) // 2]
    yield bytes(len(original))
    yield original * 2
    yield original.replace(b"e", b"\xff\xfe", 1)
    yield from (b"{}", b"[]", b"null", b"7", b"NaN", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}")
    if len(original) > 9:
        for position in (9, len(original) // 3, len(original) - 1):
            damaged = bytearray(original)
            damaged[position] ^= 4
            yield bytes(damaged)
    with contextlib.suppress(ValueError):
        value = json.loads(original)
        if isinstance(value, dict):
            yield from with_odd_values(value)


def with_odd_values(record: dict[str, Any]) -> Iterator[bytes]:
    """Yield a record once for each key: without it, or with an odd value."""
    for n, key in enumerate(record):
        damaged = {name: value for name, value in record.items() if name != key}
        if n % 2:
            damaged[key] = ODD[n // 2 % len(ODD)]
        yield json.dumps(damaged).encode()


KINDS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "pipe": os.mkfifo,
    "folder": lambda path: (path / "x").mkdir(parents=True),
    "loop": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


def read_everything(whole: Whole) -> None:
    """Call each function with which commands read files."""
    outputs = whole.path / "outputs"
    sweep = SweepFolder(whole.one.path)
    readers: list[Callable[[], object]] = [
        lambda: print_list(all_sweeps(outputs)),
        lambda: print_status(find_sweep(sweep.id)),
        lambda: load_comparisons(sweep.id, None, None, "lenet_exp", find_runs=runs_of_filter),
        lambda: find_sweep("last"),
        lambda: find_sweep(sweep.id).jobs(),
        sweep.owner,
    ]
    for path in (whole.path / "models").glob("*.safetensors"):
        readers.append(partial(load_file, path))
    for folder in all_runs(outputs):
        readers += [
            folder.begun,
            folder.history,
            folder.best_weights,
            folder.record,
            folder.checked_result,
            folder.delivered,
            folder.abandoned,
            partial(owner_of, folder.path),
            partial(find_run, folder.id),
        ]

    for read in readers:
        damage._warned_problems.clear()
        with contextlib.suppress(UserError):
            read()


FILES = [
    "outputs/sweeps/{one}/sweep.json",
    "outputs/sweeps/{one}/jobs.jsonl",
    "outputs/sweeps/{one}/ended/1",
    "outputs/runs/{finished}/record.json",
    "outputs/runs/{finished}/history.json",
    "outputs/runs/{finished}/delivered.json",
    "outputs/runs/{finished}/abandoned.json",
    "outputs/runs/{failed}/job.json",
    "outputs/runs/{finished}/best-*",
    "outputs/runs/{failed}/owner.json",
    "outputs/runs/{failed}/state-*",
    "{model}",
]


def names(whole: Whole) -> dict[str, str]:
    """Return the values of the placeholders in FILES and COMMANDS."""
    finished, failed = (job.folder.path.name for job in whole.one.jobs())
    (model,) = whole.path.glob(f"models/*_{finished[:8]}.safetensors")
    return {
        "one": whole.one.id,
        "finished": finished,
        "failed": failed,
        "model": str(model.relative_to(whole.path)),
    }


def file_of(whole: Whole, pattern: str) -> Path:
    """Return the last file that a pattern matches."""
    return sorted(whole.path.glob(pattern.format(**names(whole))))[-1]


@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize("pattern", FILES)
def test_readers_of_corrupt_file_return_or_raise_user_error(whole, pattern):
    file = file_of(whole, pattern)
    digests = whole.digests_of_other()
    original = file.read_bytes()

    for content in contents(original):
        file.write_bytes(content)
        read_everything(whole)
    for make in KINDS.values():
        file.unlink()
        make(file)
        read_everything(whole)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
        file.write_bytes(original)

    assert whole.digests_of_other() == digests


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
    file = file_of(whole, pattern)
    digests = whole.digests_of_other()
    placeholders = names(whole)
    program, *arguments = [word.format(**placeholders) for word in line]
    if how == "NUL":
        file.write_bytes(bytes(file.stat().st_size))
    else:
        file.unlink()
        KINDS[how](file)

    check(main(*arguments, program=program), program)
    assert whole.digests_of_other() == digests
