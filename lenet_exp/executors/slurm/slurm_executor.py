"""The executor for Slurm clusters. It runs many jobs in a few allocations.

Slurm starts the allocations and reports which of them are alive. The executor and the allocations
exchange messages as files in the sweep folder. `JobSlots` assigns jobs to the places in the
allocations, as on a Ray cluster.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lenet_exp.config.typed_json import read_as
from lenet_exp.executors.executor import ClusterExecutor
from lenet_exp.executors.host import SlotInfo, check_place
from lenet_exp.executors.places import Command, OpenPlace, StartJob, StopJob
from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.allocations import Allocations
from lenet_exp.executors.slurm.message_folder import Message, MessageFolder
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import SlurmOptions, allocation_script
from lenet_exp.executors.slurm.queue import Queue
from lenet_exp.executors.work import JobEnd, WorkSpec
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.stopping import Terminated

NAME = "hydra/launcher=cluster_slurm"
POLL_SECONDS = 0.05

log = logging.getLogger("lenet_exp")


@dataclass
class _StartedPlace:
    """A process in an allocation that has started and is ready for jobs.

    Attributes:
        inbox: folder for messages to the process.
        number: number of the requested place that the process provides; None if no place was
            requested yet.
    """

    inbox: MessageFolder
    number: int | None = None


class SlurmExecutor(ClusterExecutor):
    """An `Executor` for a Slurm cluster.

    If Slurm refuses the first allocations, `next_done` raises a `ConfigError`. Later refusals are
    retried.

    Args:
        work: functions that run the jobs, and information about the jobs.
        options: Slurm options for the sweep.
        queue: queue of the cluster.
        command: command that starts a place, to which the path of the sweep folder is appended.
        retries: number of times to retry a job whose process or node died without notice.
        time_limit: maximum duration of a job, in seconds; None for no limit.
        clock: function that returns the seconds since a fixed time.
    """

    def __init__(
        self,
        work: WorkSpec,
        options: SlurmOptions,
        queue: Queue,
        command: Sequence[str],
        *,
        retries: int,
        time_limit: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert work.remote is not None
        super().__init__(NAME, work, retries=retries, probe=".probe-slurm")
        self._options, self._clock = options, clock
        self._sweep = SweepFolder(work.output.parent)
        self._channel = SlurmMessages(self._sweep.path / "slurm")
        asks = work.answer is not None
        plan = self._channel.open(
            work.remote, asks=asks, time_limit=time_limit, probe=self._probe.name
        )
        self._session = plan.session
        self._said, self._beats = (
            self._channel.driver(self._session),
            self._channel.beats(self._session),
        )
        script = allocation_script(options, [*command, str(self._sweep.path)])
        self._allocations = Allocations(
            self._sweep.id, self._channel.folder, script, options, queue=queue, clock=clock
        )
        self._opened: deque[int] = deque()  # requested places that have not started
        self._started: dict[str, _StartedPlace] = {}  # keyed by name; lost places are removed

    @property
    def capacity(self) -> int:
        """Maximum number of simultaneous runs."""
        limits = [self._options.places, self._work.jobs]
        return max(1, min(limit for limit in limits if limit is not None))

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end; see `Executor.next_done`."""
        deadline = time.monotonic() + timeout
        while True:
            self._hear()
            if self._allocations.is_due():
                self._look()
            self._do(self._places.fill(self.capacity))
            self._allocations.ask_for(len(self._opened))
            if self._job_ends:
                return self._job_ends.popleft()
            left = deadline - time.monotonic()
            if left <= 0 or not (self._places.waiting or self._places.running):
                return None
            time.sleep(min(left, POLL_SECONDS))

    def kill(self) -> None:
        """End the session, and cancel all allocations."""
        self._channel.close(self._session)
        self._allocations.cancel()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._probe.unlink(missing_ok=True)

    def _hear(self) -> None:
        """Handle new messages from places."""
        for name, message in self._said.take():
            try:
                self._heard(name, message)
            except (KeyError, TypeError, ValueError) as e:
                self._lost(name, f"it sent an invalid message ({type(e).__name__})")

    def _heard(self, name: str, message: Message) -> None:
        kind = message["kind"]
        if kind == messages.DESCRIBED:
            check_place(read_as(SlotInfo, message), self._sweep.path)
            self._arrived(name)
            return
        if kind == messages.LEFT:
            self._lost(
                name, str(message["why"]), counts=False
            )  # its job wrote a checkpoint, so it did not fail
            return
        number, turn = (
            self._started[name].number if name in self._started else None,
            int(message["turn"]),
        )
        if number is None or not self._places.is_current(number, turn):
            return
        if kind == messages.QUESTION:
            assert self._work.answer is not None
            answer = self._work.answer(messages.read_report(message))
            self._send(name, {"kind": messages.ANSWER, "turn": turn, "value": answer})
        elif kind == messages.ENDED:
            done = messages.read_job_end(message)
            if isinstance(
                done.error, Terminated
            ):  # record the end here, because the place does not
                self._sweep.end_job(done.job, None)
            self._do(self._places.ended(number, turn, done))
        elif kind == messages.NOT_BEGUN:
            self._do(self._places.ended(number, turn, None))

    def _arrived(self, name: str) -> None:
        """Record that a place is ready for jobs.

        If Slurm restarted the place's allocation, places from before the restart are lost.
        """
        allocation, restart, _ = name.split("-")
        for other in self._names(allocation):
            if int(other.split("-")[1]) < int(restart):
                self._lost(other, "its allocation was restarted")
        self._allocations.arrived(name)
        self._started[name] = _StartedPlace(self._channel.place(self._session, name))
        self._bind()

    def _names(self, allocation: str) -> list[str]:
        return [name for name in self._started if name.startswith(f"{allocation}-")]

    def _bind(self) -> None:
        for place in self._started.values():
            if place.number is None and self._opened:
                place.number = self._opened.popleft()
                self._places.ready(place.number)

    def _look(self) -> None:
        """Detect lost places from their heartbeats, and lost allocations from Slurm's queue."""
        silent = self._beats.silent(self._clock())
        for name, seconds in silent.items():
            if seconds > self._options.lost_after:
                self._lost(name, f"silent for {seconds:.0f} s")
        changed = self._allocations.look(silent)
        self._hear()  # handle messages that places sent before they ended
        for lost in changed:
            log.log(
                logging.DEBUG if self._places.is_stopping else logging.INFO, "Slurm: %s", lost.why
            )
            for name in self._names(lost.id):
                self._lost(name, lost.why)
            for _ in range(min(len(self._opened), lost.unmade)):
                self._do(self._places.lost(self._opened.popleft(), lost.why))

    def _lost(self, name: str, why: str, *, counts: bool = True) -> None:
        place = self._started.get(name)
        if place is not None and place.number is not None:
            self._do(self._places.lost(place.number, why, counts=counts))
        self._started.pop(name, None)

    def _send(self, name: str, message: Message) -> None:
        with contextlib.suppress(OSError):  # the place then counts as lost
            self._started[name].inbox.put("driver", message)

    def _do(self, commands: Sequence[Command]) -> None:
        names = {place.number: name for name, place in self._started.items()}
        for command in commands:
            if isinstance(command, JobEnd):
                self._job_ends.append(command)
            elif isinstance(command, OpenPlace):
                self._opened.append(command.place)
                self._bind()
            elif isinstance(command, StartJob):
                self._send(names[command.place], messages.start(command.turn, command.job))
            elif isinstance(command, StopJob):
                self._send(names[command.place], {"kind": messages.STOP})
            elif command.place in names:
                self._send(names[command.place], {"kind": messages.LEAVE})
                del self._started[names[command.place]]
            elif command.place in self._opened:
                self._opened.remove(command.place)
