"""The path of an outputs folder may contain any characters except two that addresses reserve."""

from __future__ import annotations

from pathlib import Path

import pytest

import lenet_exp
from lenet_exp.addresses import SQLITE, frozen_uri, sqlite_path, sqlite_uri
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.stores.store import open_store
from tests.tools.commands import SMALL, refused, succeeded
from tests.tools.configs import compose
from tests.tools.stores import files, runs

NAMES = ("a#b", "a;b'c", "Über/größe = x", "a+b", "a:b@c", "a b")
LINE = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")


def test_store_is_in_outputs_folder_with_special_characters(main, tmp_path, monkeypatch):
    outputs = tmp_path / "here" / "a#b;c'd" / "Über = x" / "outputs"
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))

    done = succeeded(main(*LINE))

    assert "tracking.uri" not in done.stderr
    store = open_store(compose([]).tracking)
    (run,) = runs(store.client)
    assert run.info.status == "FINISHED"
    assert {"record.json", "run.log"} <= files(store.client, run.info.run_id)
    (folder,) = (outputs / "runs").iterdir()
    (entry,) = RunFolder(folder).delivered().mlflow_runs
    assert entry.store == store.name
    assert lenet_exp.load("lenet5-digits").training is False

    succeeded(main(*LINE))

    assert len(runs(store.client)) == 1
    visible_names = {path.name for path in outputs.iterdir() if not path.name.startswith(".")}
    assert visible_names == {"mlflow.db", "mlartifacts", "runs"}


@pytest.mark.parametrize("name", NAMES)
def test_address_of_database_maps_back_to_path(name):
    database = Path("/some") / name / "mlflow.db"
    uri = sqlite_uri(database)
    assert sqlite_path(uri) == database
    assert frozen_uri(uri) == uri
    if name == "a b":  # the same address as in older releases
        assert uri == f"{SQLITE}/some/a b/mlflow.db"


@pytest.mark.parametrize("name", ["what?", "50%"])
def test_path_with_reserved_character_gives_one_line_error(main, tmp_path, monkeypatch, name):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / name))
    refused(main(*LINE))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("ready", [False, True])
def test_database_that_sqlite_cannot_open_gives_one_line_error(main, tmp_path, monkeypatch, ready):
    outputs = tmp_path.joinpath(*["x" * 100] * 5)
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    if ready:
        outputs.mkdir(parents=True)
        (outputs / "mlflow.db").touch()
        refused(main(*LINE), "cannot be opened")
        assert not (outputs / "runs").exists()
    else:  # only the uploading process opens the database
        warning, last = succeeded(main(*LINE)).stderr.splitlines()[-2:]
        assert "cannot be opened" in warning
        assert "lenet-sync run=" in last
