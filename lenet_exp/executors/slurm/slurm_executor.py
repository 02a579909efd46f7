"""The executor for Slurm clusters. It runs many jobs in a few allocations.

Slurm starts the allocations and reports which of them are alive. The executor and the allocations
exchange messages as files in the sweep folder. `JobSlots` assigns jobs to the slots in the
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
from lenet_exp.executors.job_slots import Command, OpenSlot, StartJob, StopJob
from lenet_exp.executors.slot_process import SlotInfo, check_slot
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
class _StartedSlot:
    """A process in an allocation that has started and is ready for jobs.

    Attributes:
        inbox: folder for messages to the process.
        number: number of the requested slot that the process provides; None if no slot was
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
        command: command that starts a slot, to which the path of the sweep folder is appended.
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
        self._options = options
        self._clock = clock
        self._sweep = SweepFolder(work.output.parent)

        self._channel = SlurmMessages(self._sweep.path / "slurm")
        asks = work.answer is not None
        plan = self._channel.open(
            work.remote, asks=asks, time_limit=time_limit, probe=self._probe.name
        )
        self._session = plan.session
        self._inbox = self._channel.driver(self._session)
        self._beats = self._channel.beats(self._session)

        script = allocation_script(options, [*command, str(self._sweep.path)])
        self._allocations = Allocations(
            self._sweep.id, self._channel.folder, script, options, queue=queue, clock=clock
        )
        self._requested: deque[int] = deque()  # numbers of requested slots that have not started
        self._started: dict[str, _StartedSlot] = {}  # keyed by name; lost slots are removed

    @property
    def capacity(self) -> int:
        """Maximum number of simultaneous runs."""
        limit = self._options.slots
        if self._work.jobs is not None:
            limit = min(limit, self._work.jobs)
        return max(1, limit)

    def next_done(self, timeout: float) -> JobEnd | None:
        """Wait for the next job to end; see `Executor.next_done`."""
        deadline = time.monotonic() + timeout
        while True:
            self._read_messages()
            if self._allocations.is_due():
                self._look()
            self._do(self._slots.fill(self.capacity))
            self._allocations.ask_for(len(self._requested))
            if self._job_ends:
                return self._job_ends.popleft()

            left = deadline - time.monotonic()
            if left <= 0 or not (self._slots.waiting or self._slots.running):
                return None
            time.sleep(min(left, POLL_SECONDS))

    def kill(self) -> None:
        """End the session, and cancel all allocations."""
        self._channel.close(self._session)
        self._allocations.cancel()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._probe.unlink(missing_ok=True)

    def _read_messages(self) -> None:
        """Handle new messages from slots."""
        for name, message in self._inbox.take():
            try:
                self._handle(name, message)
            except (KeyError, TypeError, ValueError) as e:
                self._lose(name, f"it sent an invalid message ({type(e).__name__})")

    def _handle(self, name: str, message: Message) -> None:
        """Handle a message from a slot.

        Raises:
            ConfigError: the slot cannot run jobs.
            KeyError, TypeError, ValueError: the message is malformed.
        """
        kind = message["kind"]
        if kind == messages.DESCRIBED:
            check_slot(read_as(SlotInfo, message), self._sweep.path)
            self._arrive(name)
        elif kind == messages.LEFT:
            # Its job wrote a checkpoint, so it did not fail.
            self._lose(name, str(message["why"]), counts=False)
        else:
            self._handle_job_message(name, message)

    def _handle_job_message(self, name: str, message: Message) -> None:
        """Handle a message about the job in a slot, unless it is about an earlier attempt."""
        number = self._started[name].number if name in self._started else None
        turn = int(message["turn"])
        if number is None or not self._slots.is_current(number, turn):
            return

        kind = message["kind"]
        if kind == messages.QUESTION:
            assert self._work.answer is not None
            answer = self._work.answer(messages.read_report(message))
            self._send(name, {"kind": messages.ANSWER, "turn": turn, "value": answer})
        elif kind == messages.ENDED:
            done = messages.read_job_end(message)
            if isinstance(done.error, Terminated):
                # Record the end here, because the slot does not.
                self._sweep.end_job(done.job, None)
            self._do(self._slots.ended(number, turn, done))
        elif kind == messages.NOT_BEGUN:
            self._do(self._slots.ended(number, turn, None))

    def _arrive(self, name: str) -> None:
        """Record that a slot is ready for jobs.

        If Slurm restarted the slot's allocation, slots from before the restart are lost.

        Args:
            name: name of the slot, `<allocation>-<restart>-<task>`.
        """
        allocation, restart, _ = name.split("-")
        for other in self._names(allocation):
            _, other_restart, _ = other.split("-")
            if int(other_restart) < int(restart):
                self._lose(other, "its allocation was restarted")

        self._allocations.arrived(name)
        self._started[name] = _StartedSlot(self._channel.slot(self._session, name))
        self._assign_numbers()

    def _names(self, allocation: str) -> list[str]:
        """Return the names of an allocation's slots."""
        return [name for name in self._started if name.startswith(f"{allocation}-")]

    def _assign_numbers(self) -> None:
        """Assign the numbers of requested slots to slots that have started."""
        for slot in self._started.values():
            if slot.number is None and self._requested:
                slot.number = self._requested.popleft()
                self._slots.ready(slot.number)

    def _look(self) -> None:
        """Detect lost slots from their heartbeats, and lost allocations from Slurm's queue."""
        silent = self._beats.silent(self._clock())
        for name, seconds in silent.items():
            if seconds > self._options.lost_after:
                self._lose(name, f"silent for {seconds:.0f} s")
        lost_allocations = self._allocations.look(silent)
        self._read_messages()  # handle messages that slots sent before they ended

        level = logging.DEBUG if self._slots.is_stopping else logging.INFO
        for lost in lost_allocations:
            log.log(level, "Slurm: %s", lost.why)
            for name in self._names(lost.id):
                self._lose(name, lost.why)
            for _ in range(min(len(self._requested), lost.unopened)):
                self._do(self._slots.lost(self._requested.popleft(), lost.why))

    def _lose(self, name: str, why: str, *, counts: bool = True) -> None:
        """Handle the loss of a slot; see `JobSlots.lost`."""
        slot = self._started.get(name)
        if slot is not None and slot.number is not None:
            self._do(self._slots.lost(slot.number, why, counts=counts))
        self._started.pop(name, None)

    def _send(self, name: str, message: Message) -> None:
        with contextlib.suppress(OSError):  # the slot then counts as lost
            self._started[name].inbox.put("driver", message)

    def _do(self, commands: Sequence[Command]) -> None:
        names = {slot.number: name for name, slot in self._started.items()}
        for command in commands:
            if isinstance(command, JobEnd):
                self._job_ends.append(command)
            elif isinstance(command, OpenSlot):
                self._requested.append(command.slot)
                self._assign_numbers()
            elif isinstance(command, StartJob):
                self._send(names[command.slot], messages.start(command.turn, command.job))
            elif isinstance(command, StopJob):
                self._send(names[command.slot], {"kind": messages.STOP})
            elif command.slot in names:
                self._send(names[command.slot], {"kind": messages.LEAVE})
                del self._started[names[command.slot]]
            elif command.slot in self._requested:
                self._requested.remove(command.slot)
