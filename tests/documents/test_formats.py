"""docs/reference/formats.md lists every stored field, tag, metric, and file, with modules that use
them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from importlib import import_module

import pytest
import torch

from lenet_exp.config.tags import NAMES, PREFIXES, is_own
from lenet_exp.config.typed_json import key_of
from lenet_exp.executors.slot_process import SlotInfo
from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.messages import PlacePlan
from lenet_exp.folders import checkpoints, run_folder, sweep_folder
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import Owner
from lenet_exp.folders.records import Outcome, exact_result_properties
from lenet_exp.folders.results import JobResult, counts
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.tracking.run_uploads import class_accuracy
from lenet_exp.tracking.stores.points import BEST_METRICS
from lenet_exp.training import execution
from lenet_exp.training.epoch import EPOCH_METRICS, EpochResult
from lenet_exp.training.score import Calibration, Score
from tests.test_layers import FILES
from tests.tools.commands import ROOT
from tests.tools.configs import compose
from tests.upgrade.stored import RELEASES, stored

PAGE = ROOT / "docs" / "reference" / "formats.md"
EARLIER = ("0.1", "0.2")  # releases without an archive in tests/upgrade
NEWEST = "0.4"  # release of the fields that no archive in tests/upgrade contains
NOT_IN_ARCHIVES = {"Owner", "PlacePlan"}  # they exist only while a process runs
MANY = "many modules"  # in the column "read by"
MOST = 6  # readers that the column lists
NOT_STORED = {"other", "outputs"}


@dataclass(frozen=True)
class Row:
    """A row of a table: the heading above the table, and the cells by the titles of their
    columns.
    """

    heading: str
    cells: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The names in the first cell."""
        return quoted(next(iter(self.cells.values())))

    @property
    def title(self) -> str:
        """The title of the first column."""
        return next(iter(self.cells))

    @property
    def readers(self) -> list[str]:
        """The modules in the column "read by"."""
        return quoted(self.cells["read by"])


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def rows_of(page: str) -> Iterator[Row]:
    """Yield the rows of all tables on a page."""
    heading = ""
    titles = None
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            titles = None
            continue

        cells = [cell.strip() for cell in line.strip("|").split("|")]
        is_rule = set(line) <= set("-| ")
        if titles is None:
            titles = cells
        elif not is_rule:
            yield Row(heading, dict(zip(titles, cells, strict=True)))


ROWS = list(rows_of(PAGE.read_text()))


def table(title: str, heading: str = "") -> list[Row]:
    """The rows of the tables under a heading whose first column has a title."""
    return [row for row in ROWS if row.title == title and row.heading.startswith(heading)]


def names_in(rows: list[Row]) -> list[str]:
    return [name for row in rows for name in row.names]


def stored_classes() -> dict[str, type]:
    """The classes whose fields are stored in JSON files, by name."""
    classes = {"EpochResult": EpochResult, "Owner": Owner, "PlacePlan": PlacePlan}
    for module, path in FILES.items():
        text = path.read_text()
        if "(Stored)" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and "Stored" in map(ast.unparse, node.bases):
                classes[node.name] = getattr(import_module(module), node.name)
    return classes


CLASSES = stored_classes()


def field_rows(name: str) -> list[Row]:
    return table("field", f"`{name}`")


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_a_stored_class_is_documented(name):
    stored_fields = [field for field in fields(CLASSES[name]) if field.name not in NOT_STORED]
    expected = [key_of(field) for field in stored_fields]
    assert sorted(names_in(field_rows(name))) == sorted(expected)


def test_every_documented_field_belongs_to_a_stored_class():
    assert {quoted(row.heading)[0] for row in table("field")} == CLASSES.keys()


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - NOT_IN_ARCHIVES))
def test_fields_name_the_first_release_that_stored_them(name):
    first_release: dict[str, str] = {}
    for release in RELEASES:
        for value in stored(release).get(name, []):
            for field in value:
                first_release.setdefault(field, release)

    for row in field_rows(name):
        since = row.cells["since"]
        if since in EARLIER:
            since = RELEASES[0]
        for field in row.names:
            assert since == first_release.get(field, NEWEST), field


def test_every_row_names_a_release():
    releases = {row.cells["since"] for row in ROWS if "since" in row.cells}
    assert releases <= {*EARLIER, *RELEASES, NEWEST}


def test_keys_of_execution_and_releases_match_the_code(monkeypatch):
    monkeypatch.setattr(execution, "describe_kernels", lambda: "AVX2, g++")
    config = compose(["engine=native", "augmentation=shift"])

    keys = execution.describe_execution(config, torch.device("cpu"), "it was requested").keys()

    rows = table("key", "Keys of `execution`")
    assert sorted(names_in(rows)) == sorted(keys)
    for engine in ("torch", "native"):
        documented = [row for row in rows if engine in row.cells["exact results depend on it"]]
        description = dict.fromkeys(keys, "x") | {"engine": engine}
        relevant = exact_result_properties(description, {})
        assert set(names_in(documented)) == relevant.keys()


def test_tags_match_reserved_names_and_prefixes():
    tags = names_in([row for row in table("tag") if row not in _model_tags()])
    reserved = [name for name in tags if not name.startswith(PREFIXES)]
    assert sorted(reserved) == sorted(NAMES)
    assert [name for name in tags if not is_own(name)] == []
    assert sorted(names_in(table("prefix"))) == sorted(f"{prefix}*" for prefix in PREFIXES)


def _model_tags() -> list[Row]:
    rows = []
    for row in table("tag"):
        holders = row.cells["on"]
        if "model" in holders and "run" not in holders:
            rows.append(row)
    return rows


def test_tags_of_models_match_the_code():
    tags = {"fingerprint", "weights_digest", "settled", "first", "metric", "score"}
    source = inspect.getsource(import_module("lenet_exp.tracking.models.champion")._register)
    tags |= set(re.findall(r'^ +"(\w+)": ', source, re.MULTILINE))
    assert set(names_in(_model_tags())) == tags


def metrics_of_run() -> set[str]:
    """The names of the metrics that a run can have."""
    calibration = Calibration(0.0, 0.0, 0.0, [])
    score = Score(1, 1, [], [], "", "", calibration)
    assert "val_accuracy_" in inspect.getsource(class_accuracy.class_points)
    own = {"val_<metric>", "best_val_<metric>"}
    return {
        *EPOCH_METRICS,
        *BEST_METRICS,
        *own,
        "step_loss",
        "val_accuracy_<class>",
        *score.metrics,
    }


def metrics_of_sweep() -> set[str]:
    """The names of the metrics that a sweep can have, except those of its system and its test
    results.
    """
    search = SearchPlan(sampler="", pruner="", objective="", best_value=1.0)
    job = Job(0, "", {}, [], compose(), "", "")
    results = [JobResult(job, outcome, "", None, False) for outcome in Outcome]
    return counts(SweepPlan(created_ms=0, search=search), results).keys()


def test_metrics_match_the_code():
    rows = table("metric")
    on_sweeps = [row for row in rows if "sweep" in row.cells["on"]]
    on_runs = [row for row in rows if "run" in row.cells["on"]]
    of_tests = {"test_accuracy_sd", "test_<measure>_ensemble"}

    assert set(names_in(rows)) == metrics_of_run() | metrics_of_sweep() | of_tests
    assert metrics_of_sweep() <= set(names_in(on_sweeps))
    assert set(names_in(on_runs)) == metrics_of_run()


def test_attributes_of_studies_match_the_code():
    pytest.importorskip("optuna")
    from lenet_exp.searches import study, trial_attributes

    of_study = {study.SECONDS}
    of_trial = {
        trial_attributes.EPOCHS_BEFORE,
        trial_attributes.EPOCHS,
        trial_attributes.RUN,
        trial_attributes.OUTCOME,
        trial_attributes.REASON,
        trial_attributes.SAMPLER_STATE,
    }
    expected = {(name, "study") for name in of_study}
    expected |= {(name, "trial") for name in of_trial}

    documented = set()
    for row in table("attribute"):
        documented |= {(name, row.cells["of"]) for name in row.names}
    assert documented == expected


def test_messages_of_workers_match_the_code():
    of_workers = {
        messages.DESCRIBED,
        messages.QUESTION,
        messages.ENDED,
        messages.NOT_BEGUN,
        messages.LEFT,
    }
    of_sweeps = {messages.START, messages.ANSWER, messages.STOP, messages.LEAVE}

    rows = {name: row for row in table("kind") for name in row.names}
    assert {name for name, row in rows.items() if row.cells["from"] == "worker"} == of_workers
    assert {name for name, row in rows.items() if row.cells["from"] == "sweep"} == of_sweeps
    other_keys = quoted(rows[messages.DESCRIBED].cells["other keys"])
    assert other_keys == [field.name for field in fields(SlotInfo)]


@pytest.mark.parametrize("module", [run_folder, sweep_folder, checkpoints])
def test_every_file_in_the_docstring_of_a_folder_is_documented(module):
    lists = re.findall(r"^([\w.<>*/-]+(?:, [\w.<>*/-]+)*) {2,}", module.__doc__, re.MULTILINE)
    files = [name for names in lists for name in names.split(", ")]
    assert len(files) >= 3

    folder = "sweeps/<sweep>/" if module is sweep_folder else "runs/<run>/"
    documented = names_in(table("path", "Files in an outputs folder"))
    missing = []
    for name in files:
        if not any(fnmatch(path, folder + name) for path in documented):
            missing.append(name)
    assert missing == []


def module_of(name: str) -> str:
    return f"lenet_exp.{name.removesuffix('.py').replace('/', '.')}"


def test_every_module_on_the_page_exists():
    modules = [name for name in quoted(PAGE.read_text()) if re.fullmatch(r"[\w/]+\.py", name)]
    assert len(modules) > 300
    missing = set()
    for name in modules:
        if module_of(name) not in FILES and not (ROOT / name).is_file():
            missing.add(name)
    assert missing == set()

    without_module = []
    for row in ROWS:
        for title in ("written by", "read by"):
            cell = row.cells.get(title, "-")
            if cell not in {"-", MANY} and not re.match(r"`[\w/]+\.py`", cell):
                without_module.append(cell)
    assert without_module == []


def test_documented_readers_of_a_field_mention_the_field():
    name_in_code = {}
    for stored_class in CLASSES.values():
        for field in fields(stored_class):
            name_in_code[key_of(field)] = field.name
    words = {module: set(re.findall(r"\w+", path.read_text())) for module, path in FILES.items()}

    wrong = []
    for row in table("field"):
        for name in row.names:
            mentioning = {module for module in FILES if name_in_code[name] in words[module]}
            for reader in row.readers:
                if module_of(reader) not in mentioning:
                    wrong.append((row.heading, name, reader))
            if len(row.readers) > MOST:
                wrong.append((row.heading, name, f"more than {MOST} readers"))
            if row.cells["read by"] == MANY and len(mentioning) <= MOST:
                wrong.append((row.heading, name, f"at most {MOST} readers"))
    assert wrong == []
