"""Creates links to MLflow's UI that open a sweep as a flat list of runs, best first.

The list shows the columns that differ.

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
from lenet_exp.config.schema import SEED_FLAGS
from lenet_exp.config.tags import is_own
from lenet_exp.files import Json
from lenet_exp.training.epoch import MODEL_METRICS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BEST = "best_val_accuracy"

# Without this, MLflow shows its pages for language models.
TRAINING = "workflowType=machine_learning"

CHARTS = "&compareRunsMode=CHART"
MOST_COLUMNS = 8  # maximum number of params that fit on a screen
MOST_RUNS = 1000  # maximum number of runs that are searched for differing params
CURVES = (*MODEL_METRICS, "step_loss", "lr")
LOSSES = tuple(name for name in CURVES if name.endswith("_loss"))
OF_EXPERIMENT = ("dataset", "model", "activation", "optimizer", "optimizer.lr", "num_epoch", "seed")
SECTION = "lenet-metrics"

# MLflow's page shows "Something went wrong" if one of these keys is missing.
INITIAL_STATE: dict[str, Json] = {
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
        section: dict[str, Json] = {
            "uuid": SECTION,
            "name": "Model metrics",
            "display": True,
            "isReordered": True,
            "columns": 2,
        }
        state = INITIAL_STATE | {
            "searchFilter": self.search,
            "orderByKey": f"metrics.`{self._best}`",
            "orderByAsc": not self.metric.larger,
            "selectedColumns": self._columns(),
            "compareRunCharts": self._charts(),
            "compareRunSections": [section],
        }

        if self.grouped:
            keys = [{"mode": "param", "groupByData": name} for name in self.grouped]
            state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
            state["useGroupedValuesInCharts"] = True
        return json.dumps(state, separators=(",", ":"))

    def _columns(self) -> list[str]:
        params = [f"params.`{name}`" for name in self.params]
        tags = [f"tags.`{name}`" for name in self.tags]
        results = [
            f"metrics.`{self._best}`",
            "metrics.`best_epoch`",
            "attributes.`Duration`",
            "tags.`outcome`",
        ]
        return [*params, *tags, *results]

    def _charts(self) -> list[Json]:
        names = dict.fromkeys([self.metric.key, *CURVES])
        return [self._chart(name) for name in names]

    def _chart(self, name: str) -> dict[str, Json]:
        scale = "log" if name in LOSSES else "linear"  # diverged runs have huge losses
        chart: dict[str, Json] = {
            "type": "LINE",
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "scaleType": scale,
            "uuid": f"lenet-{name}",
            "metricKey": name,
            "displayName": name,
            "metricSectionId": SECTION,
            "deleted": False,
            "isGenerated": False,
        }
        if self.grouped and name == "val_accuracy":
            chart["range"] = {"yMin": self.least_accuracy, "yMax": 1}
        return chart


def sweep_links(client: MlflowClient, address: str, parent: Run) -> list[Link]:
    """Return links to the pages of a sweep. The first link opens the table of the runs.

    Args:
        address: URL of MLflow's UI.
        parent: MLflow run that represents the sweep.
    """
    experiment = parent.info.experiment_id
    sweep = parent.info.run_id
    search = f'tags.sweeps LIKE "%{sweep}%"'
    runs = client.search_runs(
        [experiment], search, order_by=[f"metrics.`{BEST}` DESC"], max_results=MOST_RUNS
    )

    params_of_runs = [run.data.params for run in runs]
    params_of_first_run = params_of_runs[0] if runs else {}

    swept = [flag.lstrip("+") for flag in parent.data.tags.get("swept", "").split()]
    columns = _differing(swept, params_of_runs)
    table = View(
        key=f"sweep-{sweep[:12]}",
        search=search,
        params=list(dict.fromkeys(["model", *columns])),
        tags=_tags_of(runs),
        metric=Metric.of_params(params_of_first_run),
    )

    # If a configuration has several runs, its curves are drawn as a single line with a band.
    flags_of_configuration = [name for name in columns if name not in SEED_FLAGS] or ["dataset"]
    has_bands = _has_repeated_values(flags_of_configuration, params_of_runs)
    grouped = flags_of_configuration if has_bands else []
    accuracies = [run.data.metrics.get("val_accuracy", 1.0) for run in runs]
    least_accuracy = min(accuracies, default=1.0)
    curves = replace(
        table,
        key=f"{table.key}-curves",
        grouped=grouped,
        least_accuracy=max(0.0, 1.5 * least_accuracy - 0.5),
    )
    curves_text = "curves, with a band for each configuration" if has_bands else "curves"

    report_url = f"{address}/#/experiments/{experiment}/runs/{sweep}?{TRAINING}"
    return [
        _link(client, address, experiment, "runs, best first", view=table),
        _link(client, address, experiment, curves_text, view=curves, mode=CHARTS),
        Link("report, plots, and command of the sweep", report_url),
    ]


def experiment_links(client: MlflowClient, address: str, experiment: str) -> list[Link]:
    """Return links to the pages with all runs of an experiment, given the experiment's ID."""
    search = 'tags.kind = "run"'
    runs = client.search_runs([experiment], search, max_results=MOST_RUNS)
    varying = _varying([run.data.params for run in runs])
    others = [name for name in varying if name not in OF_EXPERIMENT]

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
    except MlflowException:
        # The server is read-only, so the user has to select the columns.
        order_key = quote(f"metrics.`{BEST}`")
        page += f"&searchFilter={quote(view.search)}&orderByKey={order_key}&orderByAsc=false"
    return Link(shows, page + mode)


def _tags_of(runs: Sequence[Run]) -> list[str]:
    """Return the names of the tags to show: the list of users, and the users' own tags."""
    names: set[str] = set()
    for run in runs:
        names.update(run.data.tags)
    own_names = [name for name in names if not is_own(name)]
    return ["users", *sorted(own_names)]


def _has_repeated_values(names: Sequence[str], params_of_runs: Sequence[dict[str, str]]) -> bool:
    """Return whether several runs have the same values of the named params."""
    different_values = set()
    for params in params_of_runs:
        values = tuple(params.get(name) for name in names)
        different_values.add(values)
    return len(different_values) < len(params_of_runs)


def _varying(params_of_runs: Sequence[dict[str, str]]) -> list[str]:
    """Return the params that differ between the runs, in alphabetical order."""
    varying = []
    for name in sorted(_names_in(params_of_runs)):
        values = {params.get(name) for params in params_of_runs}
        if len(values) > 1:
            varying.append(name)
    return varying


def _differing(swept: Sequence[str], params_of_runs: Sequence[dict[str, str]]) -> list[str]:
    """Return the params that differ between the runs: swept flags and the flags of swept groups."""
    names = _names_in(params_of_runs)
    varying = _varying(params_of_runs)

    columns: list[str] = []
    for flag in swept:
        # `activation` is a param itself; `schedule`, `augmentation`, and `experiment` are not.
        if flag in names:
            columns.append(flag)
            continue
        flags_of_group = [name for name in varying if name.startswith(f"{flag}.")]
        columns += flags_of_group or varying
    return list(dict.fromkeys(columns))[:MOST_COLUMNS]


def _names_in(params_of_runs: Sequence[dict[str, str]]) -> set[str]:
    names: set[str] = set()
    for params in params_of_runs:
        names.update(params)
    return names
