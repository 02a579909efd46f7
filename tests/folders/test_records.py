"""Records survive a round trip through JSON, including keys and gaps of other releases; invalid
ones are refused.
"""

from __future__ import annotations

import copy
import json
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.config.flags import REMOVED, without_removed
from lenet_exp.config.schema import Config
from lenet_exp.config.typed_json import key_of, read_as
from lenet_exp.folders.delivered import Delivered, UploadsOfRelease03, delivered_by_release_0_3
from lenet_exp.folders.job import job_from_json, job_to_json
from lenet_exp.folders.records import (
    FINAL_FIELDS,
    History,
    describe_differences,
    record_from_json,
    record_to_json,
)
from lenet_exp.folders.records import (
    TestResult as StoredTestResult,
)  # pytest collects classes named Test*
from lenet_exp.folders.stored import to_json
from lenet_exp.folders.sweep_plan import SweepPlan
from tests.tools.records import a_record
from tests.upgrade.stored import RELEASES, stored

STORED = {
    "Record": (record_from_json, record_to_json),
    "History": (partial(read_as, History), to_json),
    "Delivered": (partial(read_as, Delivered), to_json),
    "TestResult": (partial(read_as, StoredTestResult), to_json),
    "SweepPlan": (partial(read_as, SweepPlan), to_json),
    "Job": (lambda value: job_from_json(value, Path("outputs")), job_to_json),
}
NEW_KEYS = {"new": 1, "new é\u2028": {"deep": ["text"]}}


def within(value: object, more: object) -> bool:
    """Return whether `more` contains all of `value`, at every depth."""
    if isinstance(value, dict) and isinstance(more, dict):
        return all(key in more and within(value[key], more[key]) for key in value)
    if isinstance(value, list) and isinstance(more, list):
        return len(value) == len(more) and all(map(within, value, more))
    return value == more


def without_digest(value: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a stored object without its digest and the flags that this release lacks."""
    kept = {key: copy.deepcopy(part) for key, part in value.items() if key != "digest"}
    kept.get("config", {}).get("sweep", {}).pop("margin", None)
    return kept


@pytest.mark.parametrize("name", STORED)
def test_unknown_keys_are_kept(name):
    of, to = STORED[name]
    value = {**without_digest(stored("0.3")[name][0]), **NEW_KEYS}
    rows = json.loads(json.dumps(to(of(value))))
    assert within(without_removed_flags(value), rows)
    assert of(rows) == of(value)


def without_removed_flags(value: dict[str, Any]) -> dict[str, Any]:
    """Return a stored object without the flags that this release lacks."""
    for removed in REMOVED:
        section, _, flag = removed.partition(".")
        value.get("config", {}).get(section, {}).pop(flag, None)
    if "number" in value:  # a job
        value["overrides"] = without_removed(value["overrides"])
    return value


def unknown(value: object) -> set[str]:
    """Return the keys that a class does not know, at every depth."""
    found = set(getattr(value, "other", {}))
    if is_dataclass(value) and not isinstance(value, Config):
        return found.union(*(unknown(getattr(value, f.name)) for f in fields(value)))
    return found.union(*map(unknown, value)) if isinstance(value, list) else found


# Fields of sweep.json that moved to delivered.json in the sweep folder.
OF_RELEASE_0_3 = {key_of(field) for field in fields(UploadsOfRelease03)} - {"other"}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", STORED)
def test_objects_of_earlier_releases_are_read_and_written_back(name, release):
    of, to = STORED[name]
    assert stored(release)[name]
    for value in stored(release)[name]:
        assert unknown(of(value)) <= {"digest", "margin", *OF_RELEASE_0_3}
        rows = json.loads(json.dumps(to(of(value))))
        assert within(without_removed_flags(without_digest(value)), rows)


def test_uploads_recorded_by_release_0_3_are_known():
    read, _ = STORED["SweepPlan"]
    for value in stored("0.3")["SweepPlan"]:
        entries = delivered_by_release_0_3(read(value)).mlflow_runs
        assert {entry.store: entry.run_id for entry in entries} == value["mlflow_runs"]
        ended = {entry.store for entry in entries if entry.ended == value["starts"]}
        assert ended == set(value["mlflow_runs"]) - set(value["untold"])
        assert [entry.shown for entry in entries] == [
            value["shown"].get(entry.run_id, "") for entry in entries
        ]


def test_unfinished_run_is_stored_without_final_fields():
    ended = next(
        record for record in map(record_from_json, stored("0.3")["Record"]) if record.is_result
    )
    assert set(record_to_json(ended)) >= FINAL_FIELDS
    assert not set(record_to_json(ended.begun)) & FINAL_FIELDS
    assert record_from_json(record_to_json(ended.begun)) == ended.begun


def test_environments_differ_only_in_properties_of_both_records():
    one = a_record(execution={"device": "cpu", "num_threads": 1}, versions={"torch": "2"})
    newer = replace(
        one,
        execution=one.execution | {"cpu_capability": "AVX2", "engine": "torch", "environment": ""},
    )
    assert one.execution_differences(newer) == newer.execution_differences(one) == {}
    assert one.missing_properties(newer) == ["cpu_capability", "environment"]
    assert newer.missing_properties(one) == []

    def other(**execution):
        return newer.execution_differences(replace(newer, execution=newer.execution | execution))

    assert other(num_threads=2) == {"num_threads": (1, 2)}
    assert other(engine="abacus", num_threads=2) == {"engine": ("torch", "abacus")}
    assert one.execution_differences(replace(newer, versions={"torch": "3"})) == {
        "torch": ("2", "3")
    }


def test_description_of_differences_names_only_variables_that_differ():
    earlier, current = "ATEN_CPU_CAPABILITY=default MKL_CBWR=AVX2", "MKL_CBWR=AVX2 OMP_DYNAMIC=true"
    assert describe_differences({"environment": (earlier, current), "num_threads": (1, 2)}) == (
        "environment=ATEN_CPU_CAPABILITY=default (now OMP_DYNAMIC=true), num_threads=1 (now 2)"
    )
    assert describe_differences({"environment": ("", "MKL_CBWR=AVX2")}) == (
        "environment=none (now MKL_CBWR=AVX2)"
    )
