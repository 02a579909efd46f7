"""lenet-sweep du and clean: disk usage, and removal of secrets in stores' addresses."""

from __future__ import annotations

from lenet_exp.commands.ending import EXIT_FAILED
from lenet_exp.errors import ConfigError


def du() -> int:
    """Run `lenet-sweep du` and return its exit status."""
    from lenet_exp.outputs import outputs_dir
    from lenet_exp.removal.usage import print_usage

    outputs = outputs_dir()
    if not outputs.is_dir():
        raise ConfigError(f"{outputs}: no such folder; LENET_EXP_OUTPUTS names another")
    print_usage(outputs)
    return 0


def clean() -> int:
    """Run `lenet-sweep clean` and return its exit status."""
    from lenet_exp.amounts import number_of
    from lenet_exp.folders.secrets import clean as remove_secrets
    from lenet_exp.outputs import outputs_dir

    done, left = remove_secrets(outputs_dir())
    print(f"cleaned: {number_of(len(done), 'file')}")
    for path in left:
        print(f"left to the process that writes it: {path}")
    return EXIT_FAILED if left else 0
