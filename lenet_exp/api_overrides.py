"""Overrides for the functions of the Python API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lenet_exp.config.compose import quoted
from lenet_exp.config.option_files import default_config_dir
from lenet_exp.config.params import text
from lenet_exp.errors import ConfigError, first_line


def listed_overrides(
    overrides: str | Sequence[str], images: object = None, labels: object = None
) -> list[str]:
    """Return a list of overrides, with `./conf` as the folder of own options if it can be used.

    If images and labels are given, save them, and select them.

    Raises:
        ConfigError: the images and labels cannot be used.
    """
    listed = [overrides] if isinstance(overrides, str) else list(overrides)
    if _override_of("hydra.searchpath", listed) is None:
        folder = default_config_dir()
        if folder is not None:
            listed.append(f"hydra.searchpath=[{quoted(f'file://{folder}')}]")
    if images is None and labels is None:
        return listed

    for override in listed:
        if override.lstrip("+").startswith("dataset.file="):
            raise ConfigError(
                f"{override}: cannot be set together with images and labels; omit one of them"
            )
    from lenet_exp.data.arrays import save_arrays

    try:
        path, channels = save_arrays(images, labels)
    except Exception as e:  # see save_arrays
        raise ConfigError(f"images, labels: {first_line(e)}") from e

    # The defaults come first, so that the caller's overrides replace them.
    defaults = [f"dataset.channels={channels}"]
    if _override_of("dataset", listed) is None:
        defaults.insert(0, "dataset=arrays")
    return [*defaults, *listed, f"dataset.file={quoted(str(path))}"]


def searched_overrides(space: Mapping[str, str | Sequence[object]]) -> list[str]:
    """Return the overrides of the searched flags: `{"seed": [1, 2]}` gives `seed=choice(1,2)`.

    Args:
        space: for each flag, an expression in Hydra's grammar or a list of values.
    """
    overrides: list[str] = []
    for flag, values in space.items():
        expression = values
        if not isinstance(values, str):
            expression = f"choice({','.join(map(text, values))})"
        overrides.append(f"{flag}={expression}")
    return overrides


def _override_of(flag: str, overrides: Sequence[str]) -> str | None:
    """Return the first override of a flag; None if the flag is not set."""
    for override in overrides:
        if override.startswith(f"{flag}="):
            return override
    return None
