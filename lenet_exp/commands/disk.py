"""lenet-sweep du: what takes the space."""

from __future__ import annotations

from lenet_exp.commands.literal import parse
from lenet_exp.errors import ConfigError


def du(arguments: list[str]) -> int:
    """The exit status of `lenet-sweep du`."""
    parse(arguments, {})
    from lenet_exp.outputs import outputs_dir
    from lenet_exp.reports.usage import print_usage
    from lenet_exp.sweeps.usage import usage_of

    outputs = outputs_dir()
    if not outputs.is_dir():
        raise ConfigError(f"{outputs}: no such folder; LENET_EXP_OUTPUTS names another")
    print_usage(usage_of(outputs))
    return 0
