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

# pytest collects classes named Test*
from lenet_exp.folders.records import TestResult as StoredTestResult
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
    rest = copy.deepcopy(value)
    rest.pop("digest", None)
    rest.get("config", {}).get("sweep", {}).pop("margin", None)
    return rest


@pytest.mark.parametrize("name", STORED)
def test_unknown_keys_are_kept(name):
    read, write = STORED[name]
    value = without_digest(stored("0.3")[name][0]) | NEW_KEYS
    rewritten = json.loads(json.dumps(write(read(value))))
    assert within(without_removed_flags(value), rewritten)
    assert read(rewritten) == read(value)


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
    parts: list[object] = []
    if isinstance(value, list):
        parts = value
    elif is_dataclass(value) and not isinstance(value, Config):
        parts = [getattr(value, field.name) for field in fields(value)]

    keys = set(getattr(value, "other", {}))
    for part in parts:
        keys |= unknown(part)
    return keys


# Fields of sweep.json that moved to delivered.json in the sweep folder.
OF_RELEASE_0_3 = {key_of(field) for field in fields(UploadsOfRelease03)} - {"other"}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", STORED)
def test_objects_of_earlier_releases_are_read_and_written_back(name, release):
    read, write = STORED[name]
    assert stored(release)[name]
    for value in stored(release)[name]:
        assert unknown(read(value)) <= {"digest", "margin", *OF_RELEASE_0_3}
        rewritten = json.loads(json.dumps(write(read(value))))
        assert within(without_removed_flags(without_digest(value)), rewritten)


def test_uploads_recorded_by_release_0_3_are_known():
    read, _ = STORED["SweepPlan"]
    for value in stored("0.3")["SweepPlan"]:
        entries = delivered_by_release_0_3(read(value)).mlflow_runs
        assert {entry.store: entry.run_id for entry in entries} == value["mlflow_runs"]
        ended = {entry.store for entry in entries if entry.ended == value["starts"]}
        assert ended == set(value["mlflow_runs"]) - set(value["untold"])
        for entry in entries:
            assert entry.shown == value["shown"].get(entry.run_id, "")


def test_unfinished_run_is_stored_without_final_fields():
    records = [record_from_json(value) for value in stored("0.3")["Record"]]
    ended = next(record for record in records if record.is_result)
    assert set(record_to_json(ended)) >= FINAL_FIELDS
    assert not set(record_to_json(ended.begun)) & FINAL_FIELDS
    assert record_from_json(record_to_json(ended.begun)) == ended.begun


def test_environments_differ_only_in_properties_of_both_records():
    one = a_record(execution={"device": "cpu", "num_threads": 1}, versions={"torch": "2"})
    new_properties = {"cpu_capability": "AVX2", "engine": "torch", "environment": ""}
    newer = replace(one, execution=one.execution | new_properties)
    assert one.execution_differences(newer) == {}
    assert newer.execution_differences(one) == {}
    assert one.missing_properties(newer) == ["cpu_capability", "environment"]
    assert newer.missing_properties(one) == []

    def differences_if(**changed: object) -> dict[str, tuple[object, object]]:
        """Return the differences between `newer` and a record with changed properties."""
        other = replace(newer, execution=newer.execution | changed)
        return newer.execution_differences(other)

    assert differences_if(num_threads=2) == {"num_threads": (1, 2)}
    assert differences_if(engine="abacus", num_threads=2) == {"engine": ("torch", "abacus")}
    with_other_torch = replace(newer, versions={"torch": "3"})
    assert one.execution_differences(with_other_torch) == {"torch": ("2", "3")}


def test_description_of_differences_names_only_variables_that_differ():
    earlier = "ATEN_CPU_CAPABILITY=default MKL_CBWR=AVX2"
    current = "MKL_CBWR=AVX2 OMP_DYNAMIC=true"
    assert describe_differences({"environment": (earlier, current), "num_threads": (1, 2)}) == (
        "environment=ATEN_CPU_CAPABILITY=default (now OMP_DYNAMIC=true), num_threads=1 (now 2)"
    )

    text = describe_differences({"environment": ("", "MKL_CBWR=AVX2")})
    assert text == "environment=none (now MKL_CBWR=AVX2)"
