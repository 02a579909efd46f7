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
from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.config.schema import HOOK, Config
from lenet_exp.errors import first_line, printable
from lenet_exp.files import Json
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import command_line
from lenet_exp.reports.words.verdict import verdict

COMMAND_SECONDS = 60.0  # time limit of the command
KILLED_SECONDS = (
    1.0  # maximum time for a killed command to end, and to read the last line of a failed command
)
SHOWN = 200  # maximum number of bytes that are shown of the command's output

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
    plan, store = sweep.started(), store_name(store_uri(config.tracking.uri, sweep.outputs))
    run_id = sweep.delivered().run_id(store) if store.startswith("http") else None
    # The terminal shows no verdict for a stopped search, either.
    compared = [] if plan.search is not None and plan.stopped_by else compare_sweep(sweep, results)
    said = [f"{c.dataset}: {verdict(c)}" if len(compared) > 1 else verdict(c) for c in compared]
    link = (
        f"{store.rstrip('/')}/#/runs/{run_id}"
        if run_id is not None
        else f"lenet-ui sweep={sweep.id}"
    )
    summary: dict[str, Json] = {
        "sweep": sweep.id,
        "experiment": plan.experiment,
        "outcome": outcome,
    }
    summary |= {
        "counts": Counter(result.outcome for result in results),
        "verdict": " ".join(said),
        "link": link,
    }
    return summary | {"seconds": round(seconds, 1), "command": command_line()}


def _run(command: str, summary: Mapping[str, Json]) -> str:
    """Run a shell command. Return why it failed, or an empty string if it succeeded."""
    own = {
        f"LENET_EXP_{key.upper()}": str(summary[key])
        for key in ("sweep", "outcome", "verdict", "link")
    }
    process = Popen(
        command,
        shell=True,
        env={**os.environ, **own},
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    output = bytearray()

    def talk() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with (
            contextlib.suppress(OSError),
            process.stdin as pipe,
        ):  # the command may not read the summary
            pipe.write(json.dumps(summary).encode())
        while chunk := process.stdout.read(1 << 12):
            output[:] = (output + chunk)[-SHOWN:]

    # A process that the command leaves behind can keep the pipes open, so another thread reads and
    # writes.
    talking = Thread(target=talk, daemon=True)
    try:
        talking.start()
        status = process.wait(COMMAND_SECONDS)
        talking.join(KILLED_SECONDS if status else 0)
    except TimeoutExpired:
        return f"stopped after {COMMAND_SECONDS:g} s"
    finally:
        if process.poll() is None:
            with contextlib.suppress(OSError, TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(KILLED_SECONDS)
    last = "".join(
        f" ({line})" for line in output.decode(errors="replace").strip().splitlines()[-1:]
    )
    return f"exit status {status if status > 0 else 128 - status}{last}" if status else ""
