"""The outputs folder of release 0.3.0 stays usable, and its values keep their meaning.

make_release_0_3.py describes what release_0_3.tar.xz contains: a grid with a margin and hooks, its
confirmation and its test of equivalence, a grid over two datasets (one in color, with a user's own
activation and label noise), a user's own network in two versions and with diverged runs,
convolutional networks with averaged weights, a continued run, a run from given weights, a run on
arrays, a run taken over from a shared store, test results, and a search and a single run that were
killed. release_0_3.json contains what the commands of that release printed about it.

An issue that changes one of these values on purpose names the change here and in CHANGELOG.md. Only
sentences, times, and the decisions of a resumed seed race are not compared. The confirmation of
equivalence is compared like an ordinary sweep, because this release does not test equivalence. This
release adds a note about runs that collapsed.
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

from lenet_exp.config.class_groups import CODE_KEY
from lenet_exp.folders.sweep_folder import SweepFolder
from tests.tools.commands import end, lenet_train, start, succeeded
from tests.tools.stores import champions, everything, files, points, runs
from tests.upgrade.archive import Archive, changes, steady

RELEASE = Archive("0.3", cwd="mine")
OUTPUTS = RELEASE.outputs
EXPECTED = RELEASE.expected
MADE: dict[str, str] = EXPECTED["made"]
COMMANDS: dict[str, list[str]] = EXPECTED["commands"]
# sweeps whose commands give the same sweep again, and the exit status of these commands
FINISHED = {
    "grid": 0,
    "confirmation": 0,
    "equivalence": 0,
    "own edited": 0,
    "two datasets": 0,
    "convnet": 0,
}
FINISHED |= {"diverged": 1}
# comparisons that need no MLflow store
OF_FOLDERS = [name for name in EXPECTED["compare"] if name != "filter"]
# results in a record that are equal if the run is retrained
EXACT = ("fingerprint", "weights_digest", "best_epoch", "best_val_accuracy", "confusion_matrix")
EXACT += ("best_right", "last_right", "parameters", "multiply_adds", "data_digests", "data_files")


@pytest.fixture(scope="session")
def folders_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the archive, and return its outputs folder, which tests must not change."""
    folder = tmp_path_factory.mktemp("release_0_3_folders")
    RELEASE.extract(folder)
    return folder / "outputs"


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release_0_3") / "upgraded"


@pytest.fixture
def unpacked(upgraded: Path) -> Iterator[None]:
    with RELEASE.unpacked(upgraded):
        yield


def untimed(value: Any) -> Any:
    """Remove durations from a comparison, which are rounded differently in means of other
    orders.
    """
    if isinstance(value, dict):
        return {key: untimed(part) for key, part in value.items() if "seconds" not in key}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def records() -> dict[str, dict[str, Any]]:
    """Return the record of each run that has ended, by the name of the run folder."""
    return {folder: json.loads(text) for folder, text in RELEASE.texts().items()}


def run_ids(name: str) -> list[str]:
    """Return the run folders of a sweep."""
    return SweepFolder(OUTPUTS / "sweeps" / MADE[name]).run_ids()


def study() -> optuna.Study:
    database = f"sqlite:///{OUTPUTS / 'sweeps' / MADE['search'] / 'study.db'}"
    (name,) = optuna.get_all_study_names(database)
    return optuna.load_study(study_name=name, storage=database)


def trials() -> list[tuple[Any, ...]]:
    return [(t.number, t.params, t.state, t.intermediate_values) for t in study().trials]


@pytest.mark.parametrize("name", OF_FOLDERS)
def test_comparison_has_same_values(name, folders_only, tmp_path):
    """Means, p-values, intervals, and relations are computed from the run folders alone."""
    comparison = EXPECTED["compare"][name]
    path = tmp_path / "comparison.json"
    flags = (*comparison["flags"], f"output={path}")
    succeeded(end(start(*flags, outputs=folders_only, program="compare", cwd=tmp_path)))
    assert changes(untimed(comparison["gives"]), untimed(json.loads(path.read_text()))) == []


@pytest.mark.slow(seconds=4)
def test_comparison_of_filtered_runs_has_same_values(unpacked):
    comparison = EXPECTED["compare"]["filter"]
    # marks the run as killed, which it was when the values were stored
    RELEASE.lenet("sync", f"run={MADE['killed']}")
    now = RELEASE.written("compare", *comparison["flags"])
    assert changes(untimed(comparison["gives"]), untimed(now)) == []


@pytest.mark.slow(seconds=5)
def test_sweeps_are_listed_with_states_and_sizes(unpacked):
    rows = r"^ (\w{16}) .*?(finished|killed) +(\d+/\d+)"
    listed = RELEASE.lenet("sweep", "list").stdout
    expected = re.findall(rows, EXPECTED["list"], re.MULTILINE)
    assert len(expected) == 9
    assert re.findall(rows, listed, re.MULTILINE) == expected
    assert RELEASE.lenet("sweep", "status", f"sweep={MADE['search']}").stdout == EXPECTED["status"]


@pytest.mark.slow(seconds=20)
def test_models_give_same_predictions(unpacked):
    for name, prediction in EXPECTED["predict"].items():
        now = RELEASE.written("predict", *prediction["flags"])
        assert changes(prediction["gives"], now) == [], name


@pytest.mark.slow(seconds=12)
def test_exported_models_compute_same_logits(unpacked):
    images = np.random.default_rng(5).uniform(-1, 1, (3, 1, 32, 32)).astype(np.float32)
    for name, logits in EXPECTED["logits"].items():
        file = RELEASE.place / "model.onnx"
        RELEASE.lenet("export", "format=onnx", f"sweep={MADE[name]}", f"output={file}")
        (values,) = onnxruntime.InferenceSession(file).run(None, {"images": images})
        assert values == pytest.approx(np.array(logits), abs=1e-4), name


@pytest.mark.slow(seconds=6)
def test_runs_are_reproduced(unpacked):
    native = [*run_ids("grid")[:2], *(MADE[name] for name in ("continued", "arrays", "taken over"))]
    for run in native:
        RELEASE.lenet("reproduce", f"run={run}")
    by_torch = ("own", "own edited", "convnet", "two datasets")  # the bits depend on the CPU
    for run in [run_ids(name)[0] for name in by_torch]:
        RELEASE.lenet("reproduce", f"run={run}", "check=true")


@pytest.mark.slow(seconds=5)
def test_same_command_trains_to_same_record(unpacked, tmp_path):
    original = records()[MADE["shorter"]]
    succeeded(lenet_train(*COMMANDS["shorter"], outputs=tmp_path / "other"))
    (path,) = tmp_path.glob("other/runs/*/record.json")
    retrained = json.loads(path.read_text())
    assert path.parent.name == MADE["shorter"]
    assert {key: retrained[key] for key in EXACT} == {key: original[key] for key in EXACT}


@pytest.mark.slow(seconds=14)
def test_rerun_of_finished_sweeps_changes_nothing(unpacked):
    before = RELEASE.texts()
    in_store = everything(RELEASE.store())
    for name, status in FINISHED.items():
        plan = json.loads((OUTPUTS / "sweeps" / MADE[name] / "sweep.json").read_text())
        RELEASE.lenet("train", "-m", *plan["overrides"], status=status)
    assert RELEASE.texts() == before
    assert len(list(OUTPUTS.glob("sweeps/*"))) == len(runs(RELEASE.store(), "sweep"))

    after = everything(RELEASE.store())
    children = {run.info.run_id for run in runs(RELEASE.store())}
    assert after.keys() == in_store.keys()
    for child in children:
        after[child][2].pop("users", None)
        in_store[child][2].pop("users", None)
    assert {child: after[child] for child in children} == {
        child: in_store[child] for child in children
    }


@pytest.mark.slow(seconds=3)
def test_code_before_edit_still_trains_a_continued_sweep(unpacked):
    """`own` was trained before blocks.py was edited: its copy of the code is used, and its runs
    count.
    """
    before = RELEASE.texts()
    RELEASE.lenet("train", "-m", f"sweep.resume={MADE['own']}")
    assert RELEASE.texts() == before
    digests = {records()[run]["config"]["model"][CODE_KEY] for run in run_ids("own")}
    edited = {records()[run]["config"]["model"][CODE_KEY] for run in run_ids("own edited")}
    assert (len(digests), len(edited), digests & edited) == (1, 1, set())


@pytest.mark.slow(seconds=5)
def test_interrupted_sweep_with_margin_resumes(unpacked):
    """The stored command contains `sweep.margin`, which this release lacks."""
    sweep = SweepFolder(OUTPUTS / "sweeps" / MADE["grid"])
    missing = run_ids("grid")[0]
    original = records()[missing]
    for name in ("record.json", "history.json"):
        (OUTPUTS / "runs" / missing / name).unlink()

    resumed = RELEASE.lenet("train", "-m", f"sweep.resume={sweep.id}")
    assert "sweep.margin=2" in resumed.stderr
    assert records()[missing]["weights_digest"] == original["weights_digest"]
    stored = json.loads((sweep.path / "sweep.json").read_text())
    assert stored["margin"] == 2
    assert "sweep.margin" not in sweep.started().command
    for against in ([], ["against=activation=tanh"]):
        assert (
            "sweep.margin"
            not in RELEASE.lenet("compare", f"sweep={sweep.id}", "confirm=1", *against).stdout
        )


@pytest.mark.slow(seconds=5)
def test_confirmation_of_equivalence_is_an_ordinary_sweep(unpacked):
    sweep = SweepFolder(OUTPUTS / "sweeps" / MADE["equivalence"])
    assert (sweep.started().confirms, sweep.started().points) == (None, None)
    assert sweep.id in RELEASE.lenet("sweep", "list").stdout
    RELEASE.lenet("train", "-m", f"sweep.resume={sweep.id}")
    assert sweep.id not in RELEASE.lenet("compare", f"sweep={MADE['grid']}").stdout
    new_seeds = RELEASE.lenet("compare", f"sweep={MADE['grid']}", "confirm=2").stdout
    assert "seed=range(3000," in new_seeds  # the seeds of the confirmation of equivalence were seen
    RELEASE.lenet("sweep", "rm", f"sweep={sweep.id}", "dry_run=false")
    assert not sweep.path.exists()


@pytest.mark.slow(seconds=9)
def test_shorter_run_continues_and_given_weights_are_kept(unpacked):
    RELEASE.lenet("train", *COMMANDS["continued"][:-1], "num_epoch=7")
    (longer,) = (record for record in records().values() if record["config"]["num_epoch"] == 7)
    assert (longer["continued_from"], longer["inherited_epochs"]) == (MADE["continued"], 5)
    undisturbed = lenet_train(
        *COMMANDS["continued"][:-1], "num_epoch=7", outputs=RELEASE.place / "other"
    )
    succeeded(undisturbed)
    (alone,) = (RELEASE.place / "other").glob("runs/*/record.json")
    assert json.loads(alone.read_text())["weights_digest"] == longer["weights_digest"]

    given = records()[MADE["init_from"]]
    source = OUTPUTS / "runs" / MADE["continued"]
    (weights,) = source.glob("best-*.safetensors")
    weights.write_bytes(b"changed since")
    RELEASE.lenet("reproduce", f"run={MADE['init_from']}")
    assert records()[MADE["init_from"]] == given


@pytest.mark.slow(seconds=8)
def test_killed_run_resumes_to_bits_of_undisturbed_run(unpacked):
    before = RELEASE.in_mlflow(MADE["killed"])
    RELEASE.lenet("train", *COMMANDS["killed"])
    record = records()[MADE["killed"]]
    assert record["resumed"] == 1
    assert record["weights_digest"] == EXPECTED["undisturbed"][record["fingerprint"]]

    now = RELEASE.in_mlflow(MADE["killed"])
    undisturbed = EXPECTED["undisturbed_mlflow"]
    assert now.info.run_id == before.info.run_id
    assert (now.info.status, now.info.run_name) == (undisturbed["status"], undisturbed["name"])
    assert set(undisturbed["artifacts"]) <= files(RELEASE.store(), now.info.run_id)
    for kind, values in (
        ("tags", now.data.tags),
        ("metrics", now.data.metrics),
        ("params", now.data.params),
    ):
        assert undisturbed[kind].keys() <= values.keys() | {"resumed"}
        of_user = {"users"}  # this process runs as another user
        wanted = {
            key: value for key, value in steady(undisturbed[kind]).items() if key not in of_user
        }
        assert changes(wanted, steady(values)) == [], kind
    epochs = [step for step, _, _ in points(RELEASE.store(), now.info.run_id)["val_accuracy"]]
    assert epochs == list(range(1, 31))


@pytest.mark.slow(seconds=12)
def test_killed_search_resumes_interrupted_trial_and_ends(unpacked):
    before = RELEASE.texts()
    outcomes = {run: json.loads(text)["outcome"] for run, text in before.items()}
    (interrupted,) = (run for run, outcome in outcomes.items() if outcome == "killed")
    ended = {run: text for run, text in before.items() if run != interrupted}
    old_trials = trials()
    assert TrialState.PRUNED in [state for _, _, state, _ in old_trials]
    parent = RELEASE.in_mlflow(MADE["search"]).info.run_id

    RELEASE.lenet("train", *COMMANDS["search"])
    assert ended.items() <= RELEASE.texts().items()
    resumed = records()[interrupted]
    assert resumed["resumed"] == 1
    assert resumed["weights_digest"] == EXPECTED["undisturbed"][resumed["fingerprint"]]
    digests = {record["fingerprint"]: record["weights_digest"] for record in records().values()}
    same = digests.keys() & EXPECTED["undisturbed"].keys()
    assert {key: digests[key] for key in same} == {
        key: EXPECTED["undisturbed"][key] for key in same
    }

    new_trials = trials()
    assert new_trials[: len(old_trials) - 1] == old_trials[:-1]
    assert new_trials[len(old_trials) - 1][:2] == old_trials[-1][:2]
    assert len(new_trials) == 8
    assert all(state.is_finished() for _, _, state, _ in new_trials)
    assert RELEASE.in_mlflow(MADE["search"]).info.run_id == parent


@pytest.mark.slow(seconds=10)
def test_missing_results_are_uploaded_once(unpacked):
    store = (
        f"tracking.uri=sqlite:///{OUTPUTS}/mlflow.db"  # also for the run that came from a server
    )
    RELEASE.lenet("sync", store)
    statuses = {name: RELEASE.in_mlflow(MADE[name]).info.status for name in ("search", "killed")}
    assert statuses == {"search": "KILLED", "killed": "KILLED"}
    uploaded = everything(RELEASE.store())
    assert {run.data.tags["run_folder"] for run in runs(RELEASE.store())} == set(
        RELEASE.texts("history.json")
    )
    RELEASE.lenet("sync", store)
    assert everything(RELEASE.store()) == uploaded


@pytest.mark.slow(seconds=5)
def test_sweep_is_removed_except_for_registered_models(unpacked):
    before = RELEASE.texts("history.json")
    in_store = {run.data.tags["run_folder"]: run for run in runs(RELEASE.store())}
    registered = {run for _, versions in champions(RELEASE.store()).values() for run in versions}
    members = set(run_ids("own"))
    stay = {folder for folder in members if in_store[folder].info.run_id in registered}
    assert len(members) == 6
    RELEASE.lenet("sweep", "rm", f"sweep={MADE['own']}")
    assert RELEASE.texts("history.json") == before
    RELEASE.lenet("sweep", "rm", f"sweep={MADE['own']}", "dry_run=false")
    assert before.keys() - RELEASE.texts("history.json").keys() == members - stay
    left = {run.data.tags["run_folder"] for run in runs(RELEASE.store())}
    assert in_store.keys() - left == members - stay


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("program", ["train", "predict"])
def test_flags_keep_names_and_defaults(program, unpacked):
    before = yaml.safe_load(EXPECTED["flags"][program])
    now = yaml.safe_load(RELEASE.lenet(program, "--cfg", "job").stdout)
    changed = [".tracking.models: 'all' is now 'best'"] if program == "train" else []
    assert changes(before, now) == changed
