"""Reports exceptions of the user's own code, and global random numbers in it, in one line."""

from __future__ import annotations

import contextlib
import os
import random
import traceback
from collections.abc import Hashable, Iterator

import numpy as np
import torch

from lenet_exp.errors import ConfigError, first_line
from lenet_exp.files import same_directory
from lenet_exp.stopping import raise_stop
from lenet_exp.waiting import SlowStep

SEEDED_LAYERS = "Dropout or RReLU from lenet_exp.training.activations"


@contextlib.contextmanager
def errors_as_one_line(option: str, data: str) -> Iterator[None]:
    """Report an exception of the user's own code, or its use of global random numbers.

    If the code changes the working directory, it is restored, because relative paths depend on it.

    Args:
        option: option that specifies the code, such as `model=mine`.
        data: description of the data on which the code is tried, for the message.

    Raises:
        ConfigError: the code raised an exception, or drew from a global random state.
    """
    states_before = _global_random_states()
    error_of_check: ConfigError | None = None
    try:
        with SlowStep(f"checking {option}"), same_directory():
            yield
    except ConfigError as e:
        error_of_check = e
    except BaseException as e:  # the user's own class can raise any exception
        raise_stop(e)
        problem = f"cannot be used on {data}: {first_line(e)} ({_place_of(e)})"
        raise ConfigError(f"{option}: {problem}") from e

    states = _global_random_states()
    for library, state in states.items():
        if state == states_before[library]:
            continue
        replacement = "generator"
        if option.startswith(("model", "activation")):
            replacement = f"{SEEDED_LAYERS}, or a `generator` attribute"
        problem = f"uses {library}'s global random state; use {replacement}"
        raise ConfigError(f"{option}: {problem}") from error_of_check

    if error_of_check is not None:
        raise error_of_check


def _place_of(error: BaseException) -> str:
    """Return the file and line of the last call outside torch that led to an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1]
    for frame in reversed(frames):
        if f"{os.sep}torch{os.sep}" not in frame.filename:
            place = frame
            break
    return f"{os.path.basename(place.filename)}, line {place.lineno}"


def _global_random_states() -> dict[str, Hashable]:
    """Return the global random states that a network could use by mistake, by library."""
    return {
        "torch": tuple(torch.random.get_rng_state().tolist()),
        # Each draw advances the position.
        "NumPy": np.random.get_state(legacy=False)["state"]["pos"],
        "Python": random.getstate(),
    }
