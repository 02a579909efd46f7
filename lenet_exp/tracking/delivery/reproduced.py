"""Tells MLflow what came of repeating or checking a run: a tag of the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from lenet_exp.addresses import full_uri, hide_password
from lenet_exp.config.tags import checked
from lenet_exp.errors import StoreError, first_line, printable
from lenet_exp.machine import host
from lenet_exp.tracking.stores.store import connect

LONGEST = 500  # characters of a tag that a person reads in a table

log = logging.getLogger("lenet_exp")


def tag_runs(
    runs: Sequence[tuple[str, str]],
    uri: str,
    tag: str,
    result: str,
    *,
    weak: bool,
    say: Callable[[str], None] = print,
) -> bool:
    """Sets `tag` (`reproduced` or `record_checked`) to the result, where and when, in each store that can be reached.

    Args:
        runs: addresses of stores, as `store_name` gives them, with the run's id there.
        uri: an address that may have the password that was not kept.
        weak: the result says nothing of the run, and an earlier one stays.
        say: prints a line.

    Returns:
        Whether all stores could be reached.
    """
    when, all_reached = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), True
    value = checked({tag: f"{result[:LONGEST]} ({when}, on {host()})"})[tag]
    for kept, run_id in runs:
        try:
            client = connect(full_uri(kept, uri))
            had = client.get_run(run_id).data.tags.get(tag)
            if weak and had is not None:
                say(printable(f"MLflow run {run_id} keeps its tag {tag}: {had}"))
                continue
            client.set_tag(run_id, tag, str(value))
        except Exception as e:  # the answer is on the terminal; a store that is away must not hide it
            log.warning("not told to MLflow (%s): %s", kept, hide_password(first_line(e)))
            all_reached = all_reached and not isinstance(e, StoreError)  # else the run alone is gone
        else:
            say(f"told to MLflow run {run_id}: tag {tag}")
    if not runs:
        say("told to no MLflow: no run of it is known")
    return all_reached
