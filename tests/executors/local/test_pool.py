"""The pool of worker processes, including workers that die."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lenet_exp.executors.local.pool as pool_module
from lenet_exp.executors.work import JobEnd
from lenet_exp.stopping import Terminated
from tests.executors.local import tasks
from tests.tools.until import alive, until

pytestmark = pytest.mark.slow(seconds=3)

ROOT = Path(__file__).resolve().parents[3]


def run(*jobs: tuple[Callable[..., Any], ...], **options: Any) -> dict[int, JobEnd]:
    """Run the jobs (function, arguments...) to the end, and return their ends by number."""
    ends: dict[int, JobEnd] = {}
    with tasks.pool(*jobs, **options) as pool:
        while (done := pool.next_done(math.inf)) is not None:
            assert done.job not in ends
            ends[done.job] = done
        assert pool.running == {}
    return ends


def test_worker_imports_no_file_of_the_working_directory(tmp_path, monkeypatch):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ImportError\n"
    for name in ("cloudpickle", "gc", "queue", "torch"):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    assert run((tasks.double, 4))[0].value == 8
    assert not (tmp_path / "ran").exists()


def test_each_job_runs_once_and_each_worker_is_prepared_once():
    ends = run(*[(tasks.where, n) for n in range(8)], workers=2)

    assert sorted(ends) == list(range(8))
    pids = set()
    for number, end in ends.items():
        returned_number, pid, session, preparations = end.value
        assert returned_number == number
        assert session == pid
        assert session != os.getsid(0)
        assert preparations == 1
        assert not alive(pid)
        pids.add(pid)
    assert 1 <= len(pids) <= 2


@pytest.fixture
def gpus(monkeypatch):
    """Workers on a machine with GPUs, which record the devices that they select."""
    monkeypatch.setattr(pool_module, "prepare_worker", tasks.prepare_with_gpus)


@pytest.mark.usefixtures("gpus")
def test_retried_job_gets_gpu_of_dead_worker(tmp_path):
    jobs = [(tasks.meet, tmp_path, 0, 1), (tasks.die_and_meet, tmp_path, 1, 1)]
    done = run(*jobs, workers=2, retries=1, devices=[1, 3])
    assert done[0].value == (0, [1])
    assert done[1].value == (1, [3])


@pytest.mark.usefixtures("gpus")
def test_worker_of_cpu_runs_makes_no_cuda_call(tmp_path):
    done = run((tasks.meet, tmp_path, 0, 0))
    assert done[0].value == (0, [])


def test_exception_of_job_is_returned_with_traceback():
    done = run((tasks.fail, "broken"), (tasks.double, 1), (tasks.fail_unreadably,))
    assert isinstance(done[0].error, ValueError)
    assert str(done[0].error) == "broken"
    assert "in fail" in done[0].error.__notes__[0]
    assert done[1].value == 2
    # an exception that cannot be unpickled arrives as text
    assert isinstance(done[2].error, RuntimeError)
    assert "Unreadable: 1" in str(done[2].error)


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ((tasks.die, 7), "status 7"),
        pytest.param((tasks.overflow_the_stack,), "SIGSEGV", marks=pytest.mark.slow(seconds=5)),
    ],
)
def test_worker_that_dies_loses_only_the_current_job(job, why):
    done = run((tasks.double, 1), job, (tasks.double, 2), retries=1)
    assert done[0].value == 2
    assert done[2].value == 4
    assert done[1].value is None
    assert done[1].error is None
    assert done[1].lost.endswith(why)


@pytest.mark.parametrize("retries", [0, 1])
def test_job_whose_worker_died_is_retried_up_to_the_limit(tmp_path, retries):
    done = run((tasks.die, -signal.SIGKILL, str(tmp_path)), retries=retries)[0]
    if retries == 1:
        assert done == JobEnd(0, value="second try")
    else:
        assert done == JobEnd(0, lost="killed by SIGKILL")


def run_over_limit(file: Path, *jobs: tuple[Callable[..., Any], ...]) -> dict[int, JobEnd]:
    """Run the jobs with a time limit that the first job, which writes `file`, exceeds and the
    others do not.

    The limit includes the start of a worker, which takes a second on a quiet machine and many on a
    busy one.
    """
    for limit in (3, 12, 60):
        done = run(*jobs, time_limit=limit)
        assert done[0].over_limit
        assert f"{limit} s" in done[0].lost
        others_are_over = any(done[job].over_limit for job in range(1, len(jobs)))
        if file.exists() and not others_are_over:
            break
    return done


@pytest.mark.slow(seconds=5)
def test_job_over_time_limit_ends_cleanly_and_counts_as_lost(tmp_path):
    file = tmp_path / "file"
    done = run_over_limit(file, (tasks.wait_for_the_end, str(file)), (tasks.double, 1))
    assert file.read_text() == "ended cleanly"
    assert done[1].value == 2


@pytest.mark.slow(seconds=4)
def test_job_that_ignores_sigterm_is_killed_with_child_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "STOP_SECONDS", 0.5)
    file = tmp_path / "file"
    run_over_limit(file, (tasks.never_end, str(file)))
    pids = [int(pid) for pid in file.read_text().split()]
    assert len(pids) == 2
    until(lambda: not any(alive(pid) for pid in pids))


def test_stop_ends_running_jobs_and_starts_no_more(tmp_path):
    file = tmp_path / "file"
    jobs = ((tasks.wait_for_the_end, str(file)), (tasks.double, 1))
    with tasks.pool(*jobs, retries=5) as pool:
        assert pool.next_done(0.01) is None
        until(lambda: file.exists() and file.read_text() != "")
        assert pool.running == {0: int(file.read_text())}

        pool.stop()

        done = pool.next_done(60)
        assert done is not None
        assert done.job == 0
        assert isinstance(done.error, Terminated)
        assert pool.next_done(60) is None
    assert file.read_text() == "ended cleanly"


def test_closing_the_pool_kills_running_jobs(tmp_path):
    file = tmp_path / "file"
    with tasks.pool((tasks.never_end, str(file))) as pool:
        pool.next_done(0.01)
        until(lambda: file.exists() and len(file.read_text().split()) == 2)
    pids = [int(pid) for pid in file.read_text().split()]
    until(lambda: not any(alive(pid) for pid in pids))


def kill_pool(function: Callable[..., None], *files: Path) -> None:
    """Kill the process of a pool once the last file has the ID of its worker; wait for the worker.

    Args:
        function: a function of the module `tasks` that runs the pool; its arguments are the files.
    """
    arguments = [str(file) for file in files]
    code = f"from {function.__module__} import {function.__name__} as run; run(*{arguments!r})"
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    started = files[-1]
    until(lambda: started.exists() and started.read_text() != "")
    worker = int(started.read_text())
    owner.kill()
    owner.wait()
    until(lambda: not alive(worker))


@pytest.mark.slow(seconds=4)
def test_job_ends_cleanly_when_process_of_pool_is_killed(tmp_path):
    file = tmp_path / "file"
    kill_pool(tasks.pool_of_waiting, file)
    assert file.read_text() == "ended cleanly"


@pytest.mark.slow(seconds=4)
def test_starting_worker_of_killed_pool_begins_no_job(tmp_path):
    file = tmp_path / "file"
    kill_pool(tasks.pool_of_starting, file, tmp_path / "started")
    assert not file.exists()


def test_worker_output_is_appended_to_a_file(tmp_path):
    output = tmp_path / "log"
    output.write_text("before\n")
    run((tasks.shout, "here"), output=output)
    assert output.read_text() == "before\nhere\nhere\n"


def test_questions_of_jobs_are_answered_in_process_of_pool():
    questions: list[int] = []

    def answer(question: int) -> int:
        questions.append(question)
        return 10 * question

    done = run((tasks.sum_of_answers, 4), (tasks.sum_of_answers, 3), workers=2, answer=answer)

    assert done[0].value == 60
    assert done[1].value == 30
    assert sorted(questions) == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.slow(seconds=4)
def test_job_whose_worker_died_after_an_answer_asks_again(tmp_path):
    questions: list[int] = []

    def answer(question: int) -> int:
        questions.append(question)
        return 7

    done = run((tasks.ask_and_die, tmp_path / "died"), retries=1, answer=answer)

    assert done[0].value == 7
    assert questions == [1, 1]
