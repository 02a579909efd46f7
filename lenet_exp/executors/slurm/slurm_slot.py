"""A job slot: a task of a Slurm allocation that runs jobs of a sweep until none are left.

If the sweep's process dies, the running job continues. When the sweep's command is rerun, the job
writes a checkpoint, and the slot restarts and accepts new jobs. If Slurm announces the end of the
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

from lenet_exp.executors.slot_process import SlotInfo, SlotProcess
from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.message_folder import Message
from lenet_exp.executors.slurm.messages import SlurmMessages
from lenet_exp.executors.slurm.options import BEAT_SECONDS
from lenet_exp.executors.work import EpochReport, JobEnd
from lenet_exp.folders.job import job_from_json
from lenet_exp.stopping import Terminated

# Time between two checks for messages, of an idle slot and while a job runs.
TICK_SECONDS = 0.05
BUSY_TICK_SECONDS = 0.5
LOOK_SECONDS = 30.0  # time between two checks of whether the sweep has a process
ALONE_SECONDS = 300.0  # time that an idle slot waits after the sweep's process has died
# Delay before this process stops its job: Slurm also sends SIGTERM to the job's process, and a
# second SIGTERM would kill it.
SIGTERM_DELAY_SECONDS = 10.0


def slot_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of this slot, from Slurm's environment variables.

    The name is `<allocation>-<restart>-<task>`, such as `7_0-0-3`.
    """
    array = environment.get("SLURM_ARRAY_JOB_ID")
    member = environment.get("SLURM_ARRAY_TASK_ID")
    allocation = environment.get("SLURM_JOB_ID", "0")
    if array and member:
        allocation = f"{array}_{member}"

    restart = environment.get("SLURM_RESTART_COUNT", "0")
    task = environment.get("SLURM_PROCID", "0")
    return f"{allocation}-{restart}-{task}"


class SlurmSlot:
    """Runs jobs of a sweep in a task of a Slurm allocation.

    Two threads share the state. The main thread runs jobs. The watching thread receives messages
    and Slurm's signals, and decides when the slot ends.

    Args:
        channel: channel for messages between the sweep and its slots.
        session: ID of the sweep's session.
        name: name of this slot; see `slot_name`.
        process: process that runs the jobs.
        outputs: path of the outputs folder.
        has_driver: function that returns whether the sweep currently has a process.
    """

    def __init__(
        self,
        channel: SlurmMessages,
        session: str,
        name: str,
        process: SlotProcess,
        outputs: Path,
        has_driver: Callable[[], bool],
    ) -> None:
        self._channel = channel
        self._session = session
        self._name = name
        self._process = process
        self._outputs = outputs
        self._has_driver = has_driver
        self._inbox = channel.slot(session, name)
        self._driver = channel.driver(session)
        self._orders: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._turn: int | None = None
        self._is_training = False
        self._sweep_stopped_job = False
        self._why_ending = ""  # reason why the slot has to end
        self._is_restarted = False  # whether the sweep was restarted
        self._terminated_at = 0.0  # time of the first SIGTERM; 0 if none arrived
        self._stop_job_at = 0.0  # time at which an ending slot stops its job

    def serve(self, slot: SlotInfo) -> bool:
        """Run jobs until none are left.

        Args:
            slot: description of this slot, which is sent to the sweep.

        Returns:
            Whether the sweep was restarted, which requires a new process.
        """
        signal.signal(signal.SIGTERM, self._note_sigterm)
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

        # An OSError means that the session is gone. Results of jobs are in the run folders.
        with contextlib.suppress(OSError):
            self._driver.put(self._name, {"kind": messages.DESCRIBED, **asdict(slot)})
            self._run_jobs()
            if not self._is_restarted:
                left = {"kind": messages.LEFT, "turn": self._turn, "why": self._why_ending}
                self._driver.put(self._name, left)
        self._process.close()
        return self._is_restarted

    def _run_jobs(self) -> None:
        """Run jobs as ordered by the sweep, until the slot ends."""
        while True:
            order = self._orders.get()
            if order is None or self._why_ending:
                break
            turn = int(order["turn"])
            self._turn = turn
            report = self._run_until_report(order)
            if self._why_ending and isinstance(report, EpochReport):
                break

            if not self._sweep_stopped_job and self._was_interrupted(report):
                if not self._why_ending:  # Slurm's signal also reaches the job, perhaps first
                    self._why_ending = "its job was interrupted"
                return
            self._driver.put(self._name, messages.job_message(turn, report))
            if report is None or isinstance(report, JobEnd):
                self._turn = None

        if self._turn is not None:  # the job is waiting for an answer that will not arrive
            self._stop_waiting_job()

    def _run_until_report(self, order: Message) -> EpochReport | JobEnd | None:
        """Start a job, or answer it, and return its next report."""
        self._is_training = True
        if order["kind"] == messages.START:
            report = self._process.start(job_from_json(order["job"], self._outputs))
        else:
            report = self._process.answer(order["value"])
        self._is_training = False
        return report

    def _stop_waiting_job(self) -> None:
        self._is_training = True  # until its checkpoint is written
        if self._stop_job_at <= time.monotonic():
            self._process.stop()
        while isinstance(self._process.answer(None), EpochReport):
            pass

    def _was_interrupted(self, report: EpochReport | JobEnd | None) -> bool:
        """Return whether a signal interrupted a job.

        If not, it finished, ran out of time, or lost its process.
        """
        if report is None:
            return bool(self._why_ending)
        if isinstance(report, EpochReport):
            return False
        if isinstance(report.error, Terminated):
            return True
        is_slot_ending = bool(self._why_ending or self._terminated_at)
        return is_slot_ending and report.lost is not None and not report.over_limit

    def _note_sigterm(self, signum: int, frame: object) -> None:
        self._terminated_at = self._terminated_at or time.monotonic()

    def _watch(self) -> None:
        """Receive signals and messages, and send heartbeats, until the process exits."""
        beats = self._channel.beats(self._session)
        last_beat = 0.0
        last_look = time.monotonic()
        alone_since = time.monotonic()

        while True:
            tick = BUSY_TICK_SECONDS if self._is_training else TICK_SECONDS
            if signal.sigtimedwait({signal.SIGUSR2}, tick) is not None:
                self._end("Slurm is about to end its allocation")
            now = time.monotonic()
            if self._terminated_at:
                stop_job_at = self._terminated_at + SIGTERM_DELAY_SECONDS
                self._end("Slurm ended its allocation", stop_job_at=stop_job_at)
            if self._why_ending and self._is_training and now >= self._stop_job_at:
                self._stop_job_at = math.inf
                self._process.stop()

            if self._is_training:
                alone_since = now
            elif now - last_look > LOOK_SECONDS:
                last_look = now
                if self._has_driver():
                    alone_since = now
                elif now - alone_since > ALONE_SECONDS:
                    self._end("the sweep's process has ended")

            # After an error, no heartbeat is sent. After many missed ones, the slot counts as lost.
            with contextlib.suppress(OSError, ValueError):
                if not self._is_session_current():
                    continue
                for _, order in self._inbox.take():
                    self._receive(order)
                if now - last_beat > BEAT_SECONDS:
                    last_beat = now
                    beats.beat(self._name)

    def _is_session_current(self) -> bool:
        """Return whether the session goes on. If not, end this slot."""
        plan = self._channel.plan()
        if plan is None:
            self._is_restarted = False
            self._end("the sweep is over")
            return False
        if plan.session != self._session:
            self._is_restarted = True
            self._end("the sweep was restarted")
            return False
        return True

    def _receive(self, order: Message) -> None:
        kind = order.get("kind")
        if kind == messages.STOP:
            self._sweep_stopped_job = True
            self._process.stop()
        elif kind == messages.LEAVE:
            self._end("a stop was requested")
        elif kind in {messages.START, messages.ANSWER}:
            self._orders.put(order)

    def _end(self, why: str, *, stop_job_at: float = 0.0) -> None:
        """End this slot after the running job has written a checkpoint.

        Args:
            why: reason for the end, as a short phrase.
            stop_job_at: time after which the job is stopped, if it has not ended.
        """
        if not self._why_ending:
            self._why_ending = why
            self._stop_job_at = stop_job_at
            self._orders.put(None)
