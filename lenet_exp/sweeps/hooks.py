"""Runs a command at the end of a sweep (`sweep.on_end`).

The command receives a summary, a JSON object. A failure is one warning, and has no other effect.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from threading import Thread

from lenet_exp.addresses import store_name, store_uri
from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.config.schema import HOOK, Config
from lenet_exp.errors import first_line, printable
from lenet_exp.files import Json
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import command_line
from lenet_exp.reports.words.verdict import verdict

COMMAND_SECONDS = 60.0  # time limit of the command
# Maximum time for a killed command to end, and to read the last line of a failed command.
KILLED_SECONDS = 1.0
MOST_OUTPUT_BYTES = 200  # maximum number of bytes that are shown of the command's output

log = logging.getLogger("lenet_exp")


def run_hook(
    sweep: SweepFolder,
    results: Sequence[JobResult],
    config: Config,
    *,
    outcome: Outcome,
    seconds: float,
) -> None:
    """Run the command in `sweep.on_end`, if it is set, and log a line if it fails.

    Args:
        sweep: folder of the sweep, which has ended.
        results: results of all jobs.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        outcome: outcome of the sweep: finished, failed, or killed.
        seconds: duration of this session, in seconds.

    Raises:
        KeyboardInterrupt, Terminated: a signal arrived. The command has been killed.
    """
    command = config.sweep.on_end
    if not command:
        return
    try:
        summary = _summary(sweep, results, config, outcome=outcome, seconds=seconds)
        failure = _run(command, summary)
    except Exception as e:
        failure = first_line(e)
    if failure:
        log.warning("%s: %s", HOOK, printable(failure))


def _summary(
    sweep: SweepFolder,
    results: Sequence[JobResult],
    config: Config,
    *,
    outcome: Outcome,
    seconds: float,
) -> dict[str, Json]:
    """Return the summary of a sweep, which the command receives."""
    plan = sweep.started()
    is_stopped_search = plan.search is not None and bool(plan.stopped_by)
    verdicts = ""
    if not is_stopped_search:  # the terminal shows no verdict for a stopped search, either
        verdicts = _verdicts(compare_sweep(sweep, results))

    return {
        "sweep": sweep.id,
        "experiment": plan.experiment,
        "outcome": outcome,
        "counts": Counter(result.outcome for result in results),
        "verdict": verdicts,
        "link": _link(sweep, config),
        "seconds": round(seconds, 1),
        "command": command_line(),
    }


def _verdicts(comparisons: Sequence[Comparison]) -> str:
    """Return the verdict of each comparison, with its dataset if there are several."""
    if len(comparisons) == 1:
        return verdict(comparisons[0])
    return " ".join(f"{comparison.dataset}: {verdict(comparison)}" for comparison in comparisons)


def _link(sweep: SweepFolder, config: Config) -> str:
    """Return the address of a sweep in MLflow or, without a server, the command that shows it."""
    store = store_name(store_uri(config.tracking.uri, sweep.outputs))
    run_id = sweep.delivered().run_id(store) if store.startswith("http") else None
    if run_id is None:
        return f"lenet-ui sweep={sweep.id}"
    return f"{store.rstrip('/')}/#/runs/{run_id}"


def _run(command: str, summary: Mapping[str, Json]) -> str:
    """Run a shell command. Return why it failed, or an empty string if it succeeded."""
    environment = dict(os.environ)
    for key in ("sweep", "outcome", "verdict", "link"):
        environment[f"LENET_EXP_{key.upper()}"] = str(summary[key])
    process = Popen(
        command,
        shell=True,
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    pipes = _CommandPipes(process, json.dumps(summary).encode())
    # A process that the command leaves behind can keep the pipes open, so another thread reads and
    # writes.
    thread = Thread(target=pipes.communicate, daemon=True)
    try:
        thread.start()
        status = process.wait(COMMAND_SECONDS)
        # The output is shown only if the command failed.
        thread.join(KILLED_SECONDS if status else 0)
    except TimeoutExpired:
        return f"stopped after {COMMAND_SECONDS:g} s"
    finally:
        if process.poll() is None:
            with contextlib.suppress(OSError, TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(KILLED_SECONDS)

    if status == 0:
        return ""
    failure = f"exit status {_shell_status(status)}"
    last_line = pipes.last_line()
    if last_line is not None:
        failure += f" ({last_line})"
    return failure


def _shell_status(status: int) -> int:
    """Return an exit status as a shell shows it: -9, a death by signal 9, becomes 137."""
    return status if status > 0 else 128 - status


class _CommandPipes:
    """The standard input and output of a command, which a thread writes and reads.

    Args:
        process: process of the command.
        content: content for the standard input.
    """

    def __init__(self, process: Popen[bytes], content: bytes) -> None:
        self._process = process
        self._content = content
        self._end_of_output = b""

    def communicate(self) -> None:
        """Write the input, and keep the end of the output, until the command closes its pipes."""
        stdin = self._process.stdin
        stdout = self._process.stdout
        assert stdin is not None
        assert stdout is not None

        # An OSError means that the command does not read the summary.
        with contextlib.suppress(OSError), stdin:
            stdin.write(self._content)
        while chunk := stdout.read(1 << 12):
            self._end_of_output = (self._end_of_output + chunk)[-MOST_OUTPUT_BYTES:]

    def last_line(self) -> str | None:
        """Return the last line of the output so far; None if there was no output."""
        lines = self._end_of_output.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else None
