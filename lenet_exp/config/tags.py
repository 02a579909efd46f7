"""Which tags in MLflow are the program's own: it finds runs by them, so a user's tags have other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lenet_exp.errors import ConfigError
from lenet_exp.files import Json

NAMES = (
    "kind",
    "fingerprint",
    "weights_digest",
    "outcome",
    "reason",
    "resumed",
    "stopped_early",
    "run_folder",
    "created_ms",
    "host",
    "owner",
    "command",
    "overrides",
    "starts",
    "replaced_by",
    "confirms",
    "confirmed",
    "test_opened",
    "test_digest",
    "test_of",
    "reproduced",
    "record_checked",
)
PREFIXES = ("sweep", "swept", "version.", "git_", "mlflow.")


def is_own(name: str) -> bool:
    """Whether a tag is the program's."""
    return name in NAMES or name.startswith(PREFIXES)


def check_tags(tags: Mapping[str, Json]) -> None:
    """Raises:
    ConfigError: a user's tag has a name that is the program's.
    """
    for name, value in _flat(tags):
        if is_own(name):
            raise ConfigError(
                f"tracking.tags.{name}={value}: this name is reserved; must be any but {', '.join(NAMES)}, "
                f"and what begins with {', '.join(PREFIXES)}"
            )


def merged(own: Mapping[str, Json], users: Mapping[str, Json]) -> dict[str, Json]:
    """The tags of a run that begins. Of a configuration of an older release, which nobody checked, the own ones win."""
    return {**{name: value for name, value in users.items() if not is_own(name)}, **checked(own)}


def checked(own: Mapping[str, Json]) -> Mapping[str, Json]:
    """Tags of the program, each of which is in the list above."""
    unknown = [name for name in own if not is_own(name)]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: config/tags.py does not know of it")
    return own


def _flat(tags: Mapping[str, Json], before: str = "") -> Iterator[tuple[str, Json]]:
    """Hydra takes the dots of `tracking.tags.mlflow.note=1` apart."""
    for key, value in tags.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
