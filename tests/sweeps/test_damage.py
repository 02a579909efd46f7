"""A corrupt file affects only its own sweep or run: each command prints one line about it and
continues.

tests/fuzz/test_files.py tests more kinds of damage.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lenet_exp
from lenet_exp.errors import UserError
from lenet_exp.folders import damage, records
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import host
from tests.conftest import Cli
from tests.tools.commands import MINE, SMALL, Done, lenet_train
from tests.tools.counts import counts
from tests.tools.stores import client, runs

BASIC = (
    "-m",
    "hydra/launcher=basic",
    *SMALL,
    "num_epoch=2",
    "tracking.plots=false",
    "tracking.models=none",
)
LINE = (f"--config-dir={MINE}", *BASIC, "activation=relu,raises")
OTHER = (*BASIC, "activation=tanh,selu")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda held: held[: len(held) // 2],
    "edited": lambda held: held.replace(b'val_accuracy": 0', b'val_accuracy": 1'),
}
PIPE = "a pipe"  # reading it blocks
OF_SWEEP = ("sweep.json", "jobs.jsonl", "ended/1")
OF_RUN = (
    "record.json",
    "history.json",
    "delivered.json",
    "job.json",
    "abandoned.json",
    "owner.json",
    "test.json",
)


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an outputs folder with two sweeps; in the first, one run finished and one failed in
    its second epoch.
    """
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    shutil.copytree(empty_store, outputs)
    assert lenet_train(*LINE, outputs=outputs).returncode == 1
    assert lenet_train(*OTHER, outputs=outputs).returncode == 0
    return outputs


class Copy:
    """A copy of the two sweeps whose files can be damaged."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        sweeps = [SweepFolder(path.parent) for path in outputs.glob("sweeps/*/sweep.json")]
        (self.sweep,) = [sweep for sweep in sweeps if "raises" in sweep.started().command]
        (self.other,) = [sweep for sweep in sweeps if sweep.id != self.sweep.id]
        finished, failed = self.sweep.jobs()
        self.folders = {
            "sweep": self.sweep.path,
            "finished": finished.folder.path,
            "failed": failed.folder.path,
        }
        digest = finished.folder.result().weights_digest
        finished.folder.save_test_result(
            records.TestResult(accuracy=0.9, data_digest="", weights_digest=digest)
        )
        (self.folders["finished"] / "abandoned.json").write_text('[{"store": "s", "run_id": "r"}]')
        (self.folders["finished"] / "owner.json").write_text(json.dumps({"host": host(), "pid": 1}))

    def damage(self, name: str, how: str) -> Path:
        folder = self.folders[
            "sweep" if name in OF_SWEEP else "failed" if name == "job.json" else "finished"
        ]
        file = folder / name if "." in name or "/" in name else sorted(folder.glob(f"{name}-*"))[-1]
        if how == PIPE:
            file.unlink()
            os.mkfifo(file)
        else:
            file.write_bytes(DAMAGES[how](file.read_bytes()))
        return file


@pytest.fixture
def copy(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "outputs"))
    return Copy(Path(shutil.copytree(swept, tmp_path / "outputs")))


def lines_of(done: Done, file: Path) -> list[str]:
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if str(file) in line]


CASES = [(name, "truncated") for name in (*OF_SWEEP, *OF_RUN)]
CASES += [(name, PIPE) for name in ("sweep.json", "jobs.jsonl", "record.json")]


@pytest.mark.parametrize(
    ("name", "how"), [*CASES, ("record.json", "edited"), ("history.json", "edited")]
)
def test_commands_continue_and_report_corrupt_file_in_one_line(
    copy: Copy, main: Cli, name: str, how: str
):
    file, of_sweep = copy.damage(name, how), name in {"sweep.json", "jobs.jsonl"}
    said = {}
    for reader, (program, *arguments) in {
        "list": ("sweep", "list"),
        "status": ("sweep", "status", f"sweep={copy.sweep.id}"),
        "compare": ("compare", f"sweep={copy.sweep.id}"),
        "status of the other": ("sweep", "status", f"sweep={copy.other.id}"),
        "compare of the other": ("compare", f"sweep={copy.other.id}"),
    }.items():
        damage._warned_problems.clear()  # as in a separate process
        done = main(*arguments, program=program)
        assert done.returncode == (2 if of_sweep and reader in {"status", "compare"} else 0), (
            done.stderr
        )
        assert copy.other.id in done.stdout or reader not in {"list", "status of the other"}
        said[reader] = len(lines_of(done, file))
    assert set(said.values()) <= {0, 1}
    assert said["status of the other"] == said["compare of the other"] == 0
    if of_sweep or name in {"record.json", "history.json"}:
        assert said["list"] == said["status"] == said["compare"] == 1
    if of_sweep:
        with pytest.raises(UserError, match=f"{name} is corrupt "):
            lenet_exp.compare(sweep=copy.sweep.id)
    else:
        table = lenet_exp.compare(sweep=copy.sweep.id)
        finished = dict(zip(table["activation"], table["n"], strict=True))
        assert finished["relu"] == (name not in {"record.json", "history.json"})


@pytest.mark.parametrize("name", ["sweep.json", "record.json", "delivered.json"])
def test_lenet_sync_reports_corrupt_file_and_uploads_the_rest(copy: Copy, main: Cli, name: str):
    file = copy.damage(name, "truncated")
    damage._warned_problems.clear()
    done = main(program="sync")
    assert len(lines_of(done, file)) == 1, (done.stdout, done.stderr)
    # 1: the missing uploads of a corrupt run are unknown
    assert done.returncode in {0, 1}, done.stderr


def test_new_sweep_starts_despite_corrupt_sweep(copy: Copy):
    file = copy.damage("sweep.json", "truncated")
    damage._warned_problems.clear()
    done = lenet_train(*BASIC, "activation=elu", outputs=copy.outputs)
    assert (done.returncode, len(lines_of(done, file))) == (0, 1)
    resumed = lenet_train("-m", f"sweep.resume={copy.sweep.id}", outputs=copy.outputs)
    assert (resumed.returncode, resumed.stderr.count("\n")) == (2, 1)
    assert f"{file} is corrupt (" in resumed.stderr


def train_again(copy: Copy) -> Done:
    damage._warned_problems.clear()
    return lenet_train(*LINE, outputs=copy.outputs)


@pytest.mark.parametrize(
    ("names", "how", "trained"),  # number of runs that train again, including the failed run
    [
        (["sweep.json", "jobs.jsonl", "job.json", "delivered.json"], "truncated", 1),
        (["record.json"], "truncated", 2),
        (["best"], PIPE, 2),
    ],
)
def test_rerun_reports_and_recreates_corrupt_files(
    copy: Copy, main: Cli, names: list[str], how: str, trained: int
):
    files = [copy.damage(name, how) for name in names]
    for parent in runs(client(copy.outputs), "sweep"):
        if parent.data.tags["sweep"] == copy.sweep.id:
            client(copy.outputs).set_tag(parent.info.run_id, "sweep_folder", str(copy.sweep.path))
    done = train_again(copy)
    said = {file.name: len(lines_of(done, file)) for file in files}
    # jobs.jsonl is rewritten without reading
    assert said == {file.name: file.name != "jobs.jsonl" for file in files}
    assert counts(done) == ({"finished": 2}, trained, 2 - trained)
    whole = main("status", f"sweep={copy.sweep.id}", program="sweep")
    assert "2 finished" in whole.stdout
    assert [line for file in files for line in lines_of(whole, file)] == []
    assert len(runs(client(copy.outputs), "sweep")) == 2  # no duplicate parent run
    assert {run.info.status for run in runs(client(copy.outputs))} == {"FINISHED"}


def test_record_of_older_release_without_digest_is_used_and_marked(copy: Copy, main: Cli):
    file = copy.folders["finished"] / "record.json"
    held = json.loads(file.read_text())
    file.write_text(
        json.dumps({k: v for k, v in held.items() if k not in {"digest", "history_digest"}})
    )
    done = main(f"sweep={copy.sweep.id}", program="compare")
    assert done.stderr.startswith("1 of 2 runs ")
    assert done.stderr.count("\n") == 1
    assert "1 finished, 1 failed" in done.stdout
    assert "1 of 2 runs without a digest" in train_again(copy).stdout
