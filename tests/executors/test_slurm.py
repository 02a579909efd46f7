"""A real Slurm of two nodes; allocations are cancelled, nodes are lost, and the sweep's own process is killed."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import SMALL, Done, end, start
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
    until(lambda: trained(ready) >= 3)
    lost = allocation_on("n1")
    assert cluster.lose_node("n1") > 2
    until(lambda: trained(ready) >= 5)
    killed.kill()
    end(killed)
    goes_on = begun()
    until(lambda: "n1 down*" in cluster.command("sinfo", "--noheader", "--Node", "--format=%N %T"))
    assert goes_on.poll() is None
    cluster.start_node("n1")
    until(lambda: list(ready.glob(f"sweeps/*/slurm/*/beats/{lost}-1-*")))
    cluster.command("scancel", allocation_on("n0"))
    done = end(goes_on)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 runs: 24 finished" in done.stdout
    assert "Slurm: 1 allocation submitted" in done.stderr  # in place of the one that was cancelled
    assert "Slurm: 2 allocations submitted" not in done.stderr  # those of the start that was killed went on
    check_whole(ready, 24)
    local = sweep(None, *GRID, outputs=tmp_path / "local")
    assert local.returncode == 0, local.stderr
    assert digests(ready) == digests(tmp_path / "local")
