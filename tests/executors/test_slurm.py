"""A real Slurm of two nodes; allocations are cancelled, nodes are lost, and the sweep's own process is killed."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT, SMALL, Done, end, start
from tests.executors.slurm_cluster import Slurm, slurm, why_not
from tests.stores import client, points, runs

pytestmark = [pytest.mark.slow(seconds=60), pytest.mark.skipif(bool(why_not()), reason=why_not())]

EPOCHS = 40
QUIET = ("tracking.plots=false", "tracking.models=none")
GRID = (*SMALL, *QUIET, f"num_epoch={EPOCHS}", "activation=rrelu,selu", "seed=range(12)")
ON_SLURM = ("hydra/launcher=cluster_slurm", "hydra.launcher.lost_after=10")
TWO = (*ON_SLURM, "hydra.launcher.allocations=2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster: Slurm) -> Iterator[None]:
    """Of a sweep in the queue, once it has ended."""
    yield
    until(lambda: not cluster.living(), 30)


def sweep(cluster: Slurm | None, *arguments: str, outputs: Path, program: str = "train") -> Done:
    dash_m = ("-m",) if program == "train" else ()
    environment = cluster.environment if cluster is not None else {}
    return end(start(*dash_m, *arguments, outputs=outputs, program=program, env=environment))


def until(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def trained(outputs: Path) -> int:
    return len(list(outputs.glob("runs/*/record.json")))


def digests(outputs: Path) -> dict[str, str]:
    return {run.data.tags["fingerprint"]: run.data.tags["weights_digest"] for run in runs(client(outputs))}


def check_whole(outputs: Path, count: int) -> None:
    """Every run of a grid finished once, and nothing looks as if it still ran."""
    store = client(outputs)
    found = runs(store)
    assert [run.info.status for run in found] == ["FINISHED"] * count
    assert {run.info.status for run in runs(store, "sweep")} == {"FINISHED"}
    for run in found:
        assert [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == list(range(1, EPOCHS + 1))


@pytest.mark.slow(seconds=110)
def test_nothing_is_lost_by_a_node_an_allocation_or_the_sweeps_own_process(cluster, ready, tmp_path):
    def begun() -> subprocess.Popen[str]:
        return start("-m", *GRID, *TWO, outputs=ready, env=cluster.environment)

    def allocation_on(node: str) -> str:
        return next((line.split()[0] for line in cluster.living() if line.endswith(f"RUNNING {node}")), "")

    killed = begun()
    until(lambda: trained(ready) >= 3 and len(list(ready.glob("sweeps/*/slurm/*/beats/*"))) == 2)
    lost = allocation_on("n1")
    assert cluster.lose_node("n1") > 2
    until(lambda: trained(ready) >= 5)
    killed.kill()
    end(killed)
    goes_on = begun()
    cluster.start_node("n1")
    until(lambda: list(ready.glob(f"sweeps/*/slurm/*/beats/{lost}-1-*")))
    cluster.command("scancel", allocation_on("n0"))
    done = end(goes_on)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 runs: 24 finished" in done.stdout
    assert "Slurm: 1 allocation submitted" in done.stderr  # in place of the one that was cancelled
    assert "Slurm: 2 allocations submitted" not in done.stderr  # those of the start that was killed went on
    assert re.search(r"Slurm: \d allocations? of an earlier start taken over", done.stderr)
    assert re.search(r"Slurm: allocation \S+: CANCELLED; ", done.stderr)
    check_whole(ready, 24)
    local = sweep(None, *GRID, outputs=tmp_path / "local")
    assert local.returncode == 0, local.stderr
    assert digests(ready) == digests(tmp_path / "local")


@pytest.mark.slow(seconds=40)
def test_a_search_prunes_and_ends_as_it_does_on_one_machine_though_its_allocation_is_taken(cluster, ready, tmp_path):
    pytest.importorskip("optuna")
    space = ("optimizer.lr=tag(log,interval(1e-3,0.05))", "activation=selu,relu")
    line = (*SMALL, *QUIET, "num_epoch=4", "hydra/sweeper=search", "n_trials=20", "sweep.workers=1", *space)
    process = start("-m", *line, *ON_SLURM, outputs=ready, env=cluster.environment)
    until(lambda: trained(ready) >= 6)
    cluster.command("scancel", cluster.living()[0].split()[0])
    done, local = end(process), sweep(None, *line, outputs=tmp_path / "local")
    assert (done.returncode, local.returncode) == (0, 0), done.stderr + local.stderr
    ended = [[(r.info.run_name, r.data.tags["outcome"]) for r in runs(client(o))] for o in (ready, tmp_path / "local")]
    assert ended[0] == ended[1]
    assert digests(ready) == digests(tmp_path / "local")
    assert "pruned" in {outcome for _, outcome in ended[0]}


@pytest.mark.slow(seconds=60)
def test_a_detached_sweep_goes_on_by_itself_is_watched_stopped_and_picked_up_by_the_same_line(cluster, ready):
    """Its process is a job of Slurm, on one node; its runs are on the other."""
    line = (*SMALL, *QUIET, f"num_epoch={EPOCHS}", "seed=range(8)", *ON_SLURM)
    for said in ("Slurm's job", "runs already"):  # typed twice, it is submitted once
        done = sweep(cluster, *line, "sweep.detach=true", outputs=ready)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    status = sweep(cluster, "status", outputs=ready, program="sweep")
    assert re.search(r"Slurm's job \d+ drives it|running \(", status.stdout), status.stdout
    until(lambda: trained(ready) >= 2)
    stopped = sweep(cluster, "stop", outputs=ready, program="sweep")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert "has stopped; to go on" in stopped.stdout
    until(lambda: not cluster.living())
    assert trained(ready) < 8
    again = sweep(cluster, *line, "sweep.detach=true", outputs=ready)
    assert again.returncode == 0, again.stderr
    had = trained(ready)
    until(lambda: trained(ready) > had)
    (driver,) = re.findall(r"Slurm's job (\d+)", again.stderr)
    cluster.command("scancel", "--batch", "--signal=USR2", driver)  # as when its time is up: it is queued once more
    watched = sweep(cluster, "watch", outputs=ready, program="sweep")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert f"Slurm's job {driver} drives it (PENDING" in watched.stdout
    assert watched.stdout.splitlines()[-1] == "8 finished"
    check_whole(ready, 8)
    (log,) = ready.glob(f"sweeps/*/slurm/driver-{driver}.log")
    assert log.read_text().count("(goes on with") == 2
    same = sweep(cluster, *line, outputs=ready)
    assert "8 runs: 8 finished; 0 trained (8 had been trained before)" in same.stdout


@pytest.mark.slow(seconds=25)
def test_status_says_what_waits_in_the_queue_while_the_sweep_runs(cluster, ready):
    line = (*SMALL, *QUIET, "num_epoch=300", "seed=range(3)", "hydra.launcher.allocations=3", *ON_SLURM)
    process = start("-m", *line, outputs=ready, env=cluster.environment)
    until(lambda: sum("RUNNING" in job for job in cluster.living()) == 2)
    status = sweep(cluster, "status", outputs=ready, program="sweep")
    (said,) = [line for line in status.stdout.splitlines() if "in Slurm's queue" in line]
    assert re.fullmatch(r"its allocations in Slurm's queue: 2 RUNNING, 1 PENDING \(\w+\)", said)
    sweep(cluster, "stop", outputs=ready, program="sweep")
    assert end(process).returncode == 143


@pytest.mark.slow(seconds=25)
def test_slurms_notice_has_a_run_commit_first_and_costs_it_no_try(cluster, ready):
    line = (*SMALL, *QUIET, "num_epoch=150", "seed=1", "sweep.retries=0", *ON_SLURM)
    process = start("-m", *line, outputs=ready, env=cluster.environment)
    until(lambda: list(ready.glob("runs/*/history.json")))
    (allocation,) = [job.split()[0] for job in cluster.living()]
    cluster.command("scancel", "--signal=USR2", allocation)
    done = end(process)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("1 allocation submitted") == 2
    (run,) = runs(client(ready))
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "finished")
    (log,) = ready.glob("runs/*/run.log")
    assert "goes on" in log.read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("hydra.launcher.partition=nope",), "hydra/launcher=cluster_slurm: sbatch: invalid partition specified: nope"),
        (("+hydra.launcher.sbatch.gres=gpu:9",), "hydra/launcher=cluster_slurm: sbatch: "),
        (("hydra.launcher.allocations=0",), "hydra.launcher.allocations=0: allowed is 1 or more"),
        (("hydra/sweeper=basic",), "hydra/launcher=cluster_slurm: allowed with it is hydra/sweeper=grid or search"),
    ],
)  # fmt: skip
@pytest.mark.slow(seconds=4)
def test_what_slurm_cannot_do_is_one_line(cluster, ready, more, said):
    done = sweep(cluster, *SMALL, *QUIET, "num_epoch=1", "seed=0,1", *ON_SLURM, *more, outputs=ready)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not [path for path in ready.glob("*s/*") if path.is_dir()]  # nothing is left behind


@pytest.mark.slow(seconds=4)
def test_a_sweep_of_this_machine_can_not_be_detached(ready):
    done = sweep(None, *SMALL, "seed=0,1", "sweep.detach=true", outputs=ready)
    assert done.returncode == 2
    said = "lenet-train: sweep.detach=true: allowed with it is hydra/launcher=cluster_slurm"
    assert done.stderr.splitlines()[-1] == said


@pytest.mark.slow(seconds=4)
def test_without_slurms_commands_that_is_said(ready, tmp_path):
    done = end(start("-m", *SMALL, "seed=0,1", *ON_SLURM, outputs=ready, env={"PATH": str(tmp_path)}))
    assert done.returncode == 2
    assert "there is no sbatch on this machine's PATH" in done.stderr.splitlines()[-1]


@pytest.mark.slow(seconds=20)
def test_a_node_that_does_not_see_the_outputs_folder_or_has_another_lenet_exp_is_one_line(
    cluster, empty_store, tmp_path
):
    def said(outputs: Path, *more: str) -> str:
        done = sweep(cluster, *SMALL, *QUIET, "num_epoch=1", "seed=range(6)", *ON_SLURM, *more, outputs=outputs)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert not list(outputs.glob("runs/*/record.json"))
        return done.stderr.splitlines()[-1]

    cluster.start_apart()
    hidden = Path(shutil.copytree(empty_store, cluster.folder / "hidden" / "outputs"))
    line = said(hidden, "hydra.launcher.partition=apart", "hydra.launcher.allocations=5")
    assert "the outputs folder has to be one that all nodes share" in line
    other = tmp_path / "other"
    for name in ("lenet_exp", "conf"):
        shutil.copytree(ROOT / name, other / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "lenet_exp" / "seeds.py").open("a") as file:
        file.write("# another\n")
    outputs = Path(shutil.copytree(empty_store, tmp_path / "outputs"))
    line = said(outputs, f"hydra.launcher.before=['export PYTHONPATH={other}']")
    assert re.search(r"node \S+ has another lenet_exp \(\w{12}, here \w{12}\)", line), line


PAGE = (ROOT / "docs" / "clusters.md").read_text().partition("\n## Slurm\n")[2].partition("\n## ")[0]
TYPED = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
SMALLER = {"range(100)": "range(2)", "range(1000)": "range(4)", "range(200)": "range(3)", "tasks=32": "tasks=2",
           "allocations=4": "allocations=1"}  # fmt: skip


@pytest.mark.slow(seconds=60)
def test_what_the_page_on_clusters_says_to_type_is_right(cluster, ready):
    """In their order, each with fewer and smaller runs."""
    assert len(TYPED) >= 7
    for command in TYPED:
        program, *words = shlex.split(command)
        words = [functools.reduce(lambda word, pair: word.replace(*pair), SMALLER.items(), word) for word in words]
        if program == "lenet-train":
            words += [*SMALL, *QUIET, f"num_epoch={100 if 'sweep.detach=true' in words else 1}"]
        done = end(start(*words, outputs=ready, program=program.removeprefix("lenet-"), env=cluster.environment))
        if words[0] == "stop":  # it has ended by then
            assert done.stderr.endswith("is not running\n")
        else:
            assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), (command, done.stdout, done.stderr)
