"""The CUDA devices of a sweep's workers. The tests pretend that this machine has devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch

from lenet_exp.errors import ConfigError
from lenet_exp.executors.local import pool
from lenet_exp.executors.local.devices import prepare_worker, worker_devices
from tests.tools.commands import SMALL, refused

ONLY_LOCAL = "sweep.devices=[1]: requires hydra/launcher=local"
SWEEP = (
    "-m",
    *SMALL,
    "num_epoch=1",
    "sweep.workers=2",
    "tracking.plots=false",
    "tracking.models=none",
)


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def record_slot(
    file: str, prepare: Callable[[], object], devices: Sequence[int], slot: int
) -> None:
    """Append the slot of this worker and the device at that position to a file instead of selecting
    the device.
    """
    with open(file, "a") as lines:
        lines.write(json.dumps([slot, devices[slot]]) + "\n")
    prepare()


@pytest.mark.parametrize(("devices", "expected"), [([1, 3, 4], [1, 3, 4, 1, 3]), ([], [])])
def test_devices_are_assigned_round_robin(monkeypatch, devices, expected):
    selected: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", selected.append)
    for slot in range(5):
        prepare_worker(list, devices, slot)
    assert selected == expected


@pytest.mark.parametrize(
    ("flags", "allowed", "expected"),
    [
        (["auto"], [], [0, 1]),
        (["cpu", "cuda"], [], [0, 1]),
        (["cuda"], [1], [1]),
        (["cuda"], [1, 0], [1, 0]),
        (["cpu", "mps"], [], []),
        (["cuda:0", "cuda:1"], [1], []),
    ],
)
def test_only_runs_without_device_number_use_device_of_worker(flags, allowed, expected):
    assert worker_devices(flags, allowed) == expected


@pytest.mark.parametrize(("count", "devices"), [(2, "2"), (0, "none")])
def test_missing_device_is_refused(monkeypatch, count, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError) as refusal:
        worker_devices(["cpu"], [7])
    message = f"sweep.devices=[7]: CUDA device 7 not found; this machine has {devices}"
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("line", "named"),
    {
        "sweep.devices=[0,7]": "CUDA device 7 not found; this machine has 2",
        "sweep.devices=[1,1]": "sweep.devices=[1,1]: must be distinct",
        "sweep.devices=[-1]": "sweep.devices=[-1]: must be distinct numbers of at least 0",
        "sweep.devices=[x]": "sweep.devices",
        "sweep.devices=1": "sweep.devices",
        "sweep.devices=0,1": "sweep.devices",
        "sweep.devices=[1] hydra/launcher=basic": ONLY_LOCAL,
        "sweep.devices=[1] hydra/launcher=cluster_ray": ONLY_LOCAL,
    }.items(),
)
def test_unusable_devices_are_refused_before_sweep_starts(main, ready, line, named):
    refused(main(*SWEEP, *line.split()), named)
    assert not (ready / "sweeps").exists()


@pytest.mark.slow(seconds=4)
def test_workers_of_a_sweep_have_distinct_slots(main, ready, tmp_path, monkeypatch):
    file = tmp_path / "slots"
    monkeypatch.setattr(pool, "prepare_worker", partial(record_slot, str(file)))
    main(*SWEEP, "seed=range(4)", "sweep.devices=[1,0]", status=0)
    slots_and_devices = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(slots_and_devices) == [[0, 1], [1, 0]]
