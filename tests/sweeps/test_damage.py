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
from tests.tools.commands import MINE, SMALL, Done, lenet_train, succeeded
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
    "truncated": lambda content: content[: len(content) // 2],
    "edited": lambda content: content.replace(b'val_accuracy": 0', b'val_accuracy": 1'),
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
        file = self._file(name)
        if how == PIPE:
            file.unlink()
            os.mkfifo(file)
        else:
            file.write_bytes(DAMAGES[how](file.read_bytes()))
        return file

    def _file(self, name: str) -> Path:
        """Return the path of a file of the sweep or a run; `best` is the latest of its versions."""
        if name in OF_SWEEP:
            return self.folders["sweep"] / name
        if name == "job.json":
            return self.folders["failed"] / name
        if name == "best":
            return sorted(self.folders["finished"].glob("best-*"))[-1]
        return self.folders["finished"] / name


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
    file = copy.damage(name, how)
    hides_sweep = name in {"sweep.json", "jobs.jsonl"}
    hides_run = name in {"record.json", "history.json"}
    readers = {
        "list": ("sweep", "list"),
        "status": ("sweep", "status", f"sweep={copy.sweep.id}"),
        "compare": ("compare", f"sweep={copy.sweep.id}"),
        "status of the other": ("sweep", "status", f"sweep={copy.other.id}"),
        "compare of the other": ("compare", f"sweep={copy.other.id}"),
    }

    num_lines = {}
    for reader, (program, *arguments) in readers.items():
        damage._warned_problems.clear()  # as in a separate process
        done = main(*arguments, program=program)
        status = 0
        if hides_sweep and reader in {"status", "compare"}:
            status = 2
        assert done.returncode == status, done.stderr
        if reader in {"list", "status of the other"}:
            assert copy.other.id in done.stdout
        num_lines[reader] = len(lines_of(done, file))

    assert set(num_lines.values()) <= {0, 1}
    assert num_lines["status of the other"] == 0
    assert num_lines["compare of the other"] == 0
    if hides_sweep or hides_run:
        assert num_lines["list"] == 1
        assert num_lines["status"] == 1
        assert num_lines["compare"] == 1
    if hides_sweep:
        with pytest.raises(UserError, match=f"{name} is corrupt "):
            lenet_exp.compare(sweep=copy.sweep.id)
    else:
        table = lenet_exp.compare(sweep=copy.sweep.id)
        num_finished = dict(zip(table["activation"], table["n"], strict=True))
        assert num_finished["relu"] == (0 if hides_run else 1)


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

    done = succeeded(lenet_train(*BASIC, "activation=elu", outputs=copy.outputs))
    assert len(lines_of(done, file)) == 1

    resumed = lenet_train("-m", f"sweep.resume={copy.sweep.id}", outputs=copy.outputs)
    assert resumed.returncode == 2
    assert resumed.stderr.count("\n") == 1
    assert f"{file} is corrupt (" in resumed.stderr


def rerun(copy: Copy) -> Done:
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
    store = client(copy.outputs)
    for parent in runs(store, "sweep"):
        if parent.data.tags["sweep"] == copy.sweep.id:
            store.set_tag(parent.info.run_id, "sweep_folder", str(copy.sweep.path))

    done = rerun(copy)

    for file in files:
        # jobs.jsonl is rewritten without reading
        num_lines = 0 if file.name == "jobs.jsonl" else 1
        assert len(lines_of(done, file)) == num_lines, file.name
    assert counts(done) == ({"finished": 2}, trained, 2 - trained)
    status = main("status", f"sweep={copy.sweep.id}", program="sweep")
    assert "2 finished" in status.stdout
    assert [line for file in files for line in lines_of(status, file)] == []
    assert len(runs(store, "sweep")) == 2  # no duplicate parent run
    assert {run.info.status for run in runs(store)} == {"FINISHED"}


def test_record_of_older_release_without_digest_is_used_and_marked(copy: Copy, main: Cli):
    file = copy.folders["finished"] / "record.json"
    record = json.loads(file.read_text())
    del record["digest"]
    del record["history_digest"]
    file.write_text(json.dumps(record))

    done = main(f"sweep={copy.sweep.id}", program="compare")

    assert done.stderr.startswith("1 of 2 runs ")
    assert done.stderr.count("\n") == 1
    assert "1 finished, 1 failed" in done.stdout
    assert "1 of 2 runs without a digest" in rerun(copy).stdout
