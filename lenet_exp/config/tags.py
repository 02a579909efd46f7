"""Names of reserved MLflow tags, by which lenet_exp finds runs. Users' tags must not have them."""

from __future__ import annotations

from collections.abc import Mapping

from lenet_exp.config.params import text
from lenet_exp.errors import ConfigError
from lenet_exp.files import Json

NAMES = (
    "kind",
    "fingerprint",
    "weights_digest",
    "outcome",
    "reason",
    "resumed",
    "continued_from",
    "stopped_early",
    "run_folder",
    "created_ms",
    "users",
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
)
PREFIXES = ("sweep", "swept", "version.", "git_", "mlflow.")


def is_own(name: str) -> bool:
    """Return whether the name of a tag is reserved for lenet_exp."""
    return name in NAMES or name.startswith(PREFIXES)


def check_tags(tags: Mapping[str, Json]) -> None:
    """Check that a user's tags do not use reserved names.

    Raises:
        ConfigError: a name is reserved.
    """
    for name, value in flat(tags).items():
        if is_own(name):
            names = ", ".join(NAMES)
            prefixes = f"{', '.join(PREFIXES[:-1])}, or {PREFIXES[-1]}"
            raise ConfigError(
                f"tracking.tags.{name}={value}: this name is reserved, as are {names}, "
                f"and all names that start with {prefixes}; choose a different name"
            )


def merged(own: Mapping[str, Json], users: Mapping[str, Json]) -> dict[str, Json]:
    """Return the tags of a new run: the user's tags and the tags that lenet_exp sets.

    User tags with reserved names are omitted. Such tags can exist in a configuration from an older
    release, which did not check the names.

    Args:
        own: tags that lenet_exp sets.
        users: tags that the user set.
    """
    tags: dict[str, Json] = {}
    for name, value in flat(users).items():
        if not is_own(name):
            tags[name] = value
    tags.update(own)
    return tags


def flat(tags: Mapping[str, Json]) -> dict[str, str]:
    """Return the values of tags by dotted name.

    Hydra splits `tracking.tags.mlflow.note=1` into nested dicts, `{mlflow: {note: 1}}`.
    """
    values: dict[str, str] = {}
    for key, value in tags.items():
        if isinstance(value, Mapping):
            for name, inner_value in flat(value).items():
                values[f"{key}.{name}"] = inner_value
        else:
            values[key] = text(value)
    return values
