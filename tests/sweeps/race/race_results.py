"""The command of a small race, and what its sweep folder holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.race import SweepRace
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from tests.tools.commands import SMALL, end, start
from tests.tools.until import until

BARE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false", "tracking.models=none")
GRID = ("-m", *BARE, "activation=selu,tanh", "optimizer.lr=0.03,0.001", "seed=range(3)")
# a race that takes about 30 s on two workers
LONG_RACE = (
    *("-m", *SMALL, "num_epoch=60", "num_threads=1", "tracking.plots=false"),
    *("tracking.models=none", "activation=selu,tanh", "optimizer.lr=0.01,0.003"),
    *("seed=range(3)", "sweep.within=0.3"),
)
BASIC = "hydra/launcher=basic"
TWO = "activation=relu,selu"
WITHIN = "sweep.within=3"


def last_sweep(outputs: Path) -> SweepFolder:
    return all_sweeps(outputs)[0]


def trained(outputs: Path) -> list[tuple[str, int]]:
    """Return the name of the configuration and the seed of all runs of the last sweep, sorted."""
    jobs = last_sweep(outputs).jobs()
    assert all(job.folder.checked_result() for job in jobs)
    configs = [job.config for job in jobs]
    return sorted(
        (f"{config.activation['name']} {config.optimizer['lr']}", config.seed) for config in configs
    )


def comparisons_of(outputs: Path) -> list[Comparison]:
    """Compare the runs of the last sweep."""
    sweep = last_sweep(outputs)
    return list(compare_sweep(sweep, job_results(sweep, sweep.jobs(), since_ms=0)))


def race_of(outputs: Path) -> SweepRace:
    """Return the race of the last sweep, which has one dataset."""
    (comparison,) = comparisons_of(outputs)
    assert comparison.race is not None
    return comparison.race


def kill_often(command: Sequence[str], outputs: Path, environment: Mapping[str, str]) -> list[int]:
    """Start a command of a race 20 times, and kill it after at most eight seconds.

    Returns:
        The number of runs that had ended at each kill.
    """
    random = Random(0)
    ended = []
    for _ in range(20):
        process = start(*command, outputs=outputs, cold=True, env=environment)
        until(lambda: any(outputs.glob("sweeps/*/sweep.json")), process)
        time.sleep(random.uniform(0.5, 8.0))
        ended.append(len(list(outputs.glob("runs/*/record.json"))))
        process.kill()
        end(process)
    return ended
