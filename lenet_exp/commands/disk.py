"""lenet-sweep du: what takes the space."""

from __future__ import annotations

from lenet_exp.commands.literal import parse


def du(arguments: list[str]) -> int:
    """The exit status of `lenet-sweep du`."""
    parse(arguments, {})
    return 0
