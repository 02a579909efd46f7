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
    "diverged": 1,
}
# comparisons that need no MLflow store
OF_FOLDERS = [name for name in EXPECTED["compare"] if name != "filter"]
# results in a record that are equal if the run is retrained
EXACT = (
    "fingerprint",
    "weights_digest",
    "best_epoch",
    "best_val_accuracy",
    "confusion_matrix",
    "best_right",
    "last_right",
    "parameters",
    "multiply_adds",
    "data_digests",
    "data_files",
)


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
    if isinstance(value, list):
        return [untimed(part) for part in value]
    return value


def records() -> dict[str, dict[str, Any]]:
    """Return the record of each run that has ended, by the name of the run folder."""
    return {folder: json.loads(text) for folder, text in RELEASE.texts().items()}


def run_ids(name: str) -> list[str]:
    """Return the run folders of a sweep."""
    return SweepFolder(OUTPUTS / "sweeps" / MADE[name]).run_ids()


def code_digests(name: str) -> set[str]:
    """Return the digests of the network's code that the runs of a sweep recorded."""
    all_records = records()
    return {all_records[run]["config"]["model"][CODE_KEY] for run in run_ids(name)}


def study() -> optuna.Study:
    database = f"sqlite:///{OUTPUTS / 'sweeps' / MADE['search'] / 'study.db'}"
    (name,) = optuna.get_all_study_names(database)
    return optuna.load_study(study_name=name, storage=database)


def trials() -> list[tuple[Any, ...]]:
    """Return the number, the values of the flags, the state and the curve of each trial."""
    return [(t.number, t.params, t.state, t.intermediate_values) for t in study().trials]


@pytest.mark.parametrize("name", OF_FOLDERS)
def test_comparison_has_same_values(name, folders_only, tmp_path):
    """Means, p-values, intervals, and relations are computed from the run folders alone."""
    comparison = EXPECTED["compare"][name]
    path = tmp_path / "comparison.json"
    flags = (*comparison["flags"], f"output={path}")

    succeeded(end(start(*flags, outputs=folders_only, program="compare", cwd=tmp_path)))

    values = json.loads(path.read_text())
    assert changes(untimed(comparison["gives"]), untimed(values)) == []


@pytest.mark.slow(seconds=4)
def test_comparison_of_filtered_runs_has_same_values(unpacked):
    comparison = EXPECTED["compare"]["filter"]
    # marks the run as killed, which it was when the values were stored
    RELEASE.lenet("sync", f"run={MADE['killed']}")
    values = RELEASE.written("compare", *comparison["flags"])
    assert changes(untimed(comparison["gives"]), untimed(values)) == []


@pytest.mark.slow(seconds=5)
def test_sweeps_are_listed_with_states_and_sizes(unpacked):
    rows = r"^ (\w{16}) .*?(finished|killed) +(\d+/\d+)"
    listed = RELEASE.lenet("sweep", "list").stdout
    expected = re.findall(rows, EXPECTED["list"], re.MULTILINE)
    assert len(expected) == 9
    assert re.findall(rows, listed, re.MULTILINE) == expected
    status = RELEASE.lenet("sweep", "status", f"sweep={MADE['search']}").stdout
    assert status == EXPECTED["status"]


@pytest.mark.slow(seconds=20)
def test_models_give_same_predictions(unpacked):
    for name, prediction in EXPECTED["predict"].items():
        values = RELEASE.written("predict", *prediction["flags"])
        assert changes(prediction["gives"], values) == [], name


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
    # by torch, so that the bits depend on the CPU
    for name in ("own", "own edited", "convnet", "two datasets"):
        first, *_ = run_ids(name)
        RELEASE.lenet("reproduce", f"run={first}", "check=true")


@pytest.mark.slow(seconds=5)
def test_same_command_trains_to_same_record(unpacked, tmp_path):
    original = records()[MADE["shorter"]]
    succeeded(lenet_train(*COMMANDS["shorter"], outputs=tmp_path / "other"))
    (path,) = tmp_path.glob("other/runs/*/record.json")
    retrained = json.loads(path.read_text())
    assert path.parent.name == MADE["shorter"]
    for key in EXACT:
        assert retrained[key] == original[key], key


@pytest.mark.slow(seconds=14)
def test_rerun_of_finished_sweeps_changes_nothing(unpacked):
    texts_before = RELEASE.texts()
    store_before = everything(RELEASE.store())

    for name, status in FINISHED.items():
        plan = json.loads((OUTPUTS / "sweeps" / MADE[name] / "sweep.json").read_text())
        RELEASE.lenet("train", "-m", *plan["overrides"], status=status)

    assert RELEASE.texts() == texts_before
    assert len(list(OUTPUTS.glob("sweeps/*"))) == len(runs(RELEASE.store(), "sweep"))

    store_after = everything(RELEASE.store())
    assert store_after.keys() == store_before.keys()
    for run in runs(RELEASE.store()):
        values_before = store_before[run.info.run_id]
        values_after = store_after[run.info.run_id]
        for values in (values_before, values_after):
            tags = values[2]
            tags.pop("users", None)
        assert values_after == values_before


@pytest.mark.slow(seconds=3)
def test_code_before_edit_still_trains_a_continued_sweep(unpacked):
    """`own` was trained before blocks.py was edited: its copy of the code is used, and its runs
    count.
    """
    before = RELEASE.texts()
    RELEASE.lenet("train", "-m", f"sweep.resume={MADE['own']}")
    assert RELEASE.texts() == before

    (code,) = code_digests("own")
    (edited_code,) = code_digests("own edited")
    assert code != edited_code


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
        done = RELEASE.lenet("compare", f"sweep={sweep.id}", "confirm=1", *against)
        assert "sweep.margin" not in done.stdout


@pytest.mark.slow(seconds=5)
def test_confirmation_of_equivalence_is_an_ordinary_sweep(unpacked):
    sweep = SweepFolder(OUTPUTS / "sweeps" / MADE["equivalence"])
    plan = sweep.started()
    assert plan.confirms is None
    assert plan.points is None
    assert sweep.id in RELEASE.lenet("sweep", "list").stdout
    RELEASE.lenet("train", "-m", f"sweep.resume={sweep.id}")
    assert sweep.id not in RELEASE.lenet("compare", f"sweep={MADE['grid']}").stdout
    new_seeds = RELEASE.lenet("compare", f"sweep={MADE['grid']}", "confirm=2").stdout
    # the seeds of the confirmation of equivalence were already used
    assert "seed=range(3000," in new_seeds

    RELEASE.lenet("sweep", "rm", f"sweep={sweep.id}", "dry_run=false")
    assert not sweep.path.exists()


@pytest.mark.slow(seconds=9)
def test_shorter_run_continues_and_given_weights_are_kept(unpacked):
    line = (*COMMANDS["continued"][:-1], "num_epoch=7")
    other_outputs = RELEASE.place / "other"

    RELEASE.lenet("train", *line)
    succeeded(lenet_train(*line, outputs=other_outputs))

    (longer,) = [record for record in records().values() if record["config"]["num_epoch"] == 7]
    assert longer["continued_from"] == MADE["continued"]
    assert longer["inherited_epochs"] == 5
    (path,) = other_outputs.glob("runs/*/record.json")
    undisturbed = json.loads(path.read_text())
    assert undisturbed["weights_digest"] == longer["weights_digest"]

    record_before = records()[MADE["init_from"]]
    source = OUTPUTS / "runs" / MADE["continued"]
    (weights,) = source.glob("best-*.safetensors")
    weights.write_bytes(b"changed since")

    RELEASE.lenet("reproduce", f"run={MADE['init_from']}")

    assert records()[MADE["init_from"]] == record_before


@pytest.mark.slow(seconds=8)
def test_killed_run_resumes_to_bits_of_undisturbed_run(unpacked):
    run_before = RELEASE.in_mlflow(MADE["killed"])

    RELEASE.lenet("train", *COMMANDS["killed"])

    record = records()[MADE["killed"]]
    assert record["resumed"] == 1
    assert record["weights_digest"] == EXPECTED["undisturbed"][record["fingerprint"]]

    run = RELEASE.in_mlflow(MADE["killed"])
    undisturbed = EXPECTED["undisturbed_mlflow"]
    assert run.info.run_id == run_before.info.run_id
    assert run.info.status == undisturbed["status"]
    assert run.info.run_name == undisturbed["name"]
    assert set(undisturbed["artifacts"]) <= files(RELEASE.store(), run.info.run_id)
    for kind, values in (
        ("tags", run.data.tags),
        ("metrics", run.data.metrics),
        ("params", run.data.params),
    ):
        assert undisturbed[kind].keys() <= values.keys() | {"resumed"}
        expected = dict(steady(undisturbed[kind]))
        expected.pop("users", None)  # this process runs as another user
        assert changes(expected, steady(values)) == [], kind
    curve = points(RELEASE.store(), run.info.run_id)["val_accuracy"]
    epochs = [step for step, _, _ in curve]
    assert epochs == list(range(1, 31))


@pytest.mark.slow(seconds=12)
def test_killed_search_resumes_interrupted_trial_and_ends(unpacked):
    before = RELEASE.texts()
    outcomes = {run: json.loads(text)["outcome"] for run, text in before.items()}
    (interrupted,) = [run for run, outcome in outcomes.items() if outcome == "killed"]
    ended = {run: text for run, text in before.items() if run != interrupted}
    old_trials = trials()
    assert TrialState.PRUNED in [state for _, _, state, _ in old_trials]
    parent = RELEASE.in_mlflow(MADE["search"]).info.run_id

    RELEASE.lenet("train", *COMMANDS["search"])

    assert ended.items() <= RELEASE.texts().items()
    resumed = records()[interrupted]
    assert resumed["resumed"] == 1
    assert resumed["weights_digest"] == EXPECTED["undisturbed"][resumed["fingerprint"]]
    for record in records().values():
        fingerprint = record["fingerprint"]
        if fingerprint in EXPECTED["undisturbed"]:
            assert record["weights_digest"] == EXPECTED["undisturbed"][fingerprint]

    new_trials = trials()
    last = len(old_trials) - 1
    assert new_trials[:last] == old_trials[:last]
    number, values, _, _ = new_trials[last]
    old_number, old_values, _, _ = old_trials[last]
    assert number == old_number
    assert values == old_values
    assert len(new_trials) == 8
    for _, _, state, _ in new_trials:
        assert state.is_finished()
    assert RELEASE.in_mlflow(MADE["search"]).info.run_id == parent


@pytest.mark.slow(seconds=10)
def test_missing_results_are_uploaded_once(unpacked):
    # also for the run that came from a server
    store = f"tracking.uri=sqlite:///{OUTPUTS}/mlflow.db"

    RELEASE.lenet("sync", store)

    for name in ("search", "killed"):
        assert RELEASE.in_mlflow(MADE[name]).info.status == "KILLED"
    folders_in_store = {run.data.tags["run_folder"] for run in runs(RELEASE.store())}
    assert folders_in_store == set(RELEASE.texts("history.json"))

    uploaded = everything(RELEASE.store())
    RELEASE.lenet("sync", store)
    assert everything(RELEASE.store()) == uploaded


@pytest.mark.slow(seconds=5)
def test_sweep_is_removed_except_for_registered_models(unpacked):
    folders_before = RELEASE.texts("history.json")
    runs_before = {run.data.tags["run_folder"]: run for run in runs(RELEASE.store())}
    registered = set()
    for _, versions in champions(RELEASE.store()).values():
        registered.update(versions)
    members = set(run_ids("own"))
    assert len(members) == 6
    to_remove = set()
    for folder in members:
        if runs_before[folder].info.run_id not in registered:
            to_remove.add(folder)

    RELEASE.lenet("sweep", "rm", f"sweep={MADE['own']}")
    assert RELEASE.texts("history.json") == folders_before

    RELEASE.lenet("sweep", "rm", f"sweep={MADE['own']}", "dry_run=false")
    assert folders_before.keys() - RELEASE.texts("history.json").keys() == to_remove
    folders_in_store = {run.data.tags["run_folder"] for run in runs(RELEASE.store())}
    assert runs_before.keys() - folders_in_store == to_remove


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("program", ["train", "predict"])
def test_flags_keep_names_and_defaults(program, unpacked):
    flags_of_release = yaml.safe_load(EXPECTED["flags"][program])
    flags = yaml.safe_load(RELEASE.lenet(program, "--cfg", "job").stdout)
    changed = []
    if program == "train":
        changed = [".tracking.models: 'all' is now 'best'"]
    assert changes(flags_of_release, flags) == changed
