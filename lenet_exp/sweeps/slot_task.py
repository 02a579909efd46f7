"""A task of an allocation, which starts it with `python -m lenet_exp.sweeps.slot_task <queue>
<sweep folder>`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run jobs of a sweep. If the sweep is restarted, replace this process with a new one, so that
    no old state remains."""
    # Block the signal before any thread starts; an unblocked thread would let it kill the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    from lenet_exp.errors import UserError
    from lenet_exp.folders.sweep_folder import SweepFolder
    from lenet_exp.sweeps.slot import serve

    queue, folder = sys.argv[1:]
    try:
        is_restarted = serve(queue, SweepFolder(Path(folder)))
    except (UserError, OSError, ValueError) as e:
        print(f"lenet_exp: {e}", file=sys.stderr)
        sys.exit(2)
    if is_restarted:
        command = [sys.executable, "-P", "-m", "lenet_exp.sweeps.slot_task", queue, folder]
        os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
