"""Runs a Hydra app so that what a person got wrong is one line and the exit status is true."""

from __future__ import annotations

import atexit
import functools
import gc
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.config.compose import free_tags
from lenet_exp.config.conf_dir import CONF_DIR, config_groups
from lenet_exp.errors import PLAIN_ERRORS, RunsFailed, UserError, from_hydra
from lenet_exp.stopping import Terminated, raise_terminated

EXIT_FAILED = 1
EXIT_WRONG = 2

COMPOSABLE = {"augmentation"}  # groups whose options go together: augmentation=[shift,flip]


def run_app(program: str, config_name: str, task: Callable[[DictConfig], Any]) -> NoReturn:
    """Composes `conf/<config_name>.yaml` with the command line and runs `task`; leaves with the exit status.

    0 fine; 1 a run failed or diverged; 2 what was asked for is wrong (one line on stderr); 130, 143 on SIGINT, SIGTERM.
    """
    atexit.register(gc.freeze)  # or Python looks for cycles in all of torch and mlflow before it ends: over a second
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP's threads spin while they wait; by default so long that one busy neighbour makes a run 40 times slower.
        # Read when torch is imported; the weights' bits don't depend on it.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra hands its errors over instead of printing nine lines
    signal.signal(signal.SIGTERM, raise_terminated)
    sys.argv[1:] = free_tags(sys.argv[1:])
    _refuse_arguments(program)

    status = 0

    @functools.wraps(task)
    def one_line(cfg: DictConfig) -> Any:
        nonlocal status
        try:
            return task(cfg)
        except RunsFailed:  # caught here, too: Hydra would print a line of its own
            status = EXIT_FAILED
            return math.nan
        except UserError as e:  # caught here: Hydra would print a line of its own
            if full_error or HydraConfig.get().mode is RunMode.MULTIRUN:  # the sweeper will raise it
                raise
            _fail(program, str(e))

    try:
        hydra.main(config_path=str(CONF_DIR), config_name=config_name, version_base="1.3")(one_line)()
    except (UserError, HydraException, OmegaConfBaseException, YAMLError, *PLAIN_ERRORS) as e:
        if full_error or (isinstance(e, PLAIN_ERRORS) and not from_hydra(e)):
            raise
        _fail(program, _explain(e))
    except RunsFailed:  # of a sweep
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(status)
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        sys.exit(130)
    except Terminated:
        print(f"{program}: terminated", file=sys.stderr)
        sys.exit(143)
    sys.exit(status)


def _explain(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    from lenet_exp.config.explain import explain_hydra

    return explain_hydra(error)


def _refuse_arguments(program: str) -> None:
    parser = get_args_parser()
    parser.error = functools.partial(_fail, program)  # type: ignore[method-assign]  # its own prints the usage as well
    parsed, unknown = parser.parse_known_args()
    dashed = [a for a in unknown if a.startswith("-")]
    if dashed:
        from lenet_exp.config.explain import explain_arguments

        _fail(program, explain_arguments(dashed))
    for override in parsed.overrides:
        name, _, value = override.partition("=")
        if name in set(config_groups()) - COMPOSABLE and value.startswith("["):  # Hydra would merge them, silently
            _fail(program, f"{override}: allowed is one option; several need -m: {name}={value.strip('[]')}")
    if unknown:  # argparse takes them from one place only
        _fail(program, f"{unknown[0]}: flags have to stand together, after -m and the other options")


def _fail(program: str, line: str) -> NoReturn:
    print(f"{program}: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(EXIT_WRONG)
