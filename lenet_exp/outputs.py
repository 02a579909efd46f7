"""Where everything a run writes goes."""

from __future__ import annotations

import os
from pathlib import Path


def outputs_dir() -> Path:
    """`$LENET_EXP_OUTPUTS`, else `outputs` in the working directory; absolute, not necessarily existing."""
    return Path(os.environ.get("LENET_EXP_OUTPUTS") or "outputs").expanduser().absolute()
