"""lenet-sweep rm: what it removes and keeps on disk and in MLflow, and how it resumes after
SIGKILL.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType

from lenet_exp.files import remove
from lenet_exp.folders.checkpoints import write_history
from lenet_exp.folders.delivered import DeliveredRun
from lenet_exp.folders.records import History
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.removal.pending import pending_removals
from tests.commands.test_lenet_sweep import lenet_sweep
from tests.sweeps.test_sync import NOTHING
from tests.tools.commands import SMALL, Done, end, free_port, lenet_train, refused, start, succeeded
from tests.tools.counts import counts
from tests.tools.stores import client, everything, models, runs
from tests.tools.strikes import STRIKE, TRACE
from tests.tools.waiting import WAITS, waiting

QUICK = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
HERE = ("-m", "hydra/launcher=basic", *QUICK)
FIRST, SECOND = (*HERE, "seed=0,1"), (*HERE, "seed=1,2")
DATABASE = "mlflow.db"
CHAMPION = (*QUICK, "num_epoch=4", "seed=9")


class Swept:
    """An outputs folder with two sweeps that share a run, and a separate run whose model is the
    champion.
    """

    def __init__(self, folder: Path, empty_store: Path) -> None:
        self.outputs = folder / "outputs"
        self._kept = folder / "kept"
        shutil.copytree(empty_store, self.outputs)
        for line in (CHAMPION, FIRST, SECOND):
            succeeded(lenet_train(*line, "tracking.models=all", outputs=self.outputs))
        self.second, self.first = all_sweeps(self.outputs)
        jobs = [*self.first.jobs(), *self.second.jobs()]
        self.runs = {job.config.seed: job.run for job in jobs}
        shutil.copytree(self.outputs, self._kept)

    def restore(self) -> None:
        """Restore the outputs folder in place, including the contents of the database that this
        process has open.
        """
        for path in self.outputs.iterdir():
            if path.name != DATABASE:
                remove(path)
        shutil.copytree(
            self._kept, self.outputs, ignore=shutil.ignore_patterns(DATABASE), dirs_exist_ok=True
        )
        with (
            closing(sqlite3.connect(self._kept / DATABASE)) as kept,
            closing(sqlite3.connect(self.outputs / DATABASE)) as database,
        ):
            kept.backup(database)

    def mlflow(self, kind: str = "run") -> dict[str, Any]:
        """Return the runs that MLflow shows, by name."""
        return {run.info.run_name: run for run in runs(client(self.outputs), kind)}

    @property
    def line(self) -> tuple[str, ...]:
        """The command that removes the first sweep."""
        return ("rm", f"sweep={self.first.id}", "dry_run=false")

    def run_folder(self, seed: int) -> Path:
        return self.outputs / "runs" / self.runs[seed]

    def run_folders(self) -> set[str]:
        """Return the names of the run folders on disk."""
        return {path.name for path in (self.outputs / "runs").iterdir()}


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return Swept(tmp_path_factory.mktemp("removed"), empty_store)


@pytest.fixture
def swept(trained: Swept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swept]:
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(trained.outputs))
    yield trained
    trained.restore()


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files except locks and the database, which change when they are opened."""
    files = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not re.search(r"lock$|^mlflow.db|owner.json$", name):
            files[name] = path.read_bytes()
    return files


def state(swept: Swept) -> dict[str, Any]:
    """Return the store and the files that a removal leaves, without times of deletion and changes
    of the database.
    """
    files = {}
    for name, text in tree(swept.outputs).items():
        if name.endswith("delivered.json"):
            text = re.sub(rb'"database": "[^"]*"', b"", text)
        if not name.startswith("mlartifacts"):
            files[name] = text
    return {"store": everything(client(swept.outputs)), "files": files}


def lines_that(verb: str, done: Done) -> list[str]:
    """Return what the output lists under `would remove`, `removed` or `kept`."""
    return re.findall(rf"^  {verb}: (.*)$", done.stdout, re.MULTILINE)


def test_rm_is_dry_run_by_default(swept, main):
    files_before = tree(swept.outputs)
    store_before = everything(client(swept.outputs))

    done = succeeded(main("rm", "sweep=last", program="sweep"))

    assert swept.second.id in done.stdout.splitlines()[0]
    on_disk, in_mlflow = lines_that("would remove", done)
    assert re.search(r"1 run folder, 0\.\d\d MB", on_disk)
    assert re.findall(r"(\d) (?:MLflow runs|model)", in_mlflow) == ["2", "1"]
    assert f"    {swept.runs[2][:8]}  seed=2\n" in done.stdout
    (kept,) = lines_that("kept", done)
    assert kept.startswith(f"{swept.runs[1][:8]}  seed=1: ")
    assert swept.first.id in kept
    assert done.stdout.endswith(f"lenet-sweep rm sweep={swept.second.id} dry_run=false\n")
    assert tree(swept.outputs) == files_before
    assert everything(client(swept.outputs)) == store_before


def test_rm_sweep_keeps_runs_shared_with_another_sweep(swept, main):
    first = swept.mlflow()["seed=0"].info.run_id
    shared = swept.mlflow()["seed=1"].info.run_id
    parent = swept.mlflow()["seed=0"].data.tags["mlflow.parentRunId"]

    done = succeeded(main(*swept.line, program="sweep"))

    assert "1 run folder, " in lines_that("removed", done)[0]
    assert not (swept.outputs / "sweeps" / swept.first.id).exists()
    assert swept.run_folders() >= {swept.runs[1], swept.runs[2]}
    assert not swept.run_folder(seed=0).exists()
    assert not (swept.outputs / "removing").exists()

    (other,) = swept.mlflow("sweep").values()
    assert other.data.tags["sweep"] == swept.second.id
    kept = swept.mlflow()["seed=1"]
    assert kept.data.tags["sweeps"] == other.info.run_id
    assert kept.data.tags["mlflow.parentRunId"] == other.info.run_id
    assert kept.info.run_id == shared
    store = client(swept.outputs)
    deleted = store.search_runs(["1", "2"], run_view_type=ViewType.DELETED_ONLY)
    assert {run.info.run_id for run in deleted} == {first, parent}
    assert first not in {model.source_run_id for model in models(store)}

    for program, arguments, part in (("sync", (), NOTHING), ("sweep", ("list",), swept.second.id)):
        done = main(*arguments, program=program)
        assert done.returncode == 0
        assert done.stderr == ""
        assert part in done.stdout

    rerun = lenet_train(*FIRST, outputs=swept.outputs)

    assert counts(rerun) == ({"finished": 2}, 1, 1)
    assert {run.info.run_id for run in runs(store)} & {first, parent} == set()
    assert len(runs(store, "sweep")) == 2


def test_rm_sweep_with_missing_database_keeps_shared_runs(swept, main):
    database = swept.outputs / DATABASE
    elsewhere = swept.outputs / "elsewhere.db"
    database.rename(elsewhere)
    done = succeeded(main(*swept.line, program="sweep"))
    elsewhere.rename(database)
    assert f"  note: sqlite:///{database}: " in done.stdout
    kept = swept.run_folders() & set(swept.runs.values())
    assert kept == {swept.runs[1], swept.runs[2]}


def test_rm_keeps_only_champion_of_sweep(swept, main):
    succeeded(lenet_train(*HERE, "num_epoch=12", "seed=9,10", outputs=swept.outputs))
    sweep = all_sweeps(swept.outputs)[0]
    jobs = sweep.jobs()

    done = succeeded(main("rm", f"sweep={sweep.id}", "dry_run=false", program="sweep"))

    (kept,) = lines_that("kept", done)
    assert "lenet5-digits" in kept
    (champion,) = [job.run for job in jobs if job.folder.path.exists()]
    assert kept.startswith(champion[:8])
    assert not sweep.path.exists()
    assert main(program="sync").stdout == NOTHING
    assert main("dataset=digits", program="predict").returncode == 0


def test_rm_keeps_run_with_registered_model_and_detaches_run_from_sweep(swept, main):
    store = client(swept.outputs)
    run_id = swept.mlflow()["seed=0"].info.run_id
    mine = next(model for model in models(store) if model.source_run_id == run_id)
    store.create_registered_model("mine")
    store.create_model_version(
        "mine", mine.artifact_location, model_id=mine.model_id, run_id=mine.source_run_id
    )

    done = main(*swept.line, program="sweep")

    (kept,) = [line for line in lines_that("kept", done) if "seed=0" in line]
    assert "mine version 1" in kept
    run = swept.mlflow()["seed=0"]
    assert {"sweeps", "mlflow.parentRunId"} & run.data.tags.keys() == set()
    delivered = json.loads((swept.run_folder(seed=0) / "delivered.json").read_text())
    (entry,) = delivered["mlflow_runs"]
    assert entry["run_id"] == run.info.run_id
    assert entry["sweeps"] == []
    assert main(program="sync").stdout == NOTHING


def test_rm_keeps_mlflow_run_that_release_0_3_took_over(swept, main):
    folder = RunFolder(swept.run_folder(seed=0))
    run = swept.mlflow()["seed=0"]
    record = folder.record()
    folder.log_file.unlink()  # as release 0.3 left a run that it copied from a shared store
    write_history(folder.path, History(best=folder.history().best))
    folder.finish(record)

    done = succeeded(main(*swept.line, program="sweep"))

    assert f"  kept: MLflow run {run.info.run_id}: " in done.stdout
    assert not folder.path.exists()
    tags = swept.mlflow()["seed=0"].data.tags
    assert {"sweeps", "mlflow.parentRunId"} & tags.keys() == set()
    assert len(runs(client(swept.outputs), "sweep")) == 1


def test_rm_keeps_mlflow_run_of_another_outputs_folder(swept, main):
    run_id = swept.mlflow()["seed=0"].info.run_id
    client(swept.outputs).set_tag(run_id, "run_folder", "0" * 32)
    done = succeeded(main(*swept.line, program="sweep"))
    assert f"  kept: MLflow run {run_id}: " in done.stdout
    assert not swept.run_folder(seed=0).exists()
    assert swept.mlflow()["seed=0"].info.run_id == run_id


def test_rm_refuses_needed_or_unknown_sweeps_in_one_line(swept, main):
    swept.second.save(confirms=swept.first.id, points=1.0)
    before = tree(swept.outputs)
    # the second sweep confirms the first
    remove_confirmed = (f"sweep={swept.first.id}", "dry_run=false")
    for arguments, part in (
        ((), "sweep=, final_states=true"),
        (("sweep=last", "final_states=true"), "sweep=, final_states=true"),
        (("run=last",), "run=last: unknown flag"),
        (("experiment=lenet_exp",), "experiment=lenet_exp: unknown flag"),
        (("sweep=last", "mlflow=false"), "mlflow=false: unknown flag"),
        (("sweep=last", "yes=true"), "yes=true"),
        (("sweep=last", "dry_run=no"), "dry_run=no"),
        (("sweep=abcd1234",), "abcd1234"),
        (remove_confirmed, swept.second.id),
    ):
        refused(main("rm", *arguments, program="sweep"), part, program="sweep")
    assert tree(swept.outputs) == before

    swept.second.save(confirms=None)
    jobs = swept.second.path / "jobs.jsonl"
    jobs.unlink()  # the sweep's runs are unknown
    refused(main(*swept.line, program="sweep"), f"{jobs} is corrupt", program="sweep")
    assert swept.run_folders() >= set(swept.runs.values())


def test_interrupted_removal_of_single_run_by_release_0_3_is_finished(swept, main):
    """Release 0.3 also removed single runs and experiments."""
    store = client(swept.outputs)
    store.delete_registered_model("lenet5-digits")
    (alone,) = [run for run in swept.mlflow().values() if run.data.params["seed"] == "9"]
    run = alone.data.tags["run_folder"]
    removing = swept.outputs / "removing" / run / "runs"
    removing.mkdir(parents=True)
    (swept.outputs / "runs" / run).rename(removing / run)
    command = f"lenet-sweep rm sweep={run} dry_run=false"
    assert command in main("list", program="sweep").stderr

    succeeded(main(*command.split()[1:], program="sweep"))

    assert not (swept.outputs / "removing").exists()
    assert alone.info.run_id not in [run.info.run_id for run in runs(store)]


def test_rm_sweep_keeps_run_trained_before_sweep(swept, main):
    for line in ((*QUICK, "seed=5"), (*HERE, "seed=5,6")):
        assert lenet_train(*line, outputs=swept.outputs).returncode == 0
    sweep = all_sweeps(swept.outputs)[0]
    alone, other = [job.folder for job in sweep.jobs()]

    done = succeeded(main("rm", f"sweep={sweep.id}", "dry_run=false", program="sweep"))

    (kept,) = lines_that("kept", done)
    assert kept.startswith(alone.id[:8])
    assert alone.path.exists()
    assert not other.path.exists()
    tags = {run.data.tags["run_folder"]: run.data.tags for run in swept.mlflow().values()}
    assert {"sweeps", "mlflow.parentRunId"} & tags[alone.id].keys() == set()
    assert main(program="sync").stdout == NOTHING


def test_rm_with_unreachable_store_changes_nothing(swept, main):
    away = f"http://127.0.0.1:{free_port()}"
    folder = RunFolder(swept.run_folder(seed=0))
    folder.set_delivered(DeliveredRun(away, "0" * 32))
    before = tree(swept.outputs)

    done = main(*swept.line, program="sweep")

    parts = (f"lenet-sweep: tracking.uri={away}: ", f"delete {swept.first.path} ")
    refused(done, *parts, program="sweep")
    assert tree(swept.outputs) == before


def test_interrupted_removal_must_finish_before_another_removal(swept, main):
    removing = swept.outputs / "removing" / swept.first.id / "sweeps"
    removing.mkdir(parents=True)
    swept.first.path.rename(removing / swept.first.id)

    done = main("rm", f"sweep={swept.second.id}", "dry_run=false", program="sweep")
    refused(done, f"lenet-sweep rm sweep={swept.first.id} dry_run=false", program="sweep")

    assert main("rm", "sweep=last", "dry_run=false", program="sweep").returncode == 0
    assert not swept.run_folder(seed=0).exists()
    assert swept.second.path.exists()


@pytest.mark.slow(seconds=9)
def test_rm_refuses_live_sweep_and_live_run(ready, tmp_path):
    sweep = ("-m", *WAITS, "seed=0,1", "sweep.workers=1")
    with waiting(*sweep, outputs=ready, tmp_path=tmp_path) as process:
        (folder,) = (ready / "sweeps").iterdir()
        done = lenet_sweep("rm", f"sweep={folder.name}", "dry_run=false", outputs=ready)
        parts = (f"process {process.pid})", f"lenet-sweep stop sweep={folder.name}")
        refused(done, *parts, program="sweep")

    with waiting(*WAITS, "seed=1", outputs=ready, tmp_path=tmp_path) as process:
        done = lenet_sweep("rm", f"sweep={folder.name}", "dry_run=false", outputs=ready)
        refused(done, f"process {process.pid})", program="sweep")

    assert len(list((ready / "sweeps").iterdir())) == 1


@pytest.mark.slow(seconds=18)
def test_rerun_finishes_removal_killed_at_any_point(swept, main, tmp_path):
    """Between kill and rerun, `lenet-sync` uploads nothing, and a folder still lists each MLflow
    run.
    """
    trace = tmp_path / "trace"
    calm = struck(swept, {TRACE: str(trace)})
    assert calm.returncode == 0, calm.stderr
    points = trace.read_text().splitlines()
    expected = state(swept)
    kinds = {point.split()[0] for point in points}
    assert kinds >= {"rename", "rmtree", "rmdir", "MlflowClient.delete_run"}

    for number in first_of_each_kind_and_last(points):
        swept.restore()
        assert struck(swept, {STRIKE: str(number)}).returncode == -9, points[number]

        synced = main(program="sync")
        assert synced.stdout == NOTHING, (points[number], synced.stderr)
        texts_of_folders = "".join(path.read_text() for path in swept.outputs.rglob("*.json"))
        for run_or_model in everything(client(swept.outputs)):
            assert run_or_model in texts_of_folders or "m-" in run_or_model

        is_pending = bool(pending_removals(swept.outputs))
        listed = main("list", program="sweep").stderr
        if is_pending:
            assert f"lenet-sweep rm sweep={swept.first.id} dry_run=false" in listed
        if is_pending or swept.first.path.exists():
            succeeded(main(*swept.line, program="sweep"))
        assert state(swept) == expected, points[number]


def struck(swept: Swept, environment: dict[str, str]) -> Done:
    return end(
        start(
            *swept.line,
            outputs=swept.outputs,
            module="tests.removal.struck_removal",
            env=environment,
        )
    )


def first_of_each_kind_and_last(points: list[str]) -> list[int]:
    """Return the numbers of the first point of each kind and of the last point.

    A rename's kind includes the folder that it renames.
    """
    firsts: dict[str, int] = {}
    for number, point in enumerate(points):
        separator = "/" if point.startswith("rename") else None
        kind = point.split(separator)[0]
        firsts.setdefault(kind, number)
    return sorted({*firsts.values(), len(points) - 1})
