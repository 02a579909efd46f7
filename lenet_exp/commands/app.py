"""Runs a Hydra app so that what a person got wrong is one line and the exit status is true."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.commands.ending import EXIT_FAILED, EXIT_WRONG, run_to_its_end, wrong
from lenet_exp.config.compose import free_tags
from lenet_exp.config.conf_dir import CONF_DIR, config_groups
from lenet_exp.config.grid import MOST_JOBS, check_size
from lenet_exp.errors import PLAIN_ERRORS, ConfigError, RunsFailed, UserError, from_hydra

OUR_SWEEPERS = ("hydra/sweeper=grid", "hydra/sweeper=search")
COMPOSABLE = {"augmentation"}  # groups whose options go together: augmentation=[shift,flip]


def run_app(program: str, config_name: str, task: Callable[[DictConfig], Any]) -> NoReturn:
    """Composes `conf/<config_name>.yaml` with the command line and runs `task`; leaves with the exit status."""
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP's threads spin while they wait; by default so long that one busy neighbour makes a run 40 times slower.
        # Read when torch is imported; the weights' bits don't depend on it.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra hands its errors over instead of printing nine lines
    sys.argv[1:] = free_tags(sys.argv[1:])
    run_to_its_end(program, lambda: _run(program, config_name, task, full_error), full_error=full_error)


def _run(program: str, config_name: str, task: Callable[[DictConfig], Any], full_error: bool) -> int:
    status = 0

    @functools.wraps(task)
    def caught(cfg: DictConfig) -> Any:  # here, since Hydra would print a line of its own
        nonlocal status
        try:
            return task(cfg)
        except RunsFailed:
            status = EXIT_FAILED
        except UserError as e:
            if full_error or HydraConfig.get().mode is RunMode.MULTIRUN:  # the sweeper will raise it
                raise
            status = wrong(program, str(e))
        return math.nan

    overrides = _refuse_arguments(program)
    try:
        if any("range(" in o for o in overrides) and (program != "lenet-train" or _takes_other_sweeper(overrides)):
            # Hydra's own sweepers make a list of all jobs, however many.
            check_size(OverridesParser.create().parse_overrides(overrides), MOST_JOBS, "")
        hydra.main(config_path=str(CONF_DIR), config_name=config_name, version_base="1.3")(caught)()
    except (HydraException, OmegaConfBaseException, YAMLError, *PLAIN_ERRORS) as e:
        if full_error or (isinstance(e, PLAIN_ERRORS) and not from_hydra(e)):
            raise
        from lenet_exp.config.explain import explain_hydra

        raise ConfigError(explain_hydra(e)) from e
    except SystemExit as e:  # Hydra has said why: `--cfg job -p nope`
        status = EXIT_WRONG if e.code == EXIT_FAILED and from_hydra(e) else int(e.code or 0)
    return status


def _takes_other_sweeper(overrides: list[str]) -> bool:
    """Whether another than ours, which counts its jobs, spans the grid."""
    return any(o.startswith("hydra/sweeper=") and o not in OUR_SWEEPERS for o in overrides)


def _refuse_arguments(program: str) -> list[str]:
    """The overrides among the arguments.

    Raises:
        ConfigError: Hydra's parser does not know an argument, or the flags do not stand where it takes them.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # its own prints the usage as well
    parsed, unknown = parser.parse_known_args()
    dashed = [a for a in unknown if a.startswith("-")]
    if dashed:
        from lenet_exp.config.explain import explain_arguments

        _refuse(explain_arguments(dashed))
    if parsed.experimental_rerun is not None:  # argparse takes it shortened, too
        _refuse("--experimental-rerun: not allowed: it unpickles its file, and so runs what stands in there")
    if parsed.config_dir is not None:
        _refuse_pipes(Path(parsed.config_dir))
    for override in parsed.overrides:
        name, sign, value = override.partition("=")
        if program == "lenet-predict" and not sign and os.path.exists(override):  # typed as for `cat`
            _refuse(f"{override}: flags are written name=value; did you mean images={override}?")
        if name in set(config_groups()) - COMPOSABLE and value.startswith("["):  # Hydra would merge them, silently
            _refuse(f"{override}: allowed is one option; several need -m: {name}={value.strip('[]')}")
    if unknown:  # argparse takes them from one place only
        _refuse(f"{unknown[0]}: flags have to stand together, after -m and the other options")
    return list(parsed.overrides)


def _refuse_pipes(folder: Path) -> None:
    """Hydra would read a pipe, and wait for ever."""
    with contextlib.suppress(OSError):
        for path in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml")):
            if path.exists() and not path.is_file() and not path.is_dir():
                _refuse(f"--config-dir={folder}: {path} is not a regular file")


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)
