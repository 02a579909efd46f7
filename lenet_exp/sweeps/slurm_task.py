"""A task of an allocation of Slurm: `python -m lenet_exp.sweeps.slurm_task <sweep folder>`. Not for people."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Serves the sweep; one that was started again gets a new process, which has no memory of the last one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # first: a thread without it would let it end them all
    from lenet_exp.errors import UserError
    from lenet_exp.folders.sweep_folder import SweepFolder
    from lenet_exp.sweeps.place import serve

    try:
        again = serve(SweepFolder(Path(sys.argv[1])))
    except (UserError, OSError, ValueError) as e:
        print(f"lenet_exp: {e}", file=sys.stderr)
        sys.exit(2)
    if again:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "lenet_exp.sweeps.slurm_task", sys.argv[1]])


if __name__ == "__main__":
    main()
