"""An outputs folder and its store of commit cfe5d23 stay usable: every value in them means what it meant.

cfe5d23.tar.xz holds what that commit left: a finished grid (selu natively, rrelu by torch), a search with pruned
trials, a confirmation of the grid, a champion, a run stopped by SIGTERM in the middle of an epoch and a sweep whose
process was killed in its second of three runs. cfe5d23.json holds what that commit said of it, and the results of the
two interrupted commands when nothing disturbs them. make.py made both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from tests.tools.stores import champions, files, points, runs
from tests.upgrade.earlier import COMMIT, EXPECTED, OUTPUTS, keys, lenet, lost, steady, store, unpacked, written

pytestmark = pytest.mark.slow(seconds=10)
MADE: dict[str, str] = EXPECTED["made"]
COMMANDS: dict[str, list[str]] = EXPECTED["commands"]


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(COMMIT) / "upgraded"


@pytest.fixture(autouse=True)
def _old(upgraded: Path):
    with unpacked(upgraded):
        yield


def of_runs(name: str = "record.json") -> dict[str, str]:
    """The text of each run's file, by its folder's name."""
    return {path.parent.name: path.read_text() for path in OUTPUTS.glob(f"runs/*/{name}")}


def in_mlflow(folder: str):
    """The MLflow run of a run folder or sweep folder."""
    found = [
        r
        for kind, tag in (("run", "run_folder"), ("sweep", "sweep"))
        for r in runs(store(), kind)
        if r.data.tags[tag] == folder
    ]
    assert len(found) == 1
    return found[0]


def in_one_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the configurations of which no run finished by learning rate: later releases sort them by accuracy."""
    for comparison in found:
        comparison["groups"].sort(key=lambda group: (group["n"] == 0, group["n"] == 0 and group["optimizer.lr"]))
        for rank, group in enumerate(comparison["groups"], 1):
            group["rank"] = rank
        for effect in comparison["effects"]:
            effect["levels"].sort(key=lambda level: (level["mean"] is None, level["mean"] is None and level["value"]))
    return found


def test_sweeps_are_listed_and_compared_with_the_same_numbers():
    listed = lenet("sweep", "list").stdout
    assert all(MADE[name] in listed for name in ("grid", "search", "confirmation", "interrupted"))
    for name, before in EXPECTED["compare"].items():
        now = written("compare", f"sweep={MADE[name]}")
        assert lost(*map(in_one_order, (before, now))) == [], name
    (every,), (by_model,) = (written("compare", f"filter={f}") for f in ("", "params.model = 'lenet5'"))
    assert every["groups"] == by_model["groups"]


def test_finished_sweeps_are_recognized_by_their_commands():
    before = of_runs()
    in_store = {r.info.run_id for r in runs(store())}
    for name in ("grid", "search"):
        lenet("train", *COMMANDS[name])
    assert of_runs() == before
    assert {r.info.run_id for r in runs(store())} == in_store
    assert len(list(OUTPUTS.glob("sweeps/*"))) == len(runs(store(), "sweep")) == 4


def test_champion_and_leader_are_scored_with_the_same_numbers():
    assert lost(EXPECTED["leader"], written("predict", f"sweep={MADE['grid']}", "dataset=digits")) == []
    champion = written("predict", "dataset=digits")
    assert {key: champion[key] for key in ("correct", "confusion_matrix", "data_digest")} == {
        key: EXPECTED["champion"][key] for key in ("correct", "confusion_matrix", "data_digest")
    }


def test_interrupted_runs_are_resumed_to_the_bits_of_undisturbed_ones():
    started = {folder: in_mlflow(folder) for folder in (MADE["alone"], MADE["interrupted"])}
    finished = {name: json.loads(text) for name, text in of_runs().items()}
    lenet("train", *COMMANDS["alone"])
    lenet("train", *COMMANDS["interrupted"])
    after = store()
    records = {name: json.loads(text) for name, text in of_runs().items()}
    digests = {record["fingerprint"]: record.get("weights_digest") for record in records.values()}
    assert EXPECTED["undisturbed"].items() <= digests.items()
    for folder, before in started.items():
        assert in_mlflow(folder).info.run_id == before.info.run_id
    for folder, before in EXPECTED["undisturbed_mlflow"].items():
        now = in_mlflow(folder)
        assert (now.info.status, now.info.run_name) == (before["status"], before["name"])
        assert set(before["artifacts"]) <= files(after, now.info.run_id)
        assert set(before["tags"]) <= set(now.data.tags)
        assert set(before["metrics"]) <= set(now.data.metrics)
        for kind, values in (("tags", now.data.tags), ("metrics", now.data.metrics), ("params", now.data.params)):
            assert lost(steady(before[kind]), steady(values)) == [], (folder, kind)
        steps = [step for step, _, _ in points(after, now.info.run_id).get("val_accuracy", [])]
        assert steps == list(range(1, len(steps) + 1))
    (old,) = (record for record in finished.values() if record["name"] == "seed=0")
    new = [record for record in records.values() if record["name"] in ("seed=1", "seed=2")]
    assert len(new) == 2
    assert all(keys(old) - keys(record) == set() for record in new)


def test_an_unfinished_search_is_resumed_and_extended_in_its_own_study_with_its_own_defaults():
    """Its trials after the second are taken from the study: the same ones are drawn and pruned again."""

    def trials():
        return [(t.number, t.params, t.state, t.intermediate_values) for t in study().trials]

    def study():
        (name,) = optuna.get_all_study_names(database)
        return optuna.load_study(study_name=name, storage=database)

    database = f"sqlite:///{OUTPUTS / 'sweeps' / MADE['search'] / 'study.db'}"
    finished = {name: text for name, text in of_runs().items() if json.loads(text)["outcome"] == "finished"}
    whole, old, runs_before = study(), trials(), len(of_runs())
    kept, attributes = whole.trials[:2], whole.user_attrs
    optuna.delete_study(study_name=whole.study_name, storage=database)
    begun = optuna.create_study(study_name=whole.study_name, storage=database, direction="maximize")
    begun.add_trials(kept)
    for name, value in attributes.items():
        begun.set_user_attr(name, value)
    lenet("train", *[a.replace("n_trials=5", "n_trials=6") for a in COMMANDS["search"]])
    after, new = of_runs(), trials()
    assert finished.items() <= after.items()
    assert len(after) == runs_before + 1
    assert (new[:5], len(new)) == (old, 6)
    assert any(state is TrialState.PRUNED for _, _, state, _ in old[2:])
    assert len(list(OUTPUTS.glob("sweeps/*"))) == 4


def test_what_mlflow_lacks_is_uploaded_once():
    lenet("sync")
    states = {folder: in_mlflow(folder).info.status for folder in (MADE["alone"], MADE["interrupted"])}
    assert set(states.values()) == {"KILLED"}
    uploaded = {r.info.run_id: points(store(), r.info.run_id) for r in runs(store())}
    lenet("sync")
    assert {r.info.run_id: points(store(), r.info.run_id) for r in runs(store())} == uploaded


def test_runs_are_reproduced():
    grid = {json.loads(text)["name"]: folder for folder, text in of_runs().items()}
    lenet("reproduce", f"run={grid['selu seed=0']}")
    lenet("reproduce", f"run={grid['rrelu seed=0']}", "check=true")


def test_sweeps_are_removed_but_for_what_is_registered():
    before = of_runs("history.json")
    in_store = {r.data.tags["run_folder"]: r.info.run_id for r in runs(store())}
    registered = {run for _, versions in champions(store()).values() for run in versions}
    parent = in_mlflow(MADE["search"]).info.run_id
    searched = {r.data.tags["run_folder"] for r in runs(store()) if parent in r.data.tags.get("sweeps", "")}
    stay = {folder for folder in searched if in_store[folder] in registered}
    assert (len(searched), len(stay)) == (5, 2)
    lenet("sweep", "rm", f"sweep={MADE['search']}")
    assert of_runs("history.json") == before
    lenet("sweep", "rm", f"sweep={MADE['search']}", "dry_run=false")
    assert before.keys() - of_runs("history.json").keys() == searched - stay
    assert in_store.keys() - {r.data.tags["run_folder"] for r in runs(store())} == searched - stay


@pytest.mark.parametrize("program", ["train", "predict"])
def test_flags_keep_their_names_and_defaults(program):
    assert lost(yaml.safe_load(EXPECTED["flags"][program]), yaml.safe_load(lenet(program, "--cfg", "job").stdout)) == []
