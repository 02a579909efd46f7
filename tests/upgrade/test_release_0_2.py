"""The outputs folder of release 0.2.0 stays usable, and its values keep their meaning.

release_0_2.tar.xz contains what release 0.2.0 left: a grid over two datasets (one in color, with a user's own
activation and label noise), runs of a user's own network that converged and diverged, a sweep with a confirmation and
a test of equivalence, test results and ensembles, a search that was killed in a trial, and a single run that was
killed. release_0_2.json contains what the commands of that release printed about it, and the results of both killed
commands when nothing interrupts them. tests/upgrade/make_release_0_2.py in commit e3dffcdf made both files.

CI compares, and resumes the killed commands. The other tests are run by hand, because those of release 0.3 check the
same.

An issue that changes one of these values on purpose names the change here and in CHANGELOG.md. P-values, intervals,
sentences, and the decisions of a resumed seed race are not compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import optuna
import pytest
import yaml
from optuna.trial import TrialState

from lenet_exp import machine
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.training.trained.weights import load_weights, weights_digest
from tests.tools.stores import champions, everything, files, points, runs
from tests.upgrade.archive import Archive, changes, steady

pytestmark = pytest.mark.slow(seconds=10)
RELEASE = Archive("0.2", own_code="mine")
PLACE = RELEASE.place
OUTPUTS = RELEASE.outputs
EXPECTED = RELEASE.expected
lenet = RELEASE.lenet
written = RELEASE.written
store = RELEASE.store
texts = RELEASE.texts
in_mlflow = RELEASE.in_mlflow
MADE: dict[str, str] = EXPECTED["made"]
COMMANDS: dict[str, list[str]] = EXPECTED["commands"]
FINISHED = ("grid", "own", "base", "confirmation", "equivalence")
COUNTS = ("n", "runs", "diverged", "failed", "killed", "running", "not_started")
RESULTS = ("mean", "sd", "best_epoch", "seconds_to_best", "parameters", "multiply_adds")
ON_TEST = ("test_n", "test_mean", "test_sd")
FLAGS = ("dataset", "activation", "optimizer.lr", "optimizer.momentum", "run_ids")


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release_0_2") / "upgraded"


@pytest.fixture(autouse=True)
def _unpacked(upgraded: Path) -> Iterator[None]:
    with RELEASE.unpacked(upgraded):
        yield


def folder_of(name: str) -> str:
    """Return the run folder of the run with this name."""
    (found,) = (folder for folder, text in texts().items() if json.loads(text)["name"] == name)
    return found


def trials(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [(t.number, t.params, t.state, t.intermediate_values) for t in study.trials]


def study() -> optuna.Study:
    database = f"sqlite:///{OUTPUTS / 'sweeps' / MADE['search'] / 'study.db'}"
    (name,) = optuna.get_all_study_names(database)
    return optuna.load_study(study_name=name, storage=database)


def compared(comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts and results of each configuration, by its flags, and the means of each flag's values."""
    found: dict[str, Any] = {}
    for comparison in comparisons:
        for group in comparison["groups"]:
            flags = " ".join(str(group[flag]) for flag in FLAGS if flag in group)
            found[flags] = {name: group[name] for name in (*COUNTS, *RESULTS, *ON_TEST) if name in group}
        for effect in comparison["effects"]:
            for level in effect["levels"]:
                key = f"{comparison['dataset']} {effect['flag']}={level['value']}"
                found[key] = {name: level[name] for name in ("mean", "finished", "runs")}
    return found


@pytest.mark.parametrize("name", EXPECTED["compare"])
def test_comparison_has_same_counts_and_results(name):
    comparison = EXPECTED["compare"][name]
    assert changes(compared(comparison["gives"]), compared(written("compare", *comparison["flags"]))) == []


@pytest.mark.by_hand
def test_page_shows_images_that_best_weights_classify_differently():
    lenet("compare", f"sweep={MADE['base']}", "output=page.html")
    counts = re.findall(r"<br>([0-3]) vs. ([0-3])<", (PLACE / "page.html").read_text())
    assert len(counts) == 10
    assert all(one != other for one, other in counts)


@pytest.mark.by_hand
def test_sweeps_are_listed_with_states_and_sizes():
    rows = r"^ (\w{16}) .*?(finished|killed) +(\d+/\d+)"
    listed = lenet("sweep", "list").stdout
    assert re.findall(rows, listed, re.MULTILINE) == re.findall(rows, EXPECTED["list"], re.MULTILINE)
    assert lenet("sweep", "status", f"sweep={MADE['search']}").stdout == EXPECTED["status"]


@pytest.mark.by_hand
@pytest.mark.parametrize("name", EXPECTED["predict"])
def test_models_give_same_predictions(name):
    prediction = EXPECTED["predict"][name]
    found = changes(prediction["gives"], written("predict", *prediction["flags"]))
    removed = r"\.(corrupted|corrupted_mean|scaled|calibration\.(temperature|val_images)|drawings?) is gone$"
    assert [change for change in found if not re.search(removed, change)] == []


@pytest.mark.by_hand
def test_exported_models_compute_same_logits():
    images = np.random.default_rng(5).uniform(-1, 1, (3, 1, 32, 32)).astype(np.float32)
    reached: dict[str, list[tuple[float, str]]] = {}
    for job in map(json.loads, (OUTPUTS / "sweeps" / MADE["base"] / "jobs.jsonl").read_text().splitlines()):
        record = json.loads(texts()[job["run"]])
        reached.setdefault(job["name"].partition(" seed")[0], []).append((record["best_val_accuracy"], job["run"]))
    shares = []
    for _, run in max(reached.values(), key=lambda members: np.mean([accuracy for accuracy, _ in members])):
        lenet("export", "format=onnx", f"trained_model={OUTPUTS / 'runs' / run}", f"output={run}.onnx")
        (logits,) = onnxruntime.InferenceSession(PLACE / f"{run}.onnx").run(None, {"images": images})
        shares.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    # Release 0.2.0 exported the leader of the sweep as an ensemble.
    assert np.log(np.mean(shares, 0)) == pytest.approx(np.array(EXPECTED["logits"]), abs=1e-4)
    own = json.loads(texts()[folder_of("lr=0.05 seed=0")])
    lenet("export", "format=safetensors", "trained_model=net-digits", "trust=parts.Net", "output=own.safetensors")
    assert weights_digest(load_weights(PLACE / "own.safetensors")[0]) == own["weights_digest"]


@pytest.mark.by_hand
def test_runs_are_reproduced():
    trained = [folder_of(name) for name in ("digits relu seed=0", "lr=0.01 mom=0.9")]  # with label noise; a trial
    for run in [*SweepFolder(OUTPUTS / "sweeps" / MADE["base"]).run_ids(), *trained]:
        lenet("reproduce", f"run={run}")
    for name in ("digits leaky seed=1", "shapes relu seed=0", "lr=0.05 seed=1"):  # PyTorch's bits depend on the CPU
        lenet("reproduce", f"run={folder_of(name)}", "check=true", "trust=parts")


@pytest.mark.by_hand
def test_rerun_of_finished_sweeps_only_adds_user():
    before, in_store = texts(), everything(store())
    for name in FINISHED:
        command = json.loads((OUTPUTS / "sweeps" / MADE[name] / "sweep.json").read_text())["overrides"]
        own = ["--config-dir", "mine"] if name in ("grid", "own") else []
        lenet("train", "-m", *own, *command, status=1 if name == "own" else 0)  # two runs diverged
    assert texts() == before
    assert len(list(OUTPUTS.glob("sweeps/*"))) == len(runs(store(), "sweep")) == len(FINISHED) + 1
    after = everything(store())
    assert after.keys() == in_store.keys()
    children = {run.info.run_id for run in runs(store())}
    assert {after[child][2].pop("users", None) for child in children} == {None, f"user,{machine.user()}"}
    assert {k: after[k] for k in children} == {k: in_store[k] for k in children}


def test_killed_run_resumes_to_bits_of_undisturbed_run():
    before = in_mlflow(MADE["killed"])
    lenet("train", *COMMANDS["killed"])
    record = json.loads(texts()[MADE["killed"]])
    assert record["resumed"] == 1
    assert record["weights_digest"] == EXPECTED["undisturbed"][record["fingerprint"]]
    now, undisturbed = in_mlflow(MADE["killed"]), EXPECTED["undisturbed_mlflow"][MADE["killed"]]
    assert now.info.run_id == before.info.run_id
    assert (now.info.status, now.info.run_name) == (undisturbed["status"], undisturbed["name"])
    assert set(undisturbed["artifacts"]) <= files(store(), now.info.run_id)
    for kind, values in (("tags", now.data.tags), ("metrics", now.data.metrics), ("params", now.data.params)):
        assert undisturbed[kind].keys() <= values.keys() | {"resumed"}
        assert changes(steady(undisturbed[kind]), steady(values)) == [], kind
    assert [step for step, _, _ in points(store(), now.info.run_id)["val_accuracy"]] == list(range(1, 31))


def test_killed_search_resumes_interrupted_trial_and_ends():
    ended = {name: text for name, text in texts().items() if json.loads(text)["outcome"] in ("finished", "pruned")}
    old, parent = trials(study()), in_mlflow(MADE["search"]).info.run_id
    (interrupted,) = (name for name, text in texts().items() if json.loads(text)["outcome"] == "killed")
    assert [state for _, _, state, _ in old].count(TrialState.PRUNED) == 2
    lenet("train", *COMMANDS["search"])
    assert ended.items() <= texts().items()
    resumed = json.loads(texts()[interrupted])
    assert resumed["resumed"] == 1
    assert resumed["weights_digest"] == EXPECTED["undisturbed"][resumed["fingerprint"]]
    digests = {record["fingerprint"]: record["weights_digest"] for record in map(json.loads, texts().values())}
    same = digests.keys() & EXPECTED["undisturbed"].keys()
    assert {k: digests[k] for k in same} == {k: EXPECTED["undisturbed"][k] for k in same}
    now = trials(study())
    assert now[: len(old) - 1] == old[:-1]
    assert now[len(old) - 1][:2] == old[-1][:2]
    assert len(now) == 8
    assert all(state.is_finished() for _, _, state, _ in now)
    assert in_mlflow(MADE["search"]).info.run_id == parent


@pytest.mark.by_hand
def test_missing_results_are_uploaded_once():
    lenet("sync")
    statuses = {name: in_mlflow(MADE[name]).info.status for name in ("search", "killed")}
    assert statuses == {"search": "KILLED", "killed": "KILLED"}
    uploaded = everything(store())
    assert {run.data.tags["run_folder"] for run in runs(store())} == set(texts("history.json"))
    lenet("sync")
    assert everything(store()) == uploaded


@pytest.mark.by_hand
def test_sweep_is_removed_except_for_registered_models():
    before = texts("history.json")
    in_store = {run.data.tags["run_folder"]: run for run in runs(store())}
    registered = {run for _, versions in champions(store()).values() for run in versions}
    parent = in_mlflow(MADE["own"]).info.run_id
    members = {folder for folder, run in in_store.items() if parent in run.data.tags.get("sweeps", "")}
    stay = {folder for folder in members if in_store[folder].info.run_id in registered}
    assert len(members) == 4
    assert stay
    lenet("sweep", "rm", f"sweep={MADE['own']}")
    assert texts("history.json") == before
    lenet("sweep", "rm", f"sweep={MADE['own']}", "dry_run=false")
    assert before.keys() - texts("history.json").keys() == members - stay
    assert in_store.keys() - {run.data.tags["run_folder"] for run in runs(store())} == members - stay


@pytest.mark.by_hand
@pytest.mark.parametrize("program", ["train", "predict"])
def test_flags_keep_names_and_defaults(program):
    before, now = yaml.safe_load(EXPECTED["flags"][program]), yaml.safe_load(lenet(program, "--cfg", "job").stdout)
    removed = {"train": ["search.storage", "sweep.detach", "sweep.fail_fast"]}
    removed["predict"] = ["calibrate", "corrupted", "several"]
    assert sorted(changes(before, now)) == [f".{flag} is gone" for flag in removed[program]]
