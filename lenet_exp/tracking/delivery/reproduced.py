"""Tags MLflow runs with the result of reproducing or checking the runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from lenet_exp.addresses import full_uri, hide_password
from lenet_exp.config.tags import checked
from lenet_exp.errors import StoreError, first_line, printable
from lenet_exp.machine import host
from lenet_exp.tracking.stores.store import connect

LONGEST = 500  # maximum length, in characters, of a tag, which tables show

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
    """Set `tag` (`reproduced` or `record_checked`) to the result, time, and host, in each reachable store.

    Args:
        runs: addresses of stores, as returned by `store_name`, with the run's id in each.
        uri: an address that can contain the password, which is not stored.
        weak: whether the result says nothing about the run, so that an earlier result is kept.
        say: a function that prints a line.

    Returns:
        Whether all stores were reachable.
    """
    when, all_reached = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), True
    value = checked({tag: f"{result[:LONGEST]} ({when}, on {host()})"})[tag]
    for kept, run_id in runs:
        try:
            client = connect(full_uri(kept, uri))
            had = client.get_run(run_id).data.tags.get(tag)
            if weak and had is not None:
                say(printable(f"MLflow run {run_id}: tag {tag} is kept: {had}"))
                continue
            client.set_tag(run_id, tag, str(value))
        except Exception as e:  # an unreachable store must not hide the result
            log.warning("not saved in MLflow (%s): %s", kept, hide_password(first_line(e)))
            all_reached = all_reached and not isinstance(e, StoreError)  # otherwise, only the run is gone
        else:
            say(f"saved in MLflow run {run_id} as tag {tag}")
    if not runs:
        say("not saved in MLflow: no MLflow run is known for this run")
    return all_reached
