"""A store that is unreachable or hangs costs little time; the last line reports missing uploads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.tools.commands import SECRET, SMALL, end, free_port, lenet_train, start
from tests.tools.servers import erring_server, flooding_server, silent_server
from tests.tracking.stores.test_store import counts, leaks

LINE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false")
SWEEP = ("-m", "hydra/launcher=basic", *LINE, "seed=1,2")
LONGEST = 10.0  # seconds that a store may delay the first step, and the end


def missing_uploads(stderr: str, store: str) -> list[int]:
    """Return the missing runs, models and sweeps from the last line; check that one warning
    precedes it.
    """
    warning, last = [line for line in stderr.splitlines() if store in line]
    assert warning.startswith(f"tracking.uri={store}")
    assert last == stderr.splitlines()[-1]
    assert "lenet-sync " in last
    assert "Traceback" not in stderr
    return counts(last)


def first_words(process) -> dict[str, float]:
    """Return the time of the first line of each kind."""
    times: dict[str, float] = {}
    for text in process.stderr:
        times.setdefault(text[:7], time.monotonic())
    assert process.wait(60) == 0
    return times


@pytest.mark.slow(seconds=20)
def test_hanging_server_delays_neither_first_step_nor_end(tmp_path):
    """A run with a server that refuses connections runs in parallel, to compare times under equal
    load.
    """
    refuses = f"http://127.0.0.1:{free_port()}"
    with (
        silent_server() as silent,
        flooding_server(b"[", 1.0) as drips,
        flooding_server(b"[" * 2**20, 0.02) as endless,
        ThreadPoolExecutor(4) as pool,
    ):
        start_time = time.monotonic()
        commands = ((LINE, refuses), (LINE, silent), (LINE, drips), (LINE, endless), (SWEEP, drips))
        processes = []
        for number, (line, address) in enumerate(commands):
            outputs = tmp_path / str(number)
            processes.append(start(*line, f"tracking.uri={address}", outputs=outputs))
        *single_runs, sweep = processes
        futures = [pool.submit(first_words, process) for process in single_runs]
        done = end(sweep)
        # the whole sweep, in parallel with the runs
        assert time.monotonic() - start_time < 6 * LONGEST

    times_refused, *times_hanging = [future.result() for future in futures]
    for times in times_hanging:
        assert times["epoch 1"] - times_refused["epoch 1"] < LONGEST
        assert times["missing"] - times["epoch 2"] < LONGEST
    assert done.returncode == 0, done.stderr
    assert missing_uploads(done.stderr, drips) == [2, 1, 1]


def test_failing_server_gives_one_warning_and_last_line(tmp_path):
    with erring_server() as address:
        done = lenet_train(*LINE, f"tracking.uri={address}", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert missing_uploads(done.stderr, address) == [1, 1]


@pytest.mark.parametrize("typed", ["http://someone:{}@{}", "http://{}@{}", "http://{1}/?token={0}"])
def test_unreachable_server_warns_once_and_leaks_no_secret(tmp_path, typed):
    server = f"127.0.0.1:{free_port()}"
    uri = typed.format(SECRET, server)
    done = lenet_train(*SWEEP, f"tracking.uri='{uri}'", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert missing_uploads(done.stderr, f"http://{server}") == [2, 1, 1]
    assert SECRET not in done.stdout + done.stderr
    assert leaks(tmp_path) == []
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 2
