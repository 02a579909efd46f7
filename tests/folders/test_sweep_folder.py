"""A sweep on disk keeps its request, its events belong to the current start, and they give the time
left.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from lenet_exp.config.schema import Config
from lenet_exp.errors import DamagedError
from lenet_exp.folders.delivered import DeliveredSweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps, sweep_of
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import RUN_SECONDS, SweepProgress

REQUEST: dict[str, Any] = {
    "command": "lenet-train -m seed=1,2",
    "overrides": ["seed=1,2"],
    "swept": ["seed"],
}


def job(number: int, run: str = "") -> Job:
    return Job(
        number,
        name=f"seed={number} é",
        swept={"seed": str(number)},
        overrides=[f"seed={number}", "+tracking.tags.note=é\u2028"],
        config=Config(seed=number),
        fingerprint="f" * 64,
        run=run or f"{number:032}",
    )


def without_digest(text: str) -> str:
    """Return the JSON object as an older release wrote it."""
    value = json.loads(text)
    del value["digest"]
    return json.dumps(value)


def test_sweep_folder_returns_stored_jobs_and_plan(tmp_path):
    jobs = [job(n) for n in range(3)]
    SweepFolder(tmp_path).start(jobs, **REQUEST)
    SweepFolder(tmp_path).set_delivered(DeliveredSweep("here", "0" * 32))
    sweep = SweepFolder(tmp_path)
    assert sweep.jobs() == jobs
    plan = sweep.started()
    assert {name: getattr(plan, name) for name in REQUEST} == REQUEST
    assert plan.starts == 1
    assert plan.outcome == "running"
    assert sweep.delivered().run_ids() == {"here": "0" * 32}


def test_job_is_active_until_the_end_and_error_is_kept(tmp_path):
    sweep = SweepFolder(tmp_path)
    sweep.start([job(n) for n in range(11)], **REQUEST)
    for number in (10, 2):
        sweep.begin_job(number)
    assert sweep.active() == [2, 10]
    assert sweep.ended() == []

    sweep.end_job(10, "DataError: gone")
    sweep.end_job(3, None)  # was already trained, so it was never active

    assert sweep.active() == [2]
    assert sweep.ended() == [3, 10]
    assert sweep.error(2) is None
    assert sweep.error(3) is None
    assert sweep.error(10) == "DataError: gone"


def test_restart_replaces_jobs_and_clears_events(tmp_path):
    sweep = SweepFolder(tmp_path)
    jobs = [job(n) for n in range(2)]
    sweep.start(jobs, **REQUEST)
    created = sweep.started().created_ms
    sweep.begin_job(0)
    sweep.end_job(1, "an error")
    for name in ("workers.log", "workers-n1.log"):
        (sweep.path / name).write_text("old")
    sweep.set_delivered(DeliveredSweep("here", "1"))
    sweep.save(outcome=Outcome.killed)

    in_other_order = list(reversed(jobs))
    sweep.start(in_other_order, **REQUEST | {"command": "lenet-train -m seed=2,1"})

    assert sweep.jobs() == in_other_order
    assert sweep.active() == []
    assert sweep.ended() == []
    assert sweep.error(1) is None
    assert not list(sweep.path.glob("*.log"))
    plan = sweep.started()
    assert plan.starts == 2
    assert plan.outcome == "running"
    assert plan.created_ms == created
    assert plan.command == "lenet-train -m seed=2,1"
    assert sweep.delivered().run_ids() == {"here": "1"}


def test_link_in_place_of_folder_leaves_target_unchanged(tmp_path):
    """Other users may write to a shared outputs folder."""
    (tmp_path / "home" / "thesis").mkdir(parents=True)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "active").symlink_to(tmp_path / "home")
    sweep = SweepFolder(tmp_path / "sweep")
    sweep.start([job(0)], **REQUEST)
    sweep.begin_job(0)
    assert sweep.active() == [0]
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis"]


def test_sweeps_are_listed_in_order_of_latest_start(tmp_path):
    assert all_sweeps(tmp_path) == []
    (tmp_path / "sweeps").mkdir()
    sweeps = {name: SweepFolder(tmp_path / "sweeps" / name) for name in "abc"}
    for time_ms, name in enumerate("bca"):
        sweeps[name].start([job(0)], **REQUEST)
        sweeps[name].save(started_ms=time_ms)
    (tmp_path / "sweeps" / "of no sweep").mkdir()
    assert [sweep.id for sweep in all_sweeps(tmp_path)] == ["a", "c", "b"]


def test_sweep_id_depends_on_experiment_and_set_of_runs():
    one = job(0)
    other = job(1)
    sweep = sweep_of("e", [one, other])
    assert sweep_of("e", [other, one]).path == sweep.path
    assert sweep_of("f", [one, other]).path != sweep.path
    assert sweep_of("e", [one]).path != sweep.path
    assert sweep.path.parent == one.outputs / "sweeps"
    assert len(sweep.id) == 16


def test_sweep_file_corrupted_during_sweep_is_rewritten_by_owner(tmp_path, caplog):
    sweep = SweepFolder(tmp_path)
    sweep.start([job(0)], **REQUEST)
    sweep.save(confirmed=True)
    (tmp_path / "sweep.json").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"sweep\.json is corrupt"):
        SweepFolder(tmp_path).save(outcome=Outcome.killed)

    sweep.save(outcome=Outcome.finished)

    plan = SweepFolder(tmp_path).started()
    assert plan.command == REQUEST["command"]
    assert plan.confirmed is True
    assert plan.outcome == "finished"
    assert caplog.text.count("sweep.json is corrupt") == 1


def test_edited_job_is_corrupt(tmp_path):
    sweep = SweepFolder(tmp_path)
    sweep.start([job(0)], **REQUEST, runs=1)
    text = (tmp_path / "jobs.jsonl").read_text()
    (tmp_path / "jobs.jsonl").write_text(text.replace('"run": "0', '"run": "1'))
    with pytest.raises(DamagedError, match=r"jobs\.jsonl is corrupt"):
        sweep.jobs()


def test_job_of_older_release_without_digest_is_accepted(tmp_path):
    sweep = SweepFolder(tmp_path)
    sweep.start([job(0)], **REQUEST, runs=1)
    text = (tmp_path / "jobs.jsonl").read_text()
    (tmp_path / "jobs.jsonl").write_text(without_digest(text) + "\n")
    assert sweep.jobs() == [job(0)]


def test_incomplete_last_job_of_killed_sweep_is_left_out(tmp_path):
    sweep = SweepFolder(tmp_path)
    sweep.start([job(0)], **REQUEST, runs=1)
    with (tmp_path / "jobs.jsonl").open("a") as f:
        f.write('{"number": 1, "na')
    assert sweep.jobs() == [job(0)]


def seconds_left(**values: object) -> float | None:
    """Return the time left in a sweep that started 100 s ago and has trained two epochs in 4 s."""
    defaults = {"trained": 2, "done": 2, "left": 5, "seconds": 100.0, "spent": 4.0}
    progress = SweepProgress(SweepPlan(created_ms=0), [], [], **(defaults | values))
    return progress.seconds_left


def test_time_left_depends_on_epochs_but_not_on_startup():
    assert seconds_left(runs_left=3, places=2) == pytest.approx((5 * 2 + 3 * RUN_SECONDS) / 2)
    # the other place is idle
    assert seconds_left(runs_left=1, places=2) == pytest.approx(5 * 2 + RUN_SECONDS)
    assert seconds_left(runs_left=3, trained=0) is None
