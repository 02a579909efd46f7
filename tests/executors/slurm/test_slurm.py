"""A search whose command is a Slurm job, on a real cluster of two nodes, loses a node, is stopped,
and resumes.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.slurm.slurm_cluster import Slurm, slurm, why_not
from tests.sweeps.race.race_results import LONG_RACE, kill_often
from tests.sweeps.race.race_results import trained as race_runs
from tests.tools.commands import ROOT, SMALL, Done, end, lenet_train, start, succeeded
from tests.tools.stores import client, runs
from tests.tools.until import until

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

TRIALS = 12
SEARCH = (
    *SMALL,
    "tracking.plots=false",
    "tracking.models=none",
    "num_epoch=6",
    "hydra/sweeper=search",
    f"n_trials={TRIALS}",
    "sweep.workers=1",
    "optimizer.lr=tag(log,interval(1e-3,0.05))",
    "activation=selu,relu",
)
ON_SLURM = (
    "hydra/launcher=cluster_slurm",
    "hydra.launcher.lost_after=10",
    "hydra.launcher.time=1:00:00",
    "+hydra.launcher.sbatch.nice=100",
)


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)) as started:
        yield started


def ended(outputs: Path) -> list[tuple[str, str, str]]:
    """Return the results of runs, which must not depend on the executor."""
    store = client(outputs)
    assert {sweep.info.status for sweep in runs(store, "sweep")} == {"FINISHED"}
    results = []
    for run in runs(store):
        assert run.info.status == "FINISHED"
        tags = run.data.tags
        results.append((run.info.run_name, tags["outcome"], tags.get("weights_digest", "")))
    return results


@pytest.mark.slow(seconds=35)
def test_search_in_slurm_job_survives_node_loss_and_stop_like_local_sweep(cluster, ready, tmp_path):
    """The search's command is a Slurm job on one node, and the runs are on the other."""

    def typed(*arguments: str, program: str = "train") -> Done:
        done = end(start(*arguments, outputs=ready, program=program, env=cluster.environment))
        assert "Traceback" not in done.stderr
        return done

    def trained() -> int:
        return len(list(ready.glob("runs/*/record.json")))

    def node_of_runs() -> str:
        living = "\n".join(cluster.living())
        (node,) = re.findall(rf"^(?!{job}_)\S+ RUNNING (\w+)$", living, re.MULTILINE)
        return node

    line = ("-m", *SEARCH, *ON_SLURM)
    refused = typed(*line, "hydra.launcher.partition=nope")
    assert refused.returncode == 2
    assert "nope" in refused.stderr.splitlines()[-1]
    assert not [path for path in ready.glob("*s/*") if path.is_dir()]  # nothing is left behind

    command = f"exec {shlex.join([sys.executable, '-m', 'lenet_exp', 'train', *line])}"
    export = f"--export=ALL,LENET_EXP_OUTPUTS={ready},PYTHONPATH={ROOT}"
    options = (
        "--parsable",
        "--time=2-0",
        "--signal=B:TERM@120",
        f"--output={tmp_path}/log",
        export,
    )
    job = cluster.command("sbatch", *options, "--wrap", command).strip()
    until(lambda: trained() >= 2)

    node = node_of_runs()
    assert cluster.lose_node(node) > 2
    trained_before_loss = trained()
    cluster.start_node(node)
    until(lambda: trained() > trained_before_loss)
    assert "Slurm allocations: 1 RUNNING" in typed("status", program="sweep").stdout

    stopped = typed("stop", program="sweep")
    assert stopped.returncode == 0
    assert stopped.stderr == ""
    until(lambda: not cluster.living())
    assert trained() < TRIALS

    succeeded(typed(*line))
    until(lambda: not cluster.living())
    succeeded(lenet_train("-m", *SEARCH, outputs=tmp_path / "local"))
    assert ended(ready) == ended(tmp_path / "local")
    assert {outcome for _, outcome, _ in ended(ready)} == {"finished", "pruned"}


@pytest.mark.by_hand
def test_race_killed_on_slurm_ends_with_the_same_runs(cluster, ready, tmp_path):
    on_slurm = (*LONG_RACE, *ON_SLURM)
    ended_at_kill = kill_often(on_slurm, ready, cluster.environment)

    succeeded(end(start(*on_slurm, outputs=ready, cold=True, env=cluster.environment)))

    until(lambda: not cluster.living())
    local = tmp_path / "local"
    succeeded(lenet_train(*LONG_RACE, outputs=local))
    assert race_runs(ready) == race_runs(local)
    unfinished = [count for count in ended_at_kill if count < len(race_runs(ready))]
    assert len(unfinished) >= 10
