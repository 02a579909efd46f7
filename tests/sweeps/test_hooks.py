"""`sweep.on_end` receives a report at the end of a sweep, and cannot change how the sweep ends."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lenet_exp.config.flags import with_value
from lenet_exp.config.schema import HOOK
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps, sweep_of
from lenet_exp.runs.jobs import lone_job
from lenet_exp.sweeps import hooks
from tests.searches.searched import only_sweep
from tests.tools.commands import SMALL, end, lenet_train, refused, start, succeeded
from tests.tools.configs import compose
from tests.tools.servers import answering, erring_server, send, served
from tests.tools.waiting import WAITS, waiting

HERE = "hydra/launcher=basic"  # in this process
TINY = (*SMALL, "dataset.train_size=320", "num_epoch=1", "num_threads=1")
BARE = ("tracking.plots=false", "tracking.models=none")
SECRET = "T0ken"
CURL = "curl -sSf --data @- $WEBHOOK"
WEBHOOK = f'sweep.on_end="{CURL}"'
NOTES = """
import json, os, sqlite3, sys

report = json.load(sys.stdin)
keys = ("sweep", "outcome", "verdict", "link")
variables = [os.environ[f"LENET_EXP_{key.upper()}"] for key in keys]
database = sqlite3.connect(os.environ["LENET_EXP_OUTPUTS"] + "/mlflow.db")
states = database.execute("select distinct status from runs")
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([report, variables, [state for state, in states]]) + "\\n")
"""


class Notes:
    """A command that adds what it receives to a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "notes.jsonl"
        (folder / "notes.py").write_text(NOTES)
        self.flag = f'sweep.on_end="{sys.executable} {folder / "notes.py"} {self._file}"'

    def read(self) -> list[tuple[dict[str, Any], list[str], list[str]]]:
        """Return the report, the variables, and the states of the runs in MLflow, for each call of
        the command.
        """
        if not self._file.exists():
            return []
        return [tuple(json.loads(line)) for line in self._file.read_text().splitlines()]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


@contextlib.contextmanager
def receiving() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a server, and yield an address with a secret and the list of the reports that it has
    received.
    """
    reports: list[dict[str, Any]] = []

    def answer(request: Any) -> None:
        reports.append(json.loads(request.rfile.read(int(request.headers["Content-Length"]))))
        send(request, 200, {}, b"")

    with served(answering(answer)) as address:
        yield f"{address}/{SECRET}", reports


@pytest.fixture
def ended(outputs: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Return a function that runs a command for an ended sweep, and returns the warnings."""
    job = lone_job(compose(TINY))
    sweep = sweep_of("lenet_exp", [job])
    sweep.path.mkdir(parents=True)
    sweep.start([job], runs=1)

    def run(on_end: str) -> list[str]:
        config = with_value(compose(TINY), HOOK, on_end)
        caplog.clear()
        results = job_results(sweep, [job], 0)
        hooks.run_hook(sweep, results, config, outcome=Outcome.failed, seconds=1.0)
        return [record.getMessage() for record in caplog.records]

    return run


@pytest.mark.parametrize(
    ("command", "warnings"),
    [
        ("cat > /dev/null", []),
        ("exit 0", []),
        ("sleep 60 &", []),
        ("echo one; echo two >&2; exit 3", ["sweep.on_end: exit status 3 (two)"]),
        ("kill -9 $$", ["sweep.on_end: exit status 137"]),
        ("seq 1000000; exit 1", ["sweep.on_end: exit status 1 (1000000)"]),
        ("printf '\\033[2J\\007no'; exit 1", ["sweep.on_end: exit status 1 ( [2J no)"]),
    ],
)
def test_command_that_fails_is_one_warning(ended, command, warnings):
    assert ended(on_end=command) == warnings


def test_summary_that_fails_is_one_warning(ended, outputs):
    sweep = only_sweep(outputs)
    (sweep.path / "sweep.json").write_text("{")
    (warning,) = ended(on_end="exit 3")  # the command would be another warning
    assert warning.startswith(f"sweep.on_end: {sweep.path / 'sweep.json'} is corrupt")


@pytest.mark.parametrize(
    "command", ["sleep 60 & sleep 60", "yes", "yes | tr -d '\\n'", "exec >&- 2>&-; sleep 60"]
)
def test_command_is_killed_at_time_limit(ended, command, tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "COMMAND_SECONDS", 0.2)
    start_time = time.monotonic()

    warnings = ended(on_end=f"(sleep 0.6; touch {tmp_path}/late) & {command}")

    assert warnings == ["sweep.on_end: stopped after 0.2 s"]
    assert time.monotonic() - start_time < 5
    time.sleep(0.5)
    assert not (tmp_path / "late").exists()  # the whole process group is killed


def test_signal_kills_command(ended, monkeypatch, tmp_path):
    def interrupt(process: Any, timeout: float) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(hooks.Popen, "wait", interrupt)

    with pytest.raises(KeyboardInterrupt):
        ended(on_end=f"sleep 0.3; touch {tmp_path}/late")

    time.sleep(0.5)
    assert not (tmp_path / "late").exists()


def test_curl_sends_report_and_its_failure_is_one_warning(ended, monkeypatch):
    with receiving() as (address, reports):
        monkeypatch.setenv("WEBHOOK", address)
        assert ended(on_end=CURL) == []
    (report,) = reports
    assert report["outcome"] == "failed"

    with erring_server(503) as address:
        monkeypatch.setenv("WEBHOOK", f"{address}/{SECRET}")
        (warning,) = ended(on_end=CURL)
    assert warning.startswith("sweep.on_end: exit status 22 (")
    assert SECRET not in warning


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("sweep.on_end=./notify",), "sweep.on_end=./notify: requires -m"),
        (("-m", "sweep.on_end=${oc.env:NOT_SET}"), "Environment variable 'NOT_SET' not found"),
        (("-m", "sweep.on_end=a,b"), "sweep: must be the same"),
        (("-m", "sweep.on_end=true"), "sweep.on_end=true: must be a shell command"),
        (("-m", "sweep.on_end=7"), "sweep.on_end=7: must be a shell command"),
    ],
)
def test_invalid_hooks_are_refused_before_training(main, outputs, flags, message):
    refused(main(*flags, *TINY), message)
    assert not outputs.exists()


def files_with(text: str, folder: Path) -> list[Path]:
    """Return the files of a folder that contain a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


@pytest.mark.slow(seconds=4)
def test_command_receives_report_after_uploads_and_at_rerun(ready, notes):
    line = ("-m", *TINY, *BARE, "activation=relu,selu", "seed=0,1", notes.flag)

    done = succeeded(end(start(*line, outputs=ready)))
    rerun = succeeded(end(start(*line, outputs=ready)))

    assert done.stderr.count("sweep.on_end") == 0
    (report, variables, states), (repeated, *_) = notes.read()
    sweep = only_sweep(ready)
    assert report["sweep"] == sweep.id
    assert report["experiment"] == "lenet_exp"
    assert report["outcome"] == "finished"
    assert report["counts"] == {"finished": 4}
    assert report["verdict"] in done.stdout.splitlines()
    assert report["link"] == f"lenet-ui sweep={sweep.id}"
    assert report["command"] == sweep.started().command
    assert 0 < report["seconds"] < 60
    assert variables == [report[key] for key in ("sweep", "outcome", "verdict", "link")]
    assert states == ["FINISHED"]
    assert "already trained" in rerun.stderr
    assert repeated == report | {"seconds": 0.0}


@pytest.mark.slow(seconds=3)
def test_diverged_sweep_calls_command_and_keeps_status_1(ready, notes):
    line = ("-m", *TINY, "seed=0,1", "optimizer.lr=1e10", notes.flag)

    done = end(start(*line, outputs=ready))

    assert done.returncode == 1
    ((report, *_),) = notes.read()
    assert report["outcome"] == "finished"
    assert report["counts"] == {"diverged": 2}
    assert report["verdict"].startswith("No run finished: ")


@pytest.mark.slow(seconds=3)
def test_stopped_sweep_calls_command_and_keeps_status_130(ready, notes, tmp_path):
    line = ("-m", *WAITS, "sweep.workers=1", "seed=0,1", notes.flag)
    with waiting(*line, outputs=ready, tmp_path=tmp_path) as process:
        process.send_signal(signal.SIGINT)
        assert end(process).returncode == 130

    ((report, _, states),) = notes.read()
    assert report["outcome"] == "killed"
    assert report["counts"] == {"killed": 1, "not started": 1}
    assert states == ["KILLED"]


def edit(sweep: SweepFolder, name: str, change: Callable[[Any], None]) -> None:
    """Change the object in a file of a sweep, or each object of a .jsonl file, and remove the
    digests, as a file from release 0.1 has none.
    """
    path = sweep.path / name
    texts = [path.read_text()]
    if path.suffix == ".jsonl":
        texts = path.read_text().splitlines()

    lines = []
    for text in texts:
        value = json.loads(text)
        del value["digest"]
        change(value)
        lines.append(json.dumps(value) + "\n")
    path.write_text("".join(lines))


@pytest.fixture
def trap(tmp_path: Path) -> tuple[str, Path]:
    """Return a hook for a stored file, and the file that it would create."""
    return f"sweep.on_end='touch {tmp_path}/ran'", tmp_path / "ran"


@pytest.mark.slow(seconds=2)
def test_hooks_in_stored_files_of_grid_never_run(ready, trap, main, monkeypatch):
    """Resuming and confirming use the stored jobs."""
    flag, ran = trap
    line = ("-m", HERE, *TINY, *BARE, "activation=relu,selu", "seed=0,1")
    succeeded(lenet_train(*line, "sweep.on_end=/bin/true", outputs=ready))
    sweep = only_sweep(ready)
    assert "/bin/true" not in (sweep.path / "jobs.jsonl").read_text()

    def add_to_job(job: Any) -> None:
        job["config"]["sweep"]["on_end"] = f"touch {ran}"
        job["config"]["sweep"]["webhook"] = "http://h.org/x"  # as in release 0.3
        job["overrides"] += [flag, f"++{flag}", f"sweep={{on_end:'touch {ran}'}}"]

    def add_to_plan(plan: Any) -> None:
        plan["on_end"] = f"touch {ran}"
        plan["overrides"].append(flag)

    edit(sweep, "jobs.jsonl", add_to_job)
    edit(sweep, "sweep.json", add_to_plan)
    succeeded(lenet_train("-m", HERE, "sweep.resume=last", outputs=ready))

    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(ready))
    edit(sweep, "jobs.jsonl", add_to_job)
    assert "on_end" not in main("confirm=90", program="compare", status=0).stdout

    resume = ("-m", HERE, WEBHOOK, "sweep.resume=last")
    with receiving() as (address, reports):
        succeeded(lenet_train(*resume, outputs=ready, WEBHOOK=address))
    assert [report["counts"] for report in reports] == [{"finished": 4}]

    recipe = ready / "experiment" / "trap.yaml"
    recipe.parent.mkdir()
    recipe.write_text(f"# @package _global_\nsweep: {{on_end: touch {ran}}}\n")
    confirmation = (
        *line[:-1],
        f"hydra.searchpath=[file://{ready}]",
        "experiment=trap",
        f"sweep.confirms={sweep.id}",
        "sweep.points=90",
        "seed=range(1000,1003)",
    )
    succeeded(lenet_train(*confirmation, outputs=ready))

    assert not ran.exists()
    assert files_with(SECRET, ready) == []


@pytest.mark.slow(seconds=4)
def test_hooks_of_search_report_its_confirmation_too(ready):
    line = (
        "-m",
        "hydra/sweeper=search",
        *TINY,
        *BARE,
        "n_trials=4",
        "seeds=2",
        "confirm=50",
        "activation=relu,selu",
    )
    with receiving() as (address, reports):
        succeeded(end(start(*line, WEBHOOK, outputs=ready, env={"WEBHOOK": address})))

    confirmation, search = all_sweeps(ready)
    assert [report["sweep"] for report in reports] == [search.id, confirmation.id]
    assert all(CURL in report["command"] for report in reports)
    assert reports[1]["verdict"].startswith(("Confirmed", "Not confirmed"))
    assert files_with(SECRET, ready) == []


@pytest.mark.slow(seconds=3)
def test_hooks_in_stored_files_of_search_never_run(ready, trap):
    flag, ran = trap
    line = (
        "-m",
        "hydra/sweeper=search",
        *TINY,
        *BARE,
        "n_trials=2",
        "sweep.workers=1",
        "activation=relu,selu,tanh",
    )
    resume = ("-m", "sweep.resume=last", "n_trials=3")
    hooks_in_file = [flag, f"++{flag}", f"sweep={{on_end:'touch {ran}'}}"]
    with receiving() as (address, reports):
        env = {"WEBHOOK": address}
        succeeded(end(start(*line, WEBHOOK, outputs=ready, env=env)))
        edit(only_sweep(ready), "sweep.json", lambda plan: plan["overrides"].extend(hooks_in_file))
        succeeded(end(start(*resume, WEBHOOK, outputs=ready, env=env)))

    assert [report["counts"] for report in reports] == [{"finished": 2}, {"finished": 3}]
    assert not ran.exists()
    assert files_with(SECRET, ready) == []
