"""Any file of a sweep, a run, a store, a model or a data set may be damaged: an answer or one line, soon, and what is
beside it stays.

FUZZ_EXAMPLES=5000 looks at so many; by default a few.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.commands.sources import find
from lenet_exp.errors import UserError
from lenet_exp.folders import damage
from lenet_exp.folders.find import all_runs, find_run, find_sweep
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.reports.sweep_status import print_list, print_status
from lenet_exp.tracking.load import load_file
from tests.fuzz.damages import WAYS, apply
from tests.fuzz.test_lines import check, fuzz, run
from tests.fuzz.whole import SHOWING, Whole, digests, make_whole

# What a command says on standard output with a status of its own.
ANSWERS = {("sync", 1): "\nleft: ", ("reproduce", 1): "run: ", ("reproduce", 3): "run: "}
DEAD_AGO = 1000.0  # seconds since the heartbeat of an owner on another machine


@pytest.fixture(scope="module")
def whole(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return make_whole(tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("copy"), empty_store)


def damaged(whole: Whole, which: int, how: str, seed: int, undelivered: bool = False) -> Path:
    """Makes all whole, then damages one file.

    Args:
        undelivered: MLflow has got nothing of the runs, by their own books.
    """
    whole.renew()
    file = whole.path / whole.files[which % len(whole.files)]
    if undelivered:
        for book in whole.one.outputs.glob("runs/*/delivered.json"):
            if book not in whole.others:
                book.unlink()
    if file.exists():
        apply(how, file, random.Random(seed))
    if file.name == "owner.json" and file.is_file():
        os.utime(file, (time.time() - DEAD_AGO, time.time() - DEAD_AGO))
    return file


any_damage = {"which": st.integers(0, 10_000), "how": st.sampled_from(WAYS), "seed": st.integers(0, 2**32)}


@pytest.mark.slow(seconds=55)
@fuzz(8)
@given(**any_damage, undelivered=st.booleans(), data=st.data())
def test_a_command(which, how, seed, undelivered, data, whole):
    file = damaged(whole, which, how, seed, undelivered)
    name = data.draw(st.sampled_from(sorted(whole.readers)))
    program, *arguments = whole.readers[name]
    done = run(whole.path, program, *arguments)
    says = ANSWERS.get((program, done.returncode))
    if says is None:
        check(done, program)
    else:
        assert "Traceback" not in done.stdout + done.stderr
        assert says in done.stdout
    if name != "the other line":
        assert digests(list(whole.of_other)) == whole.others, file
    if name in SHOWING and file.name != "mlflow.db":
        assert done.stdout == whole.said[name]


def reads(whole: Whole) -> dict[str, Callable[[], object]]:
    """What the commands read with, one after the other."""
    sweep = SweepFolder(whole.one.path)
    outputs = whole.path / "outputs"
    found: dict[str, Callable[[], object]] = {
        "list": lambda: print_list(all_sweeps(outputs)),
        "status": lambda: print_status(sweep),
        "compare": lambda: find(sweep.id, None, None, "lenet_exp"),
        "find": lambda: find_sweep(sweep.id),
        "last": lambda: find_sweep("last"),
        "jobs at": lambda: [sweep.job_at(offset) for offset in sweep.offsets()],
        "owner": sweep.owner,
    }
    for path in whole.path.rglob("*.safetensors"):
        found[f"load {path.name}"] = lambda path=path: load_file(path)  # type: ignore[misc]
    for folder in all_runs(outputs):
        found |= {
            f"{folder.id} {name}": getattr(folder, name)
            for name in ("begun", "history", "best_weights", "record", "whole_result", "delivered", "abandoned")
        }
        found[f"{folder.id} owner"] = lambda folder=folder: owner_of(folder.path)  # type: ignore[misc]
        found[f"{folder.id} find"] = lambda folder=folder: find_run(folder.id)  # type: ignore[misc]
    return found


@pytest.mark.slow(seconds=3)
@fuzz(50)
@given(**any_damage)
def test_what_reads(which, how, seed, whole, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(whole.path / "outputs"))
    damaged(whole, which, how, seed)
    for read in reads(whole).values():
        damage._said.clear()
        with contextlib.suppress(UserError):
            read()
