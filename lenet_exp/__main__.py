"""Entry point for `python -m lenet_exp <name> ...`, which runs `lenet-<name>` without the command's
own script.
"""

from __future__ import annotations

import sys
from importlib import import_module

from lenet_exp.errors import did_you_mean

COMMANDS = ("train", "predict", "compare", "export", "reproduce", "sweep", "sync", "ui")


def main() -> None:
    """Run the command that the first argument specifies; for example, `train` runs
    `lenet-train`.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "(no command)"
    if name not in COMMANDS:
        expected = f"expected one of: {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        print(f"python -m lenet_exp: {name}: {expected}", file=sys.stderr)
        sys.exit(2)
    # The commands read their arguments from sys.argv, because their own scripts pass them none.
    sys.argv[:2] = [f"lenet-{name}"]
    import_module(f"lenet_exp.commands.{name}").main()


if __name__ == "__main__":
    main()
