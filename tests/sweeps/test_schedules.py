"""1,000 schedules of accidents: whatever happens, once the same line has been typed again a sweep or a search is as
whole as if nothing had happened. SCHEDULES=20000 tries more of them."""

from __future__ import annotations

import copy
import hashlib
import os
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial

from lenet_exp.config.schema import Config, Objective, PrunerName, SamplerName, Schedule, Search, Shape
from lenet_exp.config.space import flag_of
from lenet_exp.errors import UserError
from lenet_exp.executors.executor import Work
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome, SearchPlan
from lenet_exp.sweeps import drive as drive_module
from lenet_exp.sweeps import search as search_module
from lenet_exp.sweeps import session as session_module
from lenet_exp.sweeps.search import SearchRun
from lenet_exp.sweeps.search_known import first_jobs
from lenet_exp.sweeps.search_plan import Planned
from lenet_exp.sweeps.search_sampling import check_installed
from lenet_exp.sweeps.session import Session
from tests.sweeps.simulated import Cluster, Killed, SimulatedExecutor
from tests.sweeps.simulated_disk import Disk, Ended, SimulatedJob

SCHEDULES = int(os.environ.get("SCHEDULES", "1000"))
SWEEPS, SEARCHES, ALONE = SCHEDULES * 7 // 10, SCHEDULES // 4, SCHEDULES // 20  # of these
A_TEST = 50
RETRIES, EPOCHS = 1, 4
FATES = ("well",) * 12 + ("raises", "refuses", "diverges")
CONFIG = Config(num_epoch=EPOCHS, model_path="", seed=0, schedule=Schedule(Shape.constant, 0.0, 1.0, 1.0, 1))


class Sweep:
    """A sweep folder, in memory."""

    path, id = Path("simulated"), "simulated"

    def __init__(self, cluster: Cluster, disk: Disk) -> None:
        self.cluster, self.disk = cluster, disk
        self.frozen: list[Job] = []
        self.saved: dict[str, Any] = {}

    def started(self) -> Any:
        return SimpleNamespace(started_ms=0, forced_ms=0)

    def kept_plan(self) -> Any:
        return self.started()

    def jobs(self) -> list[Job]:
        return list(self.frozen)

    def add(self, job: Job) -> None:
        self.cluster.touch()
        self.frozen.append(job)

    def save(self, **changed: Any) -> None:
        self.cluster.touch()
        self.saved |= changed

    def end_job(self, number: int, error: str | None) -> None:
        self.cluster.touch()
        self.disk.errors[number] = error

    def has_ended(self, number: int) -> bool:
        return number in self.disk.errors

    def error(self, number: int) -> str | None:
        return self.disk.errors.get(number)


class Start(Session):
    """One start of a sweep; what it would read and write is in memory."""

    def lost(self, number: int, reason: str) -> None:
        run: Any = self.jobs[number].folder
        assert run.owner is None
        killed = run.ended is not None and run.ended.outcome is Outcome.killed
        if killed or (run.ended is None and run.begun):
            run.ended = Ended(Outcome.failed, reason)
        self.sweep.end_job(number, None if run.ended is not None else reason)

    def watching(self) -> Any:
        return nullcontext()


def work_of(sweep: Any, like: Any, environment: Any, *, all_known: bool, answer: Any = None) -> Work:
    return Work(print, print, [], 1, len(like) if all_known else None, Path(), answer)


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr(session_module, "work_of", work_of)
    monkeypatch.setattr(session_module, "owner_of", lambda run: run.owner)
    monkeypatch.setattr(search_module, "open_database", lambda path, name, direction, url: path.open())


def launcher(cluster: Cluster) -> Any:
    return SimpleNamespace(max_failures=None, executor=lambda work: SimulatedExecutor(cluster, work, RETRIES))


def new_job(disk: Disk, number: int, fate: str, run: str, config: Config = CONFIG) -> SimulatedJob:
    return SimulatedJob(number, f"job {number}", {}, [], config, run, run, outputs=Path(), disk=disk, fate=fate)


def ends_by_itself(cluster: Cluster, start: Any) -> bool:
    """One start of a sweep, to whatever end it comes."""
    cluster.rest()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for module in (drive_module, session_module):
                patch.setattr(module, "time", cluster)
            start()
    except (Killed, KeyboardInterrupt):
        return False
    except UserError as e:
        if "no place could be made (5 in a row were lost before they were ready" not in str(e):
            raise
        return False
    assert not cluster.dead
    executor = cluster.executor
    if executor is not None:
        assert not executor.running
        assert not executor.places
        assert sorted(done.job for done in executor.told) == sorted(executor.submitted), "lost, or told twice"
    return True


def deserved(cluster: Cluster, job: SimulatedJob) -> bool:
    executor = cluster.executor
    assert executor is not None
    over_limit = any(done.over_limit for done in executor.told if done.job == job.number)
    return job.fate in {"raises", "refuses"} or over_limit or len(executor.losses.get(job.number, ())) > RETRIES


@pytest.mark.parametrize("first", range(0, SWEEPS, A_TEST))
def test_a_sweep_ends_whole_whatever_happens(first: int) -> None:
    for seed in range(first, min(first + A_TEST, SWEEPS)):
        cluster, disk = Cluster(seed, seed % 12), Disk()
        fates = cluster.random.choices(FATES, k=cluster.random.randint(1, 10))
        jobs: list[Any] = [new_job(disk, number, fate, f"run {number}") for number, fate in enumerate(fates)]
        sweep: Any = Sweep(cluster, disk)
        todo = jobs
        for _ in range(30):
            disk.errors.clear()
            session = Start(sweep, jobs, CONFIG, None)  # type: ignore[arg-type]
            todo = session.missing()
            start = partial(session.train, todo, launcher(cluster), {}, like=todo)
            if ends_by_itself(cluster, start):
                left = session.missing()
                assert all(deserved(cluster, job) for job in left), seed
                if all(job.fate in {"raises", "refuses"} for job in left):
                    break
        else:
            pytest.fail(f"schedule {seed}: it does not come to its end")
        for job in jobs:
            run = job.folder
            if job.fate == "well":
                assert run.ended.outcome is Outcome.finished
                assert set(run.trained) == set(range(1, EPOCHS + 1))
                assert max(run.trained.values()) <= 1 + run.interrupted, seed
            else:
                assert (run.result() is not None) == (job.fate == "diverges"), seed


class Study:
    """A study's database, in memory: what is written behind is lost with the process."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kept: list[FrozenTrial] = []
        self.seconds = 0.0

    def open(self) -> Study:
        self.trials = copy.deepcopy(self.kept)
        self._waiting: list[Any] = []
        return self

    def add(self, trial: FrozenTrial) -> None:
        self.cluster.touch()
        assert trial.number == len(self.kept)
        self.kept.append(copy.deepcopy(trial))

    def report(self, number: int, epoch: int, value: float) -> None:
        self._later(lambda: self.kept[number].intermediate_values.setdefault(epoch, value))

    def end(self, trial: FrozenTrial) -> None:
        ended = copy.deepcopy(trial)
        self._later(lambda: self.kept[ended.number].state.is_finished() or self._put(ended))

    def keep_seconds(self, seconds: float) -> None:
        self.cluster.touch()

    def close(self) -> None:
        self.cluster.touch()
        for write in self._waiting:
            write()
        self._waiting.clear()

    def _put(self, trial: FrozenTrial) -> None:
        self.kept[trial.number] = trial

    def _later(self, write: Any) -> None:
        self.cluster.touch()
        self._waiting.append(write)
        while self._waiting and self.cluster.random.random() < 0.7:
            self._waiting.pop(0)()


class Maker:
    """Of trials' jobs; how one ends depends on what it trains."""

    def __init__(self, disk: Disk, flags: Any, fates: tuple[str, ...]) -> None:
        self.disk, self.flags, self.fates = disk, flags, fates

    def values(self, choose: Any) -> dict[str, str]:
        return {flag.name: flag.values.text(choose(flag)) for flag in self.flags}

    def job(self, values: dict[str, str], seed: int = 0) -> SimulatedJob:
        run = hashlib.sha256(f"{values} {seed}".encode()).hexdigest()[:8]
        config = replace(CONFIG, seed=seed)
        return new_job(self.disk, -1, self.fates[int(run, 16) % len(self.fates)], run, config)


SPACES = (("n=range(0,2)", "c=a,b"), ("x=interval(0,1)", "c=a,b"))


def planned(cluster: Cluster, sweep: Sweep, disk: Disk, seed: int, fates: tuple[str, ...], n_trials: int) -> Any:
    lines = SPACES[seed % 2]
    flags = [flag_of(o, {"c"}) for o in OverridesParser.create().parse_overrides(list(lines))]
    maker = Maker(disk, flags, fates)
    search = Search(SamplerName.random, {}, PrunerName.asha, {}, Objective.accuracy, seed, None, None)
    asked = SearchPlan(sampler="random", pruner="asha", objective="accuracy", n_trials=n_trials, seeds=seed % 3 + 1)
    corners = [maker.job({"corner": "0"})]
    return Planned(cast(Any, sweep), search, asked, cast(Any, maker), cast(Any, corners), CONFIG, [])


def has_ended(job: Any) -> bool:
    return job.folder.ended is not None or job.disk.errors.get(job.number) is not None


def searched(cluster: Cluster, seed: int, fates: tuple[str, ...] = FATES) -> tuple[Sweep, list[Any]]:
    """A search, the same line typed until it is at its end."""
    disk, n_trials = Disk(), 8
    sweep, study = Sweep(cluster, disk), Study(cluster)
    sweep.path = study  # type: ignore[assignment]
    plan = planned(cluster, sweep, disk, seed, fates, n_trials)
    for _ in range(40):
        disk.errors.clear()

        def start() -> None:
            run = SearchRun(plan)
            sweep.frozen = run.open()
            session = Start(sweep, list(sweep.frozen), CONFIG, None)  # type: ignore[arg-type]
            run.run(session, launcher(cluster), {})

        if ends_by_itself(cluster, start):
            if all(map(has_ended, sweep.frozen)) and all(trial.state.is_finished() for trial in study.kept):
                return sweep, study.kept
            assert cluster.orphans, "not told, though nobody else can have had its run"
    pytest.fail(f"schedule {seed}: it does not come to its end")


@pytest.mark.parametrize("first", range(0, SEARCHES, A_TEST))
def test_a_search_ends_whole_whatever_happens(first: int) -> None:
    for seed in range(first, min(first + A_TEST, SEARCHES)):
        cluster = Cluster(seed, seed % 12)
        sweep, trials = searched(cluster, seed)
        plan = sweep.saved["search"]
        assert (len(trials), plan.trials, plan.told) == (8, 8, 8), seed
        assert all(trial.state.is_finished() for trial in trials), seed
        assert len({(job.trial, job.config.seed) for job in sweep.frozen}) == len(sweep.frozen), seed
        for trial, number in zip(trials, first_jobs(sweep.frozen), strict=True):
            job: Any = sweep.frozen[number]
            assert (trial.number, trial.user_attrs["run"]) == (job.trial, job.run)
            epochs = sorted(trial.intermediate_values)
            assert epochs == list(range(1, len(epochs) + 1)), seed
            if trial.state.name == "COMPLETE" and trial.user_attrs["outcome"] == "finished":
                assert trial.value == max(e.val_accuracy for e in job.folder.history().epochs)
        runs: Any = {job.run: job.folder for job in sweep.frozen}.values()
        if not cluster.orphans:  # which may have trained on
            assert plan.epochs == sum(run.committed for run in runs), seed


@pytest.mark.parametrize("first", range(0, ALONE, A_TEST))
def test_a_search_at_one_place_has_the_same_trials_as_if_nothing_had_happened(first: int) -> None:
    def told(sweep: Sweep, trials: list[Any]) -> list[Any]:
        of_trials = [(t.params, t.state, t.values, t.intermediate_values) for t in trials]
        return [of_trials, [(job.trial, job.run) for job in sweep.frozen]]

    for seed in range(first, min(first + A_TEST, ALONE)):
        calm, stormy = Cluster(seed, 0), Cluster(seed, 6)
        calm.room = stormy.room = stormy.most_room = 1
        sweep, trials = searched(stormy, seed, ("well",))
        if not stormy.gave_up and not stormy.orphans:
            assert told(sweep, trials) == told(*searched(calm, seed, ("well",))), seed
