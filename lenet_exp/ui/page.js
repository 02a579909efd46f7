// Runs in MLflow's page before MLflow's own scripts. It leans on how MLflow keeps things in the browser; where a release
// keeps them otherwise, nothing here applies and its pages are as they come.
{
  const CURVES = document.currentScript.dataset.curves.split(" "); // the first charts, in this order
  const CLASSES = "val_accuracy_"; // the accuracy of each class
  const SECTION = "lenet-metrics";
  const CHARTS = /^MLflowLocalStorage-1\.1-RunPage-([0-9a-f]{32})-model-chartUIState$/;

  // MLflow opens its assistant's panel on the first visit to localhost or 127.0.0.1 at each port, and later as it was left.
  try {
    localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
    localStorage.removeItem("mlflow.assistant.panelOpen_v1");
  } catch (refused) {
    console.debug("lenet-ui: the browser keeps nothing", refused);
  }

  // The page of a run sorts its charts by name, single numbers among curves, unless it finds how they were arranged. Where
  // it finds nothing, it is told our order; from then on it keeps that, and what one changes, by itself.
  const kept = Storage.prototype.getItem;
  Storage.prototype.getItem = function (key) {
    const found = kept.call(this, key);
    const run = found === null && CHARTS.exec(key);
    return run ? firstCharts(run[1]) : found;
  };

  function firstCharts(run) {
    try {
      const metrics = metricsOf(run).filter((metric) => !metric.key.includes("/")); // the others get sections of their own
      return JSON.stringify({
        compareRunCharts: metrics.sort(byRank).map(chart),
        compareRunSections: [{ uuid: SECTION, name: "Model metrics", display: true, isReordered: true, deleted: false, isGenerated: true }],
        isAccordionReordered: true, // so that sections of other metrics come after this one
        autoRefreshEnabled: true,
        globalLineChartConfig: { xAxisKey: "step", lineSmoothness: 0, selectedXAxisMetricKey: "" },
      });
    } catch (failed) {
      console.debug("lenet-ui: charts are in MLflow's order", failed);
      return null;
    }
  }

  // At once, as storage answers; MLflow has just asked for the same.
  function metricsOf(run) {
    const asked = new XMLHttpRequest();
    asked.open("GET", `ajax-api/2.0/mlflow/runs/get?run_id=${run}`, false);
    asked.send();
    return JSON.parse(asked.responseText).run.data.metrics ?? [];
  }

  function isCurve(metric) {
    return Number(metric.step) >= 1; // so MLflow tells them, too
  }

  function rank(metric) {
    const place = CURVES.indexOf(metric.key);
    if (place >= 0) return place;
    return CURVES.length + (isCurve(metric) ? 0 : metric.key.startsWith(CLASSES) ? 1 : 2);
  }

  function byRank(one, other) {
    return rank(one) - rank(other) || (one.key < other.key ? -1 : 1);
  }

  function chart(metric) {
    const line = { type: "LINE", xAxisKey: "step", lineSmoothness: 0, useGlobalXaxisKey: true, useGlobalLineSmoothing: true };
    const named = { uuid: `lenet-${metric.key}`, metricKey: metric.key, displayName: metric.key };
    return { ...(isCurve(metric) ? line : { type: "BAR" }), ...named, metricSectionId: SECTION, deleted: false, isGenerated: true };
  }
}
