"""Creates links to MLflow's UI that open a sweep as a flat list of runs, best first, with the
columns that differ.

A link cannot contain the entire view. MLflow reads the rest from the experiment's tag
`mlflow.sharedViewState.<key>`, which contains the filter and the state of the table and the charts
in JSON. tests/browser checks the links with the oldest and the newest supported release of MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from lenet_exp.config.metric import Metric
from lenet_exp.config.tags import is_own
from lenet_exp.files import Json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BEST = "best_val_accuracy"
TRAINING = (
    "workflowType=machine_learning"  # without this, MLflow shows its pages for language models
)
CHARTS = "&compareRunsMode=CHART"
MOST_COLUMNS = 8  # maximum number of params that fit on a screen
MOST_RUNS = 1000  # maximum number of runs that are searched for differing params
CURVES = ("val_accuracy", "val_loss", "train_loss", "train_accuracy", "step_loss", "lr")
LOSSES = ("val_loss", "train_loss", "step_loss")
SEED_FLAGS = ("seed", "split_seed")  # not part of a configuration
OF_EXPERIMENT = ("dataset", "model", "activation", "optimizer", "optimizer.lr", "num_epoch", "seed")
SECTION = "lenet-metrics"
# MLflow's page shows "Something went wrong" if one of these keys is missing.
AS_IT_BEGINS: dict[str, Json] = {
    "runsPinned": [],
    "runsHidden": [],
    "runsExpanded": {},
    "runsVisibilityMap": {},
    "groupsExpanded": {},
    "hideEmptyCharts": True,
    "autoRefreshEnabled": True,
    "globalLineChartConfig": {
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
    },
    # otherwise, sections for other metrics, such as mine/x, come first
    "isAccordionReordered": True,
    "runsHiddenMode": "FIRST_20_RUNS",
}


@dataclass(frozen=True)
class Link:
    """A link to a page in MLflow's UI.

    Attributes:
        shows: description of what the page shows.
        url: address of the page.
    """

    shows: str
    url: str


@dataclass(frozen=True)
class View:
    """A view of an experiment's page: which runs the page lists and how it shows them.

    Attributes:
        key: name of the view in a link; a new view with the same key replaces an existing view.
        search: filter that selects the runs, in MLflow's syntax.
        params: params that are shown as columns before the metrics.
        tags: tags that are shown as columns after the params.
        grouped: params that define a configuration, whose runs are drawn as a single line with a
            band; empty to draw a line for each run.
        least_accuracy: lower limit of the axis for validation accuracy in a chart with bands, which
            MLflow would start at 0.
        metric: metric by which the runs are ordered.
    """

    key: str
    search: str
    params: Sequence[str]
    tags: Sequence[str] = ()
    grouped: Sequence[str] = ()
    least_accuracy: float = 0.0
    metric: Metric = field(default_factory=Metric)

    @property
    def _best(self) -> str:
        return f"best_{self.metric.key}"

    def tag_value(self) -> str:
        """Return the value of the experiment's tag that stores how MLflow shows its runs."""
        columns = [f"params.`{name}`" for name in self.params] + [
            f"tags.`{name}`" for name in self.tags
        ]
        columns += [
            f"metrics.`{self._best}`",
            "metrics.`best_epoch`",
            "attributes.`Duration`",
            "tags.`outcome`",
        ]
        section: dict[str, Json] = {
            "uuid": SECTION,
            "name": "Model metrics",
            "display": True,
            "isReordered": True,
        }
        state = AS_IT_BEGINS | {
            "searchFilter": self.search,
            "orderByKey": f"metrics.`{self._best}`",
            "orderByAsc": not self.metric.larger,
            "selectedColumns": columns,
            "compareRunCharts": self._charts(),
            "compareRunSections": [{**section, "columns": 2}],
        }
        if self.grouped:
            keys = [{"mode": "param", "groupByData": name} for name in self.grouped]
            state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
            state["useGroupedValuesInCharts"] = True
        return json.dumps(state, separators=(",", ":"))

    def _charts(self) -> list[Json]:
        common: dict[str, Json] = {
            "metricSectionId": SECTION,
            "deleted": False,
            "isGenerated": False,
        }
        charts: list[Json] = []
        for name in dict.fromkeys([self.metric.key, *CURVES]):
            scale = "log" if name in LOSSES else "linear"  # diverged runs have huge losses
            named: dict[str, Json] = {
                "uuid": f"lenet-{name}",
                "metricKey": name,
                "displayName": name,
                **common,
            }
            if self.grouped and name == "val_accuracy":
                named["range"] = {"yMin": self.least_accuracy, "yMax": 1}
            charts.append(
                {
                    "type": "LINE",
                    "xAxisKey": "step",
                    "lineSmoothness": 0,
                    "scaleType": scale,
                    **named,
                }
            )
        return charts


def sweep_links(client: MlflowClient, address: str, parent: Run) -> list[Link]:
    """Return links to the pages of a sweep, given its parent run. The first link opens the table of
    the runs.
    """
    experiment, sweep = parent.info.experiment_id, parent.info.run_id
    search = f'tags.sweeps LIKE "%{sweep}%"'
    runs = client.search_runs(
        [experiment], search, order_by=[f"metrics.`{BEST}` DESC"], max_results=MOST_RUNS
    )
    swept = [flag.lstrip("+") for flag in parent.data.tags.get("swept", "").split()]
    columns = _differing(swept, [run.data.params for run in runs])
    configuration = [name for name in columns if name not in SEED_FLAGS] or ["dataset"]
    several = len(
        {tuple(run.data.params.get(name) for name in configuration) for run in runs}
    ) < len(runs)
    table = View(
        f"sweep-{sweep[:12]}", search, list(dict.fromkeys(["model", *columns])), _tags_of(runs)
    )
    table = replace(table, metric=Metric.of_params(runs[0].data.params if runs else {}))
    least = min((run.data.metrics.get("val_accuracy", 1.0) for run in runs), default=1.0)
    grouped = configuration if several else ()
    curves = replace(
        table,
        key=f"{table.key}-curves",
        grouped=grouped,
        least_accuracy=max(0.0, 1.5 * least - 0.5),
    )
    bands = ", with a band for each configuration" if several else ""
    return [
        _link(client, address, experiment, "runs, best first", view=table),
        _link(client, address, experiment, f"curves{bands}", view=curves, mode=CHARTS),
        Link(
            "report, plots, and command of the sweep",
            f"{address}/#/experiments/{experiment}/runs/{sweep}?{TRAINING}",
        ),
    ]


def experiment_links(client: MlflowClient, address: str, experiment: str) -> list[Link]:
    """Return links to the pages with all runs of an experiment, given the experiment's ID."""
    search = 'tags.kind = "run"'
    runs = client.search_runs([experiment], search, max_results=MOST_RUNS)
    others = [
        name for name in _varying([run.data.params for run in runs]) if name not in OF_EXPERIMENT
    ]
    view = View("all-runs", search, [*OF_EXPERIMENT, *others[:MOST_COLUMNS]], _tags_of(runs))
    return [
        _link(client, address, experiment, "runs, best first", view=view),
        _link(client, address, experiment, "curves", view=view, mode=CHARTS),
    ]


def _link(
    client: MlflowClient, address: str, experiment: str, shows: str, view: View, mode: str = ""
) -> Link:
    from mlflow.exceptions import MlflowException

    page = f"{address}/#/experiments/{experiment}/runs?{TRAINING}"
    try:
        client.set_experiment_tag(
            experiment, f"mlflow.sharedViewState.{view.key}", view.tag_value()
        )
        page += f"&viewStateShareKey={view.key}"
    except MlflowException:  # the server is read-only, so the user has to select the columns
        page += f"&searchFilter={quote(view.search)}&orderByKey={quote(f'metrics.`{BEST}`')}&orderByAsc=false"
    return Link(shows, page + mode)


def _tags_of(runs: Sequence[Run]) -> list[str]:
    """Return the names of the tags to show: the list of users, and the users' own tags."""
    return ["users", *sorted({name for run in runs for name in run.data.tags if not is_own(name)})]


def _varying(params: Sequence[dict[str, str]]) -> list[str]:
    """Return the params that differ between the runs, in alphabetical order."""
    names = sorted({name for run in params for name in run})
    return [name for name in names if len({run.get(name) for run in params}) > 1]


def _differing(swept: Sequence[str], params: Sequence[dict[str, str]]) -> list[str]:
    """Return the params that differ between the runs: swept flags and the flags of swept groups."""
    names, differ = {name for run in params for name in run}, _varying(params)
    found: list[str] = []
    for flag in swept:
        # `activation` is a param itself; `schedule`, `augmentation`, and `experiment` are not.
        found += (
            [flag] if flag in names else [n for n in differ if n.startswith(f"{flag}.")] or differ
        )
    return list(dict.fromkeys(found))[:MOST_COLUMNS]
