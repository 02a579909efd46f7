"""A place: a task of a Slurm allocation that runs jobs of a sweep, one after another, until none
are left.

If the sweep's process dies, the running job continues. When the sweep's command is rerun, the job
writes a checkpoint, and the place restarts and accepts new jobs. If Slurm announces the end of the
allocation (SIGUSR2 or SIGTERM), the running job also writes a checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from lenet_exp.executors.host import SlotInfo, SlotProcess
from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.message_folder import Message
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import BEAT_SECONDS
from lenet_exp.executors.work import EpochReport, JobEnd
from lenet_exp.folders.job import job_from_json
from lenet_exp.stopping import Terminated

TICK_SECONDS, BUSY_TICK_SECONDS = 0.05, 0.5  # time between two checks for messages
LOOK_SECONDS = 30.0  # time between two checks of whether the sweep has a process
ALONE_SECONDS = 300.0  # time that an idle place waits after the sweep's process has died
# Delay before this process stops its job: Slurm also sends SIGTERM to the job's process, and a
# second SIGTERM would kill it.
TOLD_SECONDS = 10.0


def place_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of this place, `<allocation>-<restart>-<task>`, from Slurm's environment
    variables.
    """
    array, member = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    allocation = f"{array}_{member}" if array and member else environment.get("SLURM_JOB_ID", "0")
    return f"{allocation}-{environment.get('SLURM_RESTART_COUNT', '0')}-{environment.get('SLURM_PROCID', '0')}"


class SlurmSlot:
    """Runs jobs of a sweep in a task of a Slurm allocation.

    Args:
        channel: channel for messages between the sweep and its places.
        session: ID of the sweep's session.
        name: name of this place; see `place_name`.
        host: process that runs the jobs.
        outputs: path of the outputs folder.
        has_driver: function that returns whether the sweep currently has a process.
    """

    def __init__(
        self,
        channel: SlurmMessages,
        session: str,
        name: str,
        host: SlotProcess,
        outputs: Path,
        has_driver: Callable[[], bool],
    ) -> None:
        self._channel, self._session, self._name = channel, session, name
        self._host, self._outputs, self._has_driver = host, outputs, has_driver
        self._inbox, self._driver = channel.place(session, name), channel.driver(session)
        self._orders: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._turn: int | None = None
        self._trains = False
        self._told_to_stop = False  # whether the sweep stopped the place's job
        self._why = ""  # reason why the place has to end
        self._again = False
        self._signalled = self._ask_at = 0.0

    def serve(self, place: SlotInfo) -> bool:
        """Run jobs until none are left. Return whether the sweep was restarted, which requires a
        new process.

        Args:
            place: description of this place, which is sent to the sweep.
        """
        signal.signal(signal.SIGTERM, self._note)
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        with contextlib.suppress(
            OSError
        ):  # the session is gone; job results are in the run folders
            self._driver.put(self._name, {"kind": messages.DESCRIBED, **asdict(place)})
            self._take_orders()
            if not self._again:
                self._driver.put(
                    self._name, {"kind": messages.LEFT, "turn": self._turn, "why": self._why}
                )
        self._host.close()
        return self._again

    def _take_orders(self) -> None:
        while (order := self._orders.get()) is not None and not self._why:
            turn = self._turn = int(order["turn"])
            self._trains = True
            if order["kind"] == messages.START:
                said = self._host.start(job_from_json(order["job"], self._outputs))
            else:
                said = self._host.answer(order["value"])
            self._trains = False
            if self._why and isinstance(said, EpochReport):
                break
            if not self._told_to_stop and self._was_interrupted(said):
                self._why = (
                    self._why or "its job was interrupted"
                )  # Slurm's signal also reaches the job, perhaps first
                return
            self._driver.put(self._name, messages.job_message(turn, said))
            if said is None or isinstance(said, JobEnd):
                self._turn = None
        if self._turn is not None:  # the job is waiting for an answer that will not arrive
            self._trains = True  # until its checkpoint is written
            if self._ask_at <= time.monotonic():
                self._host.stop()
            while isinstance(self._host.answer(None), EpochReport):
                pass

    def _was_interrupted(self, said: EpochReport | JobEnd | None) -> bool:
        """Return whether a signal interrupted a job. If not, it finished, ran out of time, or lost
        its process.
        """
        if isinstance(said, JobEnd):
            ends = bool(self._why or self._signalled)
            return isinstance(said.error, Terminated) or (
                ends and said.lost is not None and not said.over_limit
            )
        return said is None and bool(self._why)

    def _note(self, signum: int, frame: object) -> None:
        self._signalled = self._signalled or time.monotonic()

    def _watch(self) -> None:
        beats, beaten, looked, alone_since = (
            self._channel.beats(self._session),
            0.0,
            time.monotonic(),
            time.monotonic(),
        )
        while True:
            if (
                signal.sigtimedwait(
                    {signal.SIGUSR2}, BUSY_TICK_SECONDS if self._trains else TICK_SECONDS
                )
                is not None
            ):
                self._end("Slurm is about to end its allocation")
            now = time.monotonic()
            if self._signalled:
                self._end("Slurm ended its allocation", ask_at=self._signalled + TOLD_SECONDS)
            if self._why and self._trains and now >= self._ask_at:
                self._ask_at = math.inf
                self._host.stop()
            if self._trains:
                alone_since = now
            elif now - looked > LOOK_SECONDS:
                looked = now
                if self._has_driver():
                    alone_since = now
                elif now - alone_since > ALONE_SECONDS:
                    self._end("the sweep's process has ended")
            with contextlib.suppress(
                OSError, ValueError
            ):  # after many missed heartbeats, the place counts as lost
                plan = self._channel.plan()
                if plan is None or plan.session != self._session:
                    self._again = plan is not None
                    self._end("the sweep is over" if plan is None else "the sweep was restarted")
                    continue
                for _, order in self._inbox.take():
                    self._hear(order)
                if now - beaten > BEAT_SECONDS:
                    beaten = now
                    beats.beat(self._name)

    def _hear(self, order: Message) -> None:
        kind = order.get("kind")
        if kind == messages.STOP:
            self._told_to_stop = True
            self._host.stop()
        elif kind == messages.LEAVE:
            self._end("a stop was requested")
        elif kind in {messages.START, messages.ANSWER}:
            self._orders.put(order)

    def _end(self, why: str, *, ask_at: float = 0.0) -> None:
        """End this place after the running job has written a checkpoint.

        Args:
            why: reason for the end, as a short phrase.
            ask_at: time after which the job is stopped, if it has not ended.
        """
        if not self._why:
            self._why, self._ask_at = why, ask_at
            self._orders.put(None)
