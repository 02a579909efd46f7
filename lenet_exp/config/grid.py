"""How many jobs a grid has, before it is spanned."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from lenet_exp.errors import ConfigError

MOST_JOBS = 100_000  # where no `sweep.max_jobs` says it


def check_size(overrides: Sequence[Override], most: object, more: str = "; sweep.max_jobs={jobs} allows them") -> None:
    """Args:
        most: jobs; `sweep.max_jobs`, which is not checked yet.
        more: says how there may be more.

    Raises:
        ConfigError: the grid of these overrides has more than `most` jobs.
    """
    if not isinstance(most, int):
        return
    values = {o.get_key_element(): _values(o) for o in overrides}  # of several for one flag the last counts
    jobs = math.prod(values.values())
    if jobs > most:
        swept = " ".join(str(o.input_line) for o in overrides if values[o.get_key_element()] > 1)
        raise ConfigError(f"{swept}: {jobs:,} jobs; allowed are {most:,}{more.format(jobs=jobs)}")


def _values(override: Override) -> int:
    """How many values a flag takes; 1 for those that are counted when they are looked up, such as `glob(*)`."""
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        return len(sweep.list)
    if isinstance(sweep, RangeSweep):
        start, stop, step = sweep.start or 0, sweep.stop or 0, 1 if sweep.step is None else sweep.step
        if not step or not all(map(math.isfinite, (start, stop, step))):
            raise ConfigError(f"{override.input_line}: allowed is range(start,stop,step), finite, whose step is not 0")
        return max(0, math.ceil((stop - start) / step))
    return 1
