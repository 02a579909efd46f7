"""A search from Python: the same as by `hydra/sweeper=search`, in the same folder, without Hydra's command line."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.compose import free_tags
from lenet_exp.errors import RunsFailed
from lenet_exp.folders.results import JobResult
from lenet_exp.machine import command_line
from lenet_exp.reports.search_words import best_result
from lenet_exp.search.plan import Planned, plan_search, print_plan
from lenet_exp.search.search import SearchRun
from lenet_exp.sweeps.from_python import composed, composing, launcher_of
from lenet_exp.sweeps.session import Asked, sweep_session


@dataclass(frozen=True)
class Searched:
    """What a search came to.

    Attributes:
        folder: the sweep's, with `study.db`, which `optuna.load_study` reads.
        trials: the jobs' results in their order: with one seed, trial n's is the one at n.
        left: of a search with several seeds, the results (of the first seed) of what can't be excluded as the best.
        best: of those that finished, by the objective; None where none did.
        value: its, by the objective.
    """

    folder: Path
    trials: list[JobResult]
    best: JobResult | None
    value: float | None
    left: list[JobResult] = field(default_factory=list)


def search_here(overrides: Sequence[str]) -> tuple[Planned, Searched]:
    """Searches to its budgets, or goes on with it.

    Args:
        overrides: as on the command line, such as `optimizer.lr=interval(0.01,1)` and `n_trials=20`; with
            `sweep.dry_run=true` it is only said what would be searched.

    Returns:
        What was planned, and what it came to. The best is not confirmed yet.

    Raises:
        ConfigError, DataError, StoreError: before anything is trained.
    """
    with composing():
        planned = plan_search(OverridesParser.create().parse_overrides(free_tags(list(overrides))), composed)
        if planned.config.sweep.dry_run:
            print_plan(planned)
            return planned, Searched(planned.sweep.path, [], None, None)
        run = SearchRun(planned)
        asked = Asked(command_line(), planned.overrides, [flag.name for flag in planned.flags], planned.asked)
        results: list[JobResult] = []
        with (
            contextlib.suppress(RunsFailed),  # which of them stands in the result
            sweep_session(planned.sweep, run.open, planned.config, asked) as session,
        ):
            run.run(session, launcher_of(planned.config), {})
            results = session.results()
    found = planned.sweep.started().search
    if found is None:
        return planned, Searched(planned.sweep.path, results, None, None)
    runs = {result.job.run: result for result in reversed(results)}
    left = [runs[run] for run in found.left or [] if run in runs]
    return planned, Searched(planned.sweep.path, results, best_result(found, results), found.best_value, left)
