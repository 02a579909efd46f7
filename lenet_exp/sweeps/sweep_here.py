"""A grid from Python: the same as `lenet-train -m`, in the same folder, without Hydra's command line."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.addresses import hide_password
from lenet_exp.config.compose import free_tags, typed
from lenet_exp.config.grid import span
from lenet_exp.config.quick import QuickComposer
from lenet_exp.errors import ConfigError, RunsFailed
from lenet_exp.folders.sweep_folder import SweepFolder, sweep_of
from lenet_exp.machine import command_line
from lenet_exp.outputs import check_outputs
from lenet_exp.reports.terminal.progress import display
from lenet_exp.runs.jobs import check_jobs, freeze_jobs, tell_engines, tell_once
from lenet_exp.sweeps.confirms import check_fresh
from lenet_exp.sweeps.estimate import print_estimate
from lenet_exp.sweeps.from_python import composed, composing, launcher_of
from lenet_exp.sweeps.session import Asked, sweep_session


def sweep_here(overrides: Sequence[str]) -> SweepFolder | None:
    """Trains the grid that the overrides span, or what of it is missing, side by side in processes of this machine.

    Args:
        overrides: as on the command line, such as `activation=relu,selu` and `seed=range(3)`.

    Returns:
        The sweep; None for `sweep.dry_run=true`, where it is only said what would be trained.

    Raises:
        ConfigError, DataError, StoreError: before anything is trained.
    """
    with composing():
        parsed = OverridesParser.create().parse_overrides(free_tags(list(overrides)))
        lines = [str(o.input_line) for o in parsed]
        fixed = typed(composed([str(o.input_line) for o in parsed if not o.is_sweep_override()])).sweep
        for flag in ("resume", "detach"):
            if getattr(fixed, flag):
                raise ConfigError(f"sweep.{flag}={getattr(fixed, flag)}: not from Python; lenet-train -m has it")
        jobs = span(parsed, fixed.zip, fixed.max_jobs, fixed.skip)
        swept = [o.get_key_element() for o in parsed if o.is_sweep_override()]
        configs = check_jobs(jobs, QuickComposer(composed).config)
        tell_once(configs)
        frozen = freeze_jobs(swept, jobs, configs)
        config = configs[0]
        check_fresh(config, frozen)
        sweep = sweep_of(config.tracking.experiment, frozen)
        if config.sweep.dry_run:
            print_estimate(sweep, frozen, config)
            return None
        check_outputs(sweep.outputs)
        makes_jobs = ("sweep.zip", "sweep.skip")
        kept = [hide_password(line) for line in lines if line.startswith(makes_jobs) or line[:6] != "sweep."]
        with (
            contextlib.suppress(RunsFailed),  # which of them stands in the comparison
            sweep_session(sweep, frozen, config, Asked(command_line(), kept, swept)) as session,
        ):
            if missing := session.missing():
                with display.sweep():
                    tell_engines(missing)
                    session.train(missing, launcher_of(config), {}, like=missing)
    return sweep
