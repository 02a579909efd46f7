"""The executor of a Ray cluster: an actor for each place, where Ray finds the resources for it.

Ray says where, and that something died; all else is as on one machine: a job whose process or node is lost goes on
from its last commit at another place.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import time
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
import torch

from lenet_exp.config.source import source_digest
from lenet_exp.errors import ConfigError, UserError, first_line
from lenet_exp.executors.executor import Work
from lenet_exp.executors.host import Described, Host, Question, carried
from lenet_exp.folders.job import Job
from lenet_exp.machine import cpu_count, versions
from lenet_exp.pool.pool import Done

REACH_SECONDS = 10.0  # for the cluster's address to answer
LOOK_SECONDS = 5.0  # between two looks at what the cluster has
CLOCKS_APART = 5.0  # seconds, from which on it is said
AT_ONCE = 4  # calls of an actor: the running one, `stop`, `close`

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class RayOptions:
    """What `hydra.launcher.*` says.

    Attributes:
        address: of a cluster (`auto`, host:port, ray://host:port); None: one of this machine's own.
        workers: places at once; None: as many as the cluster has room for.
        cpus, gpus, memory: of a run; gpus may be a share of one; memory in bytes. resources: Ray's custom ones.
        init: further arguments of `ray.init`.
    """

    address: str | None
    workers: int | None
    cpus: float | None
    gpus: float
    memory: int | None
    resources: dict[str, float]
    init: dict[str, Any]


@dataclass
class _Place:
    """An actor and what it was asked last."""

    actor: Any
    reference: Any
    ready: bool = False
    job: int | None = None


class RayExecutor:
    """An `Executor`.

    Args:
        retries: how often a job is tried again whose process or node died.
        time_limit: seconds a job may take; None: any.

    Raises:
        ConfigError: the cluster can't be reached, or no node has what a run needs.
    """

    def __init__(self, work: Work, options: RayOptions, *, retries: int, time_limit: float | None) -> None:
        if options.gpus and not torch.cuda.is_available():
            raise ConfigError(
                f"hydra.launcher.gpus={options.gpus:g}: devices are chosen where the line is typed, and here is no GPU; "
                "type it on a node that has one"
            )
        self._work, self._options, self._retries = work, options, retries
        cpus = work.cores if options.cpus is None else options.cpus
        self._new_actor: Any = _actor(cpus, options)
        _connect(options.address, options.init)
        self._needs = {"CPU": cpus, "GPU": options.gpus, "memory": options.memory or 0, **options.resources}
        self._looked, self._room = 0.0, 0
        self._check_room()
        self._probe = work.output.with_name(f".probe-{uuid.uuid4().hex[:8]}")
        self._probe.write_text(self._probe.name)
        self._carried: Any = ray.put(carried(work, (self._probe, self._probe.name), time_limit))
        self._waiting: deque[Job] = deque()
        self._jobs: dict[int, Job] = {}
        self._tries: dict[int, int] = {}
        self._places: list[_Place] = []
        self._stopping = False

    @property
    def capacity(self) -> int:
        """What the cluster has room for now; one at least, which waits for a node."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._room = time.monotonic(), sum(_room(node, self._needs) for node in _nodes())
        limits = [self._room, self._options.workers, self._work.jobs]
        return max(1, min(limit for limit in limits if limit is not None))

    @property
    def running(self) -> set[int]:
        return {place.job for place in self._places if place.job is not None}

    def submit(self, job: Job) -> None:
        self._jobs[job.number], self._tries[job.number] = job, 0
        self._waiting.append(job)

    def next_done(self, timeout: float) -> Done | None:
        deadline = time.monotonic() + timeout
        while True:
            self._assign()
            asked = {place.reference: place for place in self._places if place.reference is not None}
            left = deadline - time.monotonic()
            if not asked or left <= 0:
                return None
            ready, _ = ray.wait(list(asked), timeout=left)
            for reference in ready:
                done = self._hear(asked[reference])
                if done is not None:
                    return done

    def stop(self) -> None:
        self._waiting.clear()
        if self._stopping:
            return
        self._stopping = True
        for place in list(self._places):
            if place.job is None:
                self._remove(place)
            else:
                place.actor.stop.remote()

    def kill(self) -> None:
        closing = [place.actor.close.remote() for place in self._places]
        with contextlib.suppress(Exception):  # what is lost needs no end
            ray.wait(closing, num_returns=len(closing), timeout=2.0)
        for place in list(self._places):
            self._remove(place)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probe.unlink(missing_ok=True)
        if self._places:
            self.kill()
        ray.shutdown()

    def _assign(self) -> None:
        """Gives jobs to places that are free, and asks for more places."""
        for place in self._places:
            if self._waiting and place.ready and place.job is None:
                job = self._waiting.popleft()
                place.job, place.reference = job.number, place.actor.start.remote(job)
        coming = sum(not place.ready for place in self._places)
        while coming < len(self._waiting) and len(self._places) < self.capacity:
            actor = self._new_actor.remote(self._carried)
            self._places.append(_Place(actor, actor.describe.remote()))
            coming += 1

    def _hear(self, place: _Place) -> Done | None:
        """What a place said: how its job ended, or None."""
        reference, place.reference = place.reference, None
        try:
            said = ray.get(reference)
        except ray.exceptions.RayTaskError as e:
            raise e.as_instanceof_cause() from e
        except ray.exceptions.RayError as e:
            return self._lost(place, e)
        if isinstance(said, Described):
            _check(said, self._probe.parent)
            place.ready = True
            return None
        if isinstance(said, Question):
            assert self._work.answer is not None
            place.reference = place.actor.go_on.remote(self._work.answer(said.what))
            return None
        if said is None:  # it was stopped before its job began, and that stays as it was
            self._remove(place)
            return None
        assert isinstance(said, Done)
        place.job = None
        if self._stopping:
            self._remove(place)
        if said.lost is not None and not self._stopping and "time limit" not in said.lost:
            return self._again(said.job, said.lost)
        return said

    def _lost(self, place: _Place, error: Exception) -> Done | None:
        """A place is gone, and its node perhaps with it."""
        self._looked = 0.0
        job = place.job
        self._remove(place)
        if job is None:
            if not place.ready and _never_begins(error):
                raise UserError(f"hydra/launcher=cluster_ray: no place could be made ({_last_line(error)})") from error
            log.debug("a place is gone: %s", first_line(error))
            return None
        return self._again(job, f"its node or process was lost ({type(error).__name__})")

    def _again(self, number: int, why: str) -> Done | None:
        self._tries[number] += 1
        if self._tries[number] <= self._retries and not self._stopping:
            log.debug("job %d: %s; it goes on elsewhere", number, why)
            self._waiting.appendleft(self._jobs[number])
            return None
        return Done(number, lost=why)

    def _remove(self, place: _Place) -> None:
        with contextlib.suppress(Exception):
            ray.kill(place.actor)
        self._places.remove(place)

    def _check_room(self) -> None:
        nodes = _nodes()
        if any(_room(node, self._needs) for node in nodes):
            return
        needs = ", ".join(f"{name}={value:g}" for name, value in self._needs.items() if value)
        most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in self._needs}
        have = ", ".join(f"{name}={value:g}" for name, value in most.items() if self._needs[name])
        raise ConfigError(f"hydra/launcher=cluster_ray: no node has {needs} for a run; the most that one has: {have}")


def _actor(cpus: float, options: RayOptions) -> Any:
    """Raises:
    ConfigError: Ray has no such resources.
    """
    try:
        return ray.remote(Host).options(
            num_cpus=cpus,
            num_gpus=options.gpus,
            memory=options.memory,
            resources=options.resources or None,
            max_concurrency=AT_ONCE,
            max_restarts=0,
        )
    except ValueError as e:
        raise ConfigError(f"hydra.launcher.*: not what a run can need ({first_line(e)})") from e


def _never_begins(error: Exception) -> bool:
    """Whether the next place would come to the same: a node lacks lenet_exp, say, and not: a node was lost."""
    return not isinstance(error, ray.exceptions.RayActorError) or error.actor_init_failed


def _last_line(error: Exception) -> str:
    """Of an error that came from elsewhere with its traceback."""
    return str(error).strip().splitlines()[-1].strip()


def _connect(address: str | None, more: dict[str, Any]) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": "lenet_exp"}
    given = {"address": address, **quiet, **more}
    wrong = f"hydra.launcher.address={address}: no Ray cluster answers there"
    if address is None:  # "local", since with none Ray takes what RAY_ADDRESS names, or a cluster that runs here
        given = {"address": "local", "num_cpus": cpu_count(), "include_dashboard": False, **quiet, **more}
        wrong = "hydra/launcher=cluster_ray: Ray can't be started here"
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), REACH_SECONDS).close()
        ray.init(**given)
    except (OSError, RuntimeError, ValueError) as e:
        raise ConfigError(f"{wrong} ({first_line(e)})") from e


def _nodes() -> list[dict[str, float]]:
    """The resources of those that live."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(node: dict[str, float], needs: dict[str, float]) -> int:
    """How many runs a node has room for."""
    shares = [node.get(name, 0.0) / value for name, value in needs.items() if value]
    return math.floor(min(shares) + 1e-9) if shares else cpu_count()


def _check(place: Described, folder: Path) -> None:
    """Raises:
    ConfigError: a node can't do what this machine would.
    """
    where = f"node {place.host}"
    if place.wrong:
        raise ConfigError(
            f"{where} can't use {folder}: {place.wrong}; the outputs folder has to be one that all nodes share "
            "(LENET_EXP_OUTPUTS)"
        )
    if place.source != source_digest():
        raise ConfigError(f"{where} has another lenet_exp ({place.source[:12]}, here {source_digest()[:12]})")
    if place.torch != versions()["torch"]:
        raise ConfigError(f"{where} has torch {place.torch} (here {versions()['torch']})")
    if place.lacks:
        raise ConfigError(f"{where} has no native engine: {place.lacks}; engine=torch needs none")
    apart = abs(place.clock - time.time())
    if apart > CLOCKS_APART:
        log.warning("%s: its clock is %.0f s apart from this one; times in MLflow will show it", where, apart)
