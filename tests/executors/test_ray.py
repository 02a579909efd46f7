"""A real Ray cluster of two nodes, on two loopback addresses of this machine; one of them is lost in mid-sweep."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import SMALL, Done, end, free_port, start
from tests.stores import client, points, runs

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow(seconds=60)

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
HEAD, NODE = "127.0.0.2", "127.0.0.3"
EPOCHS = 15
QUIET = ("tracking.plots=false", "tracking.models=none")
LINE = (*SMALL, *QUIET, f"num_epoch={EPOCHS}", "activation=rrelu,selu", "seed=range(12)")


@dataclass(frozen=True)
class Cluster:
    """Where it answers, and how a sweep gets there."""

    folder: Path
    port: int

    @property
    def line(self) -> tuple[str, ...]:
        return (
            "hydra/launcher=cluster_ray",
            f"hydra.launcher.address={HEAD}:{self.port}",
            f"+hydra.launcher.init._node_ip_address={HEAD}",
        )

    def ray(self, *arguments: str) -> None:
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def start_node(self) -> None:
        self.ray("start", "--address", f"{HEAD}:{self.port}", "--num-cpus", "1", "--node-ip-address", NODE,
                 "--object-store-memory", "100000000")  # fmt: skip

    def lose_node(self) -> int:
        """As if its power were cut: the node's daemon and all that it started die at once; how many."""
        lost = [pid for pid, line in _processes().items() if "raylet" in line and f"--node_ip_address={NODE}" in line]
        assert lost
        for pid in lost:  # grows: children of children
            lost += [child for child, parent in _parents().items() if parent == pid and child not in lost]
        for pid in lost:
            os.kill(pid, signal.SIGKILL)
        return len(lost)

    def end(self) -> None:
        """Of this cluster alone: others of this user's may run."""
        for pid, line in _processes().items():
            if str(self.folder) in line and pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _processes() -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def _parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """In a folder with a short name: the path of a socket has an end at 107 letters."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        found = Cluster(Path(folder), free_port())
        try:
            found.ray("start", "--head", "--num-cpus", "1", "--port", str(found.port), "--node-ip-address", HEAD,
                      "--include-dashboard=false", "--object-store-memory", "100000000", "--temp-dir", folder,
                      "--resources", '{"left": 1}')  # fmt: skip
            found.start_node()
            yield found
        finally:
            found.end()


def sweep(*arguments: str, outputs: Path) -> Done:
    return end(start("-m", *arguments, outputs=outputs, cold=True, env=ENVIRONMENT))


def digests(outputs: Path) -> dict[str, str]:
    return {run.data.tags["fingerprint"]: run.data.tags["weights_digest"] for run in runs(client(outputs))}


def test_neither_a_sweep_nor_a_node_that_is_killed_costs_what_was_committed(cluster, ready, tmp_path):
    def begun(records: int) -> subprocess.Popen[str]:
        process = start("-m", *LINE, *cluster.line, outputs=ready, cold=True, env=ENVIRONMENT)
        while len(list(ready.glob("runs/*/record.json"))) < records:
            assert process.poll() is None, end(process).stderr
            time.sleep(0.1)
        return process

    killed = begun(3)
    killed.kill()
    end(killed)
    process = begun(8)
    assert cluster.lose_node() > 2
    done = end(process)
    assert done.returncode == 0, done.stderr
    assert "24 runs: 24 finished" in done.stdout
    store = client(ready)
    found = runs(store)
    assert [run.info.status for run in found] == ["FINISHED"] * 24
    assert {run.info.status for run in runs(store, "sweep")} == {"FINISHED"}
    for run in found:
        assert [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == list(range(1, EPOCHS + 1))
    local = sweep(*LINE, outputs=tmp_path / "local")
    assert local.returncode == 0, local.stderr
    assert digests(ready) == digests(tmp_path / "local")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("hydra.launcher.cpus=64",), "no node has CPU=64 for a run; the most that one has: CPU=1"),
        (("+hydra.launcher.resources.right=1",), "no node has CPU=1, right=1 for a run; the most that one has: CPU=1"),
        (("hydra.launcher.address=127.0.0.2:9",), "hydra.launcher.address=127.0.0.2:9: no Ray cluster answers there"),
        (("hydra/sweeper=basic",), "hydra/launcher=cluster_ray: allowed with it is hydra/sweeper=grid or search"),
    ],
)  # fmt: skip
def test_what_the_cluster_cannot_do_is_one_line(cluster, ready, more, said):
    done = sweep(*SMALL, "num_epoch=1", "seed=0,1", *cluster.line, *more, outputs=ready)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not [path for path in ready.glob("*s/*") if path.is_dir()]  # nothing is left of it
    assert client(ready).get_experiment_by_name("lenet_exp") is None


def test_runs_go_where_the_resources_are(cluster, ready):
    done = sweep(*SMALL, "num_epoch=1", "seed=0,1", *cluster.line, "+hydra.launcher.resources.left=1", outputs=ready)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished; 2 trained" in done.stdout


def test_a_search_prunes_and_ends_as_it_does_on_one_machine(cluster, ready, tmp_path):
    pytest.importorskip("optuna")
    space = ("optimizer.lr=tag(log,interval(1e-3,0.05))", "activation=selu,relu")
    line = (*SMALL, *QUIET, "num_epoch=4", "hydra/sweeper=search", "n_trials=20", "sweep.workers=1", *space)
    done, local = sweep(*line, *cluster.line, outputs=ready), sweep(*line, outputs=tmp_path / "local")
    assert (done.returncode, local.returncode) == (0, 0), done.stderr + local.stderr
    ended = [[(r.info.run_name, r.data.tags["outcome"]) for r in runs(client(o))] for o in (ready, tmp_path / "local")]
    assert ended[0] == ended[1]
    assert digests(ready) == digests(tmp_path / "local")
    assert "pruned" in {outcome for _, outcome in ended[0]}


PAGE = (ROOT / "docs" / "clusters.md").read_text().partition("\n## Ray\n")[2].partition("\n## ")[0]
TYPED = re.findall(r"^lenet-train (.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", TYPED)
def test_what_the_page_on_clusters_says_to_type_is_right(cluster, ready, command):
    """With fewer and smaller runs, and the address of the test's cluster for that of this machine's."""
    words = [word.replace("range(100)", "range(2)") for word in shlex.split(command)]
    if "hydra.launcher.address=auto" in words:
        words = [word for word in words if word != "hydra.launcher.address=auto"] + list(cluster.line[1:])
    done = end(start(*words, *SMALL, *QUIET, "num_epoch=1", outputs=ready, cold=True, env=ENVIRONMENT))
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), (done.stdout, done.stderr)
    assert "2 runs: 2 finished" in done.stdout
