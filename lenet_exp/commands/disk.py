"""lenet-sweep du: what takes the space."""

from __future__ import annotations

from lenet_exp.commands.literal import parse
from lenet_exp.errors import ConfigError


def du(arguments: list[str]) -> int:
    """The exit status of `lenet-sweep du`."""
    parse(arguments, {})
    from lenet_exp.outputs import outputs_dir
    from lenet_exp.removal.usage import print_usage

    outputs = outputs_dir()
    if not outputs.is_dir():
        raise ConfigError(f"{outputs}: no such folder; LENET_EXP_OUTPUTS names another")
    print_usage(outputs)
    return 0
