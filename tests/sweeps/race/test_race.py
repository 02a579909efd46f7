"""Sweeps that add seeds until the best configuration is known (`sweep.within`)."""

from __future__ import annotations

import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.comparison.part import select_part
from lenet_exp.comparison.race import CandidateState
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.reports.comparison_records import records
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.verdict import verdict
from tests.tools.commands import SMALL, Done, end, lenet_train, start, succeeded
from tests.tools.until import until

BARE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false", "tracking.models=none")
GRID = ("-m", *BARE, "activation=selu,tanh", "optimizer.lr=0.03,0.001", "seed=range(3)")
BASIC = "hydra/launcher=basic"
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


def race_of(outputs: Path):
    (comparison,) = comparisons_of(outputs)
    return comparison.race


def comparisons_of(outputs: Path):
    sweep = last_sweep(outputs)
    return compare_sweep(sweep, job_results(sweep, sweep.jobs(), since_ms=0))


@pytest.fixture(scope="module")
def raced(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The outputs folder of a race, and the command that trained it."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("within") / "outputs"))
    return outputs, succeeded(lenet_train(*GRID, WITHIN, "sweep.workers=2", outputs=outputs))


@pytest.fixture
def copy(raced: tuple[Path, Done], tmp_path: Path) -> Path:
    return Path(shutil.copytree(raced[0], tmp_path / "outputs"))


def test_race_ends_when_no_other_could_be_better_by_more(raced):
    outputs, done = raced
    race = race_of(outputs)
    assert race.decided
    assert race.bound <= 0.03
    assert race.seeds > 3
    runs = trained(outputs)
    assert len(runs) == len(race.requested)
    seeds = [sum(name == other for other, _ in runs) for name, _ in dict(runs).items()]
    assert min(seeds) == 3  # those that are clearly worse get no more seeds
    assert max(seeds) == race.seeds
    assert "(error rate 5%)" in done.stdout


@pytest.mark.parametrize("flags", [(), (WITHIN,)], ids=["without", "with"])
def test_repeated_command_trains_nothing_and_reports_the_same(raced, copy, flags):
    runs = trained(copy)
    again = succeeded(lenet_train(*GRID, *flags, BASIC, outputs=copy))
    assert trained(copy) == runs
    assert "0 trained" in again.stdout
    assert verdict_line(again) == verdict_line(raced[1])


def verdict_line(done: Done) -> str:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Use ")]
    return line


def test_fixed_sweep_continued_by_the_flag_ends_with_the_same_runs(raced, ready):
    succeeded(lenet_train(*GRID, BASIC, outputs=ready))
    sweep = last_sweep(ready).id
    succeeded(lenet_train("-m", BASIC, f"sweep.resume={sweep}", WITHIN, outputs=ready))
    assert trained(ready) == trained(raced[0])
    assert last_sweep(ready).started().race.after_verdict


def test_existing_runs_are_used_and_change_nothing(raced, ready):
    more = [flag for flag in GRID if not flag.startswith(("seed=", "optimizer.lr="))]
    succeeded(lenet_train(*more, "optimizer.lr=0.03", "seed=range(5)", BASIC, outputs=ready))
    done = succeeded(lenet_train(*GRID, WITHIN, BASIC, outputs=ready))
    assert trained(ready) == trained(raced[0])
    assert " reused" in done.stdout


def has_started(outputs: Path, process) -> bool:
    """Return whether a sweep has a folder, or its process has ended."""
    return any(outputs.glob("sweeps/*/sweep.json")) or process.poll() is not None


@pytest.mark.slow(seconds=60)
def test_killed_race_ends_with_the_same_runs(raced, ready):
    line = (*GRID, WITHIN, "sweep.workers=2")
    for number in range(6):
        process = start(*line, outputs=ready)
        until(partial(has_started, ready, process))
        time.sleep(0.4 + 0.5 * number)
        process.send_signal(signal.SIGKILL)
        end(process)
    succeeded(end(start(*line, outputs=ready)))
    assert trained(ready) == trained(raced[0])


def test_smaller_difference_adds_seeds_and_a_limit_ends_it(copy):
    before = trained(copy)
    sweep = last_sweep(copy).id
    resume = ("-m", BASIC, f"sweep.resume={sweep}")
    seeds = race_of(copy).seeds
    limit = f"sweep.most_seeds={seeds + 2}"
    done = succeeded(lenet_train(*resume, "sweep.within=0.01", limit, outputs=copy))
    after = trained(copy)
    assert set(before) < set(after)
    assert max(seed for _, seed in after) == seeds + 1
    race = race_of(copy)
    assert race.is_over
    assert not race.decided
    assert f"sweep.most_seeds={2 * (seeds + 2)}" in done.stdout  # the next step


def test_limit_in_seconds_keeps_the_last_complete_look(copy):
    sweep = last_sweep(copy).id
    before = trained(copy)
    flags = ("-m", BASIC, f"sweep.resume={sweep}", "sweep.within=0.001")
    succeeded(lenet_train(*flags, "max_seconds=0.001", outputs=copy))
    assert trained(copy) == before
    plan = last_sweep(copy).started().race
    assert plan.ended_by == "max_seconds=0.001"
    assert race_of(copy).seeds >= 3

    more = f"sweep.most_seeds={race_of(copy).seeds + 3}"
    succeeded(lenet_train(*flags, "max_seconds=1000", more, outputs=copy))
    assert len(trained(copy)) > len(before)


def test_diverged_configuration_leaves_the_race_and_is_named(ready):
    done = lenet_train(
        "-m", *BARE, "optimizer.lr=0.02,0.01,1e6", "seed=0", "sweep.within=3", BASIC, outputs=ready
    )
    assert done.returncode == 1
    race = race_of(ready)
    states = [candidate.state for candidate in race.candidates.values()]
    assert states.count(CandidateState.diverged) == 1
    assert race.configurations == 3
    diverged = [run for run in trained_or_diverged(ready) if run[0] == 1e6]
    assert diverged == [(1e6, 0), (1e6, 1), (1e6, 2)]
    assert "diverged on 3 of 3 seeds" in done.stdout


def trained_or_diverged(outputs: Path) -> list[tuple[float, int]]:
    jobs = last_sweep(outputs).jobs()
    return [(job.config.optimizer["lr"], job.config.seed) for job in jobs]


def test_configurations_with_equal_weights_are_one(ready):
    flags = ("activation=relu,selu", "training.patience=null,1000", "sweep.within=2")
    succeeded(lenet_train("-m", *BARE, *flags, BASIC, outputs=ready))
    race = race_of(ready)
    assert len(race.candidates) == 4
    assert race.configurations == 2
    assert len(race.in_state(CandidateState.copy)) == 2


def test_zipped_splits_are_extended_together(ready):
    succeeded(
        lenet_train(
            *("-m", *BARE, "activation=relu,selu", "seed=4,6", "split_seed=1,5"),
            *("sweep.zip=[seed,split_seed]", "sweep.within=1", "sweep.most_seeds=4", BASIC),
            outputs=ready,
        )
    )
    replicates = last_sweep(ready).started().race.replicates
    assert [tuple(replicate) for replicate in replicates] == [(4, 1), (6, 5), (7, 6), (8, 7)]
    pairs = {(job.config.seed, job.config.split_seed) for job in last_sweep(ready).jobs()}
    assert pairs <= {(4, 1), (6, 5), (7, 6), (8, 7)}
    assert len(pairs) >= 3


def test_other_statistics_use_the_listed_seeds(raced):
    (comparison,) = comparisons_of(raced[0])
    assert all(group.replicates == 3 for group in comparison.groups)
    assert comparison.num_runs == len(trained(raced[0]))
    by_seed = {candidate.group.n for candidate in comparison.race.candidates.values()}
    assert max(by_seed) == comparison.race.seeds


def test_records_have_the_race(raced):
    race = race_of(raced[0])
    (comparison,) = comparisons_of(raced[0])
    leader, *others = records(comparison)
    assert leader["race"] == "leader"
    assert leader["race_n"] == race.seeds
    assert leader["n"] == 3
    assert max(row["bound"] for row in others) == race.bound


def test_part_of_a_race_keeps_the_verdict_of_all_configurations(raced):
    whole = comparisons_of(raced[0])
    (part,) = select_part(whole, "activation=selu", None)
    assert len(part.groups) == 2
    assert part.race is whole[0].race
    assert verdict(part) == verdict(whole[0])


def test_latex_has_the_mean_and_the_number_of_all_judged_seeds(raced):
    (comparison,) = comparisons_of(raced[0])
    leader = comparison.judged_group(0)
    row = next(
        line for line in tex([comparison], RunSource("race")).splitlines() if r"\textbf" in line
    )
    assert f"{100 * leader.mean:.2f}" in row
    assert f"& {leader.n} " in row
    assert r"\pm" not in row


TWO = "activation=relu,selu"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((WITHIN, TWO, "seed=0,1", "sweep.zip=[seed,activation]"), WITHIN),
        ((WITHIN, TWO, "seed=0,1", "split_seed=0,1"), "sweep.zip=[seed,split_seed]"),
        ((WITHIN, "activation=relu", "seed=0,1"), TWO),
        ((WITHIN, TWO, "sweep.most_seeds=2"), "sweep.most_seeds=2"),
        ((WITHIN, TWO, "seed=range(5)", "sweep.most_seeds=4"), "sweep.most_seeds=4"),
        (("sweep.within=0", TWO), "sweep.within=0"),
        ((TWO, "sweep.most_seeds=9"), "sweep.within"),
        ((TWO, "max_seconds=9"), "sweep.within"),
    ],
)
def test_impossible_race_is_refused_before_it_starts(outputs, flags, named):
    done = lenet_train("-m", *BARE, *flags, BASIC, outputs=outputs)
    assert done.returncode == 2
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not outputs.exists()


def test_search_refuses_the_flag(outputs):
    search = ("hydra/sweeper=search", "n_trials=2", TWO)
    done = lenet_train("-m", *BARE, *search, WITHIN, outputs=outputs)
    assert done.returncode == 2
    assert WITHIN in done.stderr


def test_single_run_refuses_the_flag(outputs):
    done = lenet_train(*BARE, WITHIN, outputs=outputs)
    assert done.returncode == 2
    assert "-m" in done.stderr
