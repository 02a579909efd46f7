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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from lenet_exp.files import Json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BEST = "best_val_accuracy"
TRAINING = "workflowType=machine_learning"  # else the pages around are those for language models
CHARTS = "&compareRunsMode=CHART"
MOST_COLUMNS = 8  # of params; what does not fit on a screen is not seen
MOST_RUNS = 1000  # that are looked at for the params that differ
CURVES = ("val_accuracy", "val_loss", "train_loss", "train_accuracy", "step_loss", "lr")
LOSSES = ("val_loss", "train_loss", "step_loss")
ACCURACIES = ("val_accuracy", "train_accuracy")
SAMPLED = 10  # of the runs that ended best, and of the worst, for the range of the accuracies
LEAST_NAME, MOST_NAME = 190, 420  # pixels; a character takes 6, what stands beside a name 50
LUCK = ("seed", "split_seed")  # what makes no configuration
KEY = 12  # digits of a sweep's run id in the key of its views
# What else MLflow keeps of these pages, as it begins. Releases without named views take a saved state as it is, and
# show "Something went wrong" where one of these is missing.
AS_IT_BEGINS: dict[str, Json] = {
    "runsPinned": [],
    "runsHidden": [],
    "runsExpanded": {},
    "runsVisibilityMap": {},
    "groupsExpanded": {},
    "hideEmptyCharts": True,
    "autoRefreshEnabled": True,
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
}
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
        grouped: params whose values make a configuration: its runs are one line with a band; empty: each run is a line.
        parallel: whether parallel coordinates come before the curves; MLflow has none of groups.
        accuracies: lowest and highest of the curves; MLflow begins at 0 where it draws bands.
        name_width: pixels of the column of names.
    """

    key: str
    name: str
    created_ms: int
    search: str
    params: Sequence[str]
    grouped: Sequence[str] = ()
    parallel: bool = False
    accuracies: tuple[float, float] | None = None
    name_width: int = LEAST_NAME

    def saved(self) -> str:
        """The tag's value: a named view, and for releases of MLflow without these the same state once more."""
        state = AS_IT_BEGINS | self.searched() | self._table() | self._charts() | self._groups()
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
            "columnWidths": {f"metrics.`{BEST}`": 150, "attributes.`Run Name`": self.name_width},  # so that names fit
        }

    def _charts(self) -> dict[str, Json]:
        section = "lenet-metrics"
        common: dict[str, Json] = {"metricSectionId": section, "deleted": False, "isGenerated": False}
        # MLflow smooths lines unless told not to.
        line: dict[str, Json] = {"type": "LINE", "xAxisKey": "step", "lineSmoothness": 0, **common}
        charts = [{**line, "uuid": f"lenet-{name}", "metricKey": name, "displayName": name} for name in CURVES]
        charts = [{**c, "scaleType": "log"} if c["metricKey"] in LOSSES else c for c in charts]  # some diverge
        if self.accuracies is not None:
            low, high = self.accuracies
            margin = max(0.05 * (high - low), 0.001)
            limits = {"yMin": max(0.0, low - margin), "yMax": min(1.0, high + margin)}
            charts = [{**c, "range": limits} if c["metricKey"] in ACCURACIES else c for c in charts]
        if self.parallel:
            axes: dict[str, Json] = {
                "selectedParams": list(self.params),
                "selectedMetrics": [BEST],
                "showAllRuns": True,
            }
            charts.insert(0, {"type": "PARALLEL", "uuid": "lenet-parallel", **axes, "showAllRuns": True, **common})
        return {
            "compareRunCharts": charts,
            "compareRunSections": [
                {
                    "uuid": section,
                    "name": "Model metrics",
                    "display": True,
                    "isReordered": True,
                    "columns": 1 if self.parallel else 2,  # axes of parallel coordinates need their room
                }
            ],
            "isAccordionReordered": True,  # else sections of other metrics, such as mine/x, come first
            "runsHiddenMode": "FIRST_20_RUNS",
        }

    def _groups(self) -> dict[str, Json]:
        if not self.grouped:
            return {}
        keys = [{"mode": "param", "groupByData": name} for name in self.grouped]
        return {"groupBy": {"aggregateFunction": "average", "groupByKeys": keys}, "useGroupedValuesInCharts": True}


def sweep_links(client: MlflowClient, address: str, parent: Run) -> list[Link]:
    """The pages of a sweep, given its parent run: the table of its runs first."""
    experiment, sweep = parent.info.experiment_id, parent.info.run_id
    search = f'tags.sweeps LIKE "%{sweep}%"'
    runs = client.search_runs([experiment], search, order_by=[f"metrics.`{BEST}` DESC"], max_results=MOST_RUNS)
    swept = [flag.lstrip("+") for flag in parent.data.tags.get("swept", "").split()]
    columns = _differing(swept, [run.data.params for run in runs])
    name, at = parent.info.run_name, parent.info.start_time
    key = f"sweep-{sweep[:KEY]}"
    configuration = [name for name in columns if name not in LUCK] or ["dataset"]
    several = len({tuple(run.data.params.get(name) for name in configuration) for run in runs}) < len(runs)
    grouped = configuration if several else []
    longest = max((len(run.info.run_name) for run in runs), default=0)
    table = View(key, name, at, search, columns, name_width=min(MOST_NAME, max(LEAST_NAME, 50 + 6 * longest)))
    curves = replace(table, key=f"{key}-curves", name=f"{name}: curves", grouped=grouped)
    curves = replace(curves, accuracies=_accuracies(client, runs) if grouped else None)
    parallel = replace(table, key=f"{key}-parallel", name=f"{name}: parallel", parallel=True)
    pages = [
        ("the runs, best first", table, ""),
        ("their curves" + (", a band for each configuration" if grouped else ""), curves, CHARTS),
        ("parallel coordinates", parallel, CHARTS),
    ]
    links = [_link(client, address, experiment, *page) for page in pages]
    page = f"{address}/#/experiments/{experiment}/runs/{sweep}?{TRAINING}"
    return [*links, Link("the sweep: its report, pictures and command", page)]


def _accuracies(client: MlflowClient, runs: Sequence[Run]) -> tuple[float, float] | None:
    """The range of validation accuracies, by the runs that ended best and worst; None where there are none."""
    found = [run for run in runs if "val_accuracy" in run.data.metrics]
    known = [run.info.run_id for run in sorted(found, key=lambda run: run.data.metrics["val_accuracy"])]
    sampled = dict.fromkeys([*known[:SAMPLED], *known[-SAMPLED:]])
    values = [m.value for run in sampled for m in client.get_metric_history(run, "val_accuracy")]
    return (min(values), max(values)) if values else None


def experiment_links(client: MlflowClient, address: str, experiment: str) -> list[Link]:
    """The pages of all runs of an experiment, given its id."""
    created_ms = client.get_experiment(experiment).creation_time or 0
    view = View(
        key="all-runs",
        name="all runs, best first",
        created_ms=created_ms,
        search='tags.kind = "run"',
        params=OF_EXPERIMENT,
        grouped=(),
        parallel=True,
    )
    pages = [("the runs, best first", view, ""), ("their curves", view, CHARTS)]
    return [_link(client, address, experiment, *page) for page in pages]


def _link(client: MlflowClient, address: str, experiment: str, shows: str, view: View, mode: str) -> Link:
    from mlflow.exceptions import MlflowException

    page = f"{address}/#/experiments/{experiment}/runs?{TRAINING}"
    try:
        client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{view.key}", view.saved())
        page += f"&viewStateShareKey={view.key}"
    except MlflowException:  # a server where one may only look; the columns are then chosen by hand
        page += "".join(f"&{k}={quote(v if isinstance(v, str) else _json(v))}" for k, v in view.searched().items())
    return Link(shows, page + mode)


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
