"""A real Ray cluster of two nodes on loopback addresses, which are lost, drained, or unsuitable."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from tests.executors.slurm.slurm_cluster import kill_all
from tests.sweeps.race.race_results import LONG_RACE, kill_often, trained
from tests.tools.commands import SMALL, end, free_port, lenet_train, start, succeeded
from tests.tools.counts import counts
from tests.tools.stores import client, points, runs
from tests.tools.until import until

pytest.importorskip("ray", reason="the extra ray is not installed")
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
HEAD, NODE, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
EPOCHS = 10
LONG = (*SMALL, "num_epoch=300", "num_threads=1", "tracking.plots=false", "tracking.models=none")
LINE = (
    *SMALL,
    "tracking.plots=false",
    "tracking.models=none",
    f"num_epoch={EPOCHS}",
    "num_threads=1",
    "hydra/sweeper=search",
    "search.sampler=grid",
    "activation=rrelu,selu",
    "optimizer.lr=0.02,0.015,0.01,0.002",
)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the flags with which a sweep uses it."""

    folder: Path
    port: int

    @property
    def line(self) -> tuple[str, ...]:
        return (
            "hydra/launcher=cluster_ray",
            f"hydra.launcher.address={HEAD}:{self.port}",
            f"+hydra.launcher.init._node_ip_address={HEAD}",
        )

    def ray(self, *arguments: str, modules: Path | None = None) -> None:
        """Run a command of Ray, whose processes import modules from the folder `modules` first."""
        folders = [folder for folder in sys.path if folder]
        if modules is not None:
            folders.insert(0, str(modules))
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(folders)}
        command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def start_node(self, address: str, modules: Path | None = None) -> None:
        self.ray(
            "start",
            "--address",
            f"{HEAD}:{self.port}",
            "--num-cpus",
            "1",
            "--node-ip-address",
            address,
            "--object-store-memory",
            "100000000",
            modules=modules,
        )

    def daemon(self, address: str) -> psutil.Process:
        """Return the daemon of a node."""
        words_of_daemon = {"raylet", f"--node_ip_address={address}"}
        daemons = []
        for process in psutil.process_iter(["cmdline"]):
            words = {Path(word).name for word in process.info["cmdline"] or []}
            if words_of_daemon <= words:
                daemons.append(process)
        (daemon,) = daemons
        return daemon

    def lose_node(self) -> int:
        """Kill a node's daemon and all its processes, as in a power failure, and return their
        number.
        """
        daemon = self.daemon(NODE)
        processes = {daemon, *daemon.children(recursive=True)}
        return kill_all(lambda process: process in processes)

    def end(self) -> None:
        """Kill the processes of this cluster only, because the user may run others."""
        kill_all(lambda process: str(self.folder) in " ".join(process.cmdline()))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster without worker nodes, in a folder with a short path, because socket paths are
    limited to 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        started = Cluster(Path(folder), free_port())
        try:
            started.ray(
                "start",
                "--head",
                "--num-cpus",
                "0",
                "--port",
                str(started.port),
                "--node-ip-address",
                HEAD,
                "--include-dashboard=false",
                "--object-store-memory",
                "100000000",
                "--temp-dir",
                folder,
            )
            yield started
        finally:
            started.end()


@pytest.mark.slow(seconds=38)
def test_search_on_ray_survives_kill_and_loss_of_node(cluster, ready, tmp_path):
    def begun(*more: str) -> subprocess.Popen[str]:
        return start("-m", *LINE, *cluster.line, *more, outputs=ready, cold=True, env=ENVIRONMENT)

    def wait_for(records: int, process: subprocess.Popen[str]) -> None:
        until(lambda: len(list(ready.glob("runs/*/record.json"))) >= records, process)

    def runs_by_fingerprint(outputs: Path) -> dict[str, Run]:
        return {run.data.tags["fingerprint"]: run for run in runs(client(outputs))}

    killed = begun()
    next(text for text in killed.stderr if "waiting for a node" in text)
    for address in (NODE, OTHER):
        cluster.start_node(address)
    wait_for(1, killed)
    killed.kill()
    end(killed)

    process = begun()
    wait_for(3, process)
    assert cluster.lose_node() > 2
    succeeded(end(process))

    refused = end(begun("hydra.launcher.cpus=64", "seed=9"))
    assert refused.returncode == 2, refused.stderr
    assert "CPU=64" in refused.stderr.splitlines()[-1], refused.stderr
    # the refused sweep leaves nothing
    assert len([path for path in ready.glob("sweeps/*") if path.is_dir()]) == 1

    succeeded(lenet_train("-m", *LINE, outputs=tmp_path / "local"))
    assert {run.info.status for run in runs(client(ready), "sweep")} == {"FINISHED"}
    on_ray = runs_by_fingerprint(ready)
    on_this_machine = runs_by_fingerprint(tmp_path / "local")
    assert on_ray.keys() == on_this_machine.keys()
    assert {run.info.status for run in on_ray.values()} == {"FINISHED"}
    assert {run.data.tags["outcome"] for run in on_ray.values()} == {"finished", "pruned"}

    compared = 0  # which runs are pruned depends on their order
    for fingerprint, run in on_ray.items():
        tags = run.data.tags
        other_tags = on_this_machine[fingerprint].data.tags
        if tags["outcome"] == other_tags["outcome"] == "finished":
            assert tags["weights_digest"] == other_tags["weights_digest"]
            curve = points(client(ready), run.info.run_id)["val_accuracy"]
            assert [epoch for epoch, _, _ in curve] == list(range(1, EPOCHS + 1))
            compared += 1
    assert compared > 0


@pytest.mark.by_hand
def test_run_on_drained_node_resumes_and_costs_a_retry(cluster, ready):
    command = ("-m", *LONG, "seed=1,2", *cluster.line, "sweep.retries=0")
    for address in (NODE, OTHER):
        cluster.start_node(address)
    process = start(*command, outputs=ready, cold=True, env=ENVIRONMENT)
    until(lambda: len(list(ready.glob("runs/*/history.json"))) == 2, process)

    cluster.daemon(NODE).terminate()  # Ray drains a node whose daemon receives SIGTERM

    done = end(process)
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes, _, _ = counts(done)
    assert outcomes == {"finished": 1, "failed": 1}
    succeeded(end(start(*command, outputs=ready, cold=True, env=ENVIRONMENT)))
    resumed = sorted(run.data.tags.get("resumed", "0") for run in runs(client(ready)))
    assert resumed == ["0", "1"]


def without_lenet_exp(modules: Path) -> None:
    """Write a module that is imported in place of lenet_exp and fails like a missing one."""
    fails = "raise ModuleNotFoundError(\"No module named 'lenet_exp'\")"
    (modules / "lenet_exp.py").write_text(f"open({str(modules / 'tried')!r}, 'w')\n{fails}\n")


def with_other_torch(modules: Path) -> None:
    """Write the metadata of another version of PyTorch, which only `importlib.metadata` reads."""
    folder = modules / "torch-0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")


@pytest.mark.by_hand
@pytest.mark.parametrize("make_bad", [without_lenet_exp, with_other_torch])
def test_sweep_continues_without_unsuitable_node(make_bad, cluster, ready, workdir, tmp_path):
    make_bad(tmp_path)
    cluster.start_node(NODE)
    command = ("-m", *LONG, "seed=range(4)", *cluster.line)
    # Ray's workers also import modules from the sweep's working directory: not from the checkout.
    process = start(*command, outputs=ready, cold=True, cwd=workdir, env=ENVIRONMENT)
    until(lambda: list(ready.glob("runs/*/history.json")), process)

    cluster.start_node(OTHER, modules=tmp_path)

    done = succeeded(end(process))
    a_worker_started = (tmp_path / "tried").exists() or done.stderr.count("PyTorch 0.1") == 1
    assert a_worker_started
    assert counts(done) == ({"finished": 4}, 4, 0)
    assert [run.info.status for run in runs(client(ready))] == ["FINISHED"] * 4


@pytest.mark.by_hand
def test_race_killed_on_ray_ends_with_the_same_runs(cluster, ready, tmp_path):
    for address in (NODE, OTHER):
        cluster.start_node(address)
    on_ray = (*LONG_RACE, *cluster.line)
    ended_at_kill = kill_often(on_ray, ready, ENVIRONMENT)

    succeeded(end(start(*on_ray, outputs=ready, cold=True, env=ENVIRONMENT)))

    local = tmp_path / "local"
    succeeded(lenet_train(*LONG_RACE, outputs=local))
    assert trained(ready) == trained(local)
    unfinished = [count for count in ended_at_kill if count < len(trained(ready))]
    assert len(unfinished) >= 10
