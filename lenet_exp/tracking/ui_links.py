"""Links into MLflow's UI that open it as one wants to see a sweep: flat, best first, with the columns that differ.

What a link can't say itself MLflow reads from a tag of the experiment, `mlflow.sharedViewState.<key>`: the search
(`searchFilter`, `orderByKey`, ...) and the state of table and charts, in JSON. It does so only where the link has no
search of its own.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BEST = "best_val_accuracy"
TRAINING = "workflowType=machine_learning"  # else the pages around are those for language models
MOST_COMPARED = 20
MOST_COLUMNS = 8  # of params; what does not fit on a screen is not seen
MOST_RUNS = 1000  # that are looked at for the params that differ
CURVES = ("val_accuracy", "val_loss", "train_loss", "train_accuracy", "step_loss", "lr")
OF_EXPERIMENT = ["dataset", "activation", "optimizer", "optimizer.lr", "num_epoch", "seed"]


@dataclass(frozen=True)
class Link:
    """One page, and what it shows."""

    shows: str
    url: str


@dataclass(frozen=True)
class View:
    """Which runs the experiment's page lists, and how.

    Attributes:
        key: names it in a link; the same key again replaces it.
        name: its name in the page's menu "Views".
        created_ms: when what it shows was created.
        search: the runs, in MLflow's syntax.
        params: the columns before the metrics, and the axes of the parallel coordinates.
    """

    key: str
    name: str
    created_ms: int
    search: str
    params: Sequence[str]

    def saved(self) -> str:
        """The tag's value: a named view, and for releases of MLflow without these the same state once more."""
        state = self.searched() | self._table() | self._charts()
        packed = base64.b64encode(zlib.compress(_json(state).encode())).decode()
        return _json({"name": self.name, "createdAt": self.created_ms, "state": f"deflate;{packed}"} | state)

    def searched(self) -> dict[str, str | bool]:
        return {"searchFilter": self.search, "orderByKey": f"metrics.`{BEST}`", "orderByAsc": False}

    def _table(self) -> dict[str, list[str] | dict[str, int]]:
        shown = [f"params.`{name}`" for name in self.params]
        shown += [f"metrics.`{BEST}`", "metrics.`best_epoch`", "attributes.`Duration`", "tags.`outcome`"]
        names_in_table = {"attributes.`Duration`": "duration"}
        return {
            "selectedColumns": shown,
            "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *(names_in_table.get(c, c) for c in shown)],
            "columnWidths": {f"metrics.`{BEST}`": 150},  # its name does not fit otherwise
        }

    def _charts(self) -> dict[str, Any]:
        section = "lenet-metrics"
        common = {"metricSectionId": section, "deleted": False, "isGenerated": False}
        line = {"type": "LINE", "xAxisKey": "step", "lineSmoothness": 0} | common  # it smooths where nothing is said
        charts = [line | {"uuid": f"lenet-{name}", "metricKey": name, "displayName": name} for name in CURVES]
        if self.params:
            axes = {"selectedParams": list(self.params), "selectedMetrics": [BEST], "showAllRuns": True}
            charts.insert(0, {"type": "PARALLEL", "uuid": "lenet-parallel"} | axes | common)
        return {
            "compareRunCharts": charts,
            "compareRunSections": [
                {"uuid": section, "name": "Model metrics", "display": True, "isReordered": True, "columns": 2}
            ],
            "isAccordionReordered": True,  # else sections of other metrics, such as mine/x, come first
            "runsHiddenMode": "FIRST_20_RUNS",
        }


def sweep_links(client: MlflowClient, address: str, parent: Run) -> list[Link]:
    """The pages of a sweep, given its parent run: the table of its runs first."""
    experiment, sweep = parent.info.experiment_id, parent.info.run_id
    search = f'tags.sweeps LIKE "%{sweep}%"'
    runs = client.search_runs([experiment], search, order_by=[f"metrics.`{BEST}` DESC"], max_results=MOST_RUNS)
    swept = [flag.lstrip("+") for flag in parent.data.tags.get("swept", "").split()]
    columns = _differing(swept, [run.data.params for run in runs])
    view = View(f"sweep-{sweep}", parent.info.run_name, parent.info.start_time, search, columns)
    links = _table_links(client, address, experiment, view)
    page = f"{address}/#/experiments/{experiment}/runs/{sweep}?{TRAINING}"
    links.append(Link("the sweep: its report, pictures and command", page))
    best = [run.info.run_id for run in runs if BEST in run.data.metrics][:MOST_COMPARED]
    if len(best) > 1:
        which = "all of them" if len(best) == len(runs) else f"the best {len(best)}"
        page = f"{address}/#/compare-runs?runs={quote(_json(best))}&experiments={quote(_json([experiment]))}"
        links.append(Link(f"{which} compared", page))
    return links


def experiment_links(client: MlflowClient, address: str, experiment: str) -> list[Link]:
    """The pages of all runs of an experiment, given its id."""
    created_ms = client.get_experiment(experiment).creation_time or 0
    view = View("all-runs", "all runs, best first", created_ms, 'tags.kind = "run"', OF_EXPERIMENT)
    return _table_links(client, address, experiment, view)


def _table_links(client: MlflowClient, address: str, experiment: str, view: View) -> list[Link]:
    from mlflow.exceptions import MlflowException

    page = f"{address}/#/experiments/{experiment}/runs?{TRAINING}"
    try:
        client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{view.key}", view.saved())
        page += f"&viewStateShareKey={view.key}"
    except MlflowException:  # a server where one may only look; the columns are then chosen by hand
        page += "".join(f"&{k}={quote(v if isinstance(v, str) else _json(v))}" for k, v in view.searched().items())
    return [Link("the runs, best first", page), Link("their curves", f"{page}&compareRunsMode=CHART")]


def _differing(swept: Sequence[str], params: Sequence[dict[str, str]]) -> list[str]:
    """The params that tell the runs apart: the swept flags, and of a swept group the flags that differ."""
    names = sorted({name for run in params for name in run})
    differ = [name for name in names if len({run.get(name) for run in params}) > 1]
    found: list[str] = []
    for flag in swept:
        # `activation=relu,elu` is a param itself; `schedule=` and `augmentation=` are not, nor is `experiment=`.
        found += [flag] if flag in names else [n for n in differ if n.startswith(f"{flag}.")] or differ
    return list(dict.fromkeys(found))[:MOST_COLUMNS]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
