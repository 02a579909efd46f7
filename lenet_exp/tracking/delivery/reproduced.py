"""Tags MLflow runs with the results of `lenet-reproduce`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from lenet_exp.addresses import full_uri, hide_password
from lenet_exp.errors import first_line, printable
from lenet_exp.machine import host
from lenet_exp.tracking.stores.store import connect

REPRODUCED = "reproduced"  # tag with the result of retraining a run
CHECKED = "record_checked"  # tag with the result of evaluating its stored weights
LONGEST = 500  # maximum number of characters in a tag, because MLflow's tables show it

log = logging.getLogger("lenet_exp")


def tag_runs(runs: Sequence[tuple[str, str]], uri: str, tag: str, result: str, *, weak: bool) -> None:
    """Tag a run with a result, the time, and the host in all reachable stores.

    Args:
        runs: pairs of a store's address, as returned by `store_name`, and the run's MLflow run ID in that store.
        uri: address of the user's store. The address can contain a password, which is not saved.
        tag: name of the tag, `REPRODUCED` or `CHECKED`.
        weak: whether the result is inconclusive. If so, an existing tag is kept.
    """
    value = f"{result[:LONGEST]} ({time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, on {host()})"
    for kept, run_id in runs:
        try:
            client = connect(full_uri(kept, uri))
            earlier = client.get_run(run_id).data.tags.get(tag)
            if weak and earlier is not None:
                print(printable(f"MLflow run {run_id}: tag {tag} is kept: {earlier}"))
                continue
            client.set_tag(run_id, tag, value)
        except Exception as e:  # the result must be reported even if a store is unreachable
            log.warning("not saved in MLflow (%s): %s", kept, hide_password(first_line(e)))
        else:
            print(f"saved in MLflow run {run_id} as tag {tag}")
    if not runs:
        print(f"not saved in MLflow: no MLflow run of this run is known in {hide_password(uri)}")
