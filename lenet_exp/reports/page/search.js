// Charts for a search: the best value so far, the learning curves of its runs, and its trials versus each flag.
const STAR = "path://M5,0L6.5,3.4L10,3.8L7.4,6.2L8.1,9.8L5,8L1.9,9.8L2.6,6.2L0,3.8L3.5,3.4Z";

function searchAxis(search, range) {
  return { ...axis(range, { percent: search.percent }), name: search.objective, nameGap: 52 };
}

function historyChart(board) {
  const search = board.data.search;
  const points = search.history;
  if (!points.length) return null;
  const last = points[points.length - 1];
  const y = searchAxis(search, most(points.map((p) => p.best), { less: search.less }));
  const ends = marks(points.map((p) => [p.epochs, p.best]), y);
  const option = based({
    xAxis: { type: "value", min: 0, max: Math.max(search.epochs, 1), name: "epochs trained", nameGap: 26, axisLabel: { hideOverlap: true } },
    yAxis: y,
    series: [
      { type: "line", clip: true, step: "end", color: BEST, symbol: "none", silent: true, data: [...points.map((p) => [p.epochs, p.best]), [search.epochs, last.best]] },
      { type: "scatter", clip: true, color: BEST, symbolSize: 9, data: points.map((p) => [p.epochs, p.best]) },
      ends,
    ],
    tooltip: { trigger: "item", formatter: (p) => tip(points[p.dataIndex].said, `after ${many(points[p.dataIndex].epochs, "epoch")}`, points[p.dataIndex].named) },
  });
  return { option, note: `Best result so far versus epochs trained in all trials (${search.how}). Now: ${last.said}, ${last.named}.${marked(ends)}` };
}

// Draw accuracy versus cost, if the search has two objectives, with a line through the trials of the Pareto front.
function frontChart(board) {
  const cost = board.data.search.cost;
  const trials = board.data.groups.filter((g) => g.n && g.mean !== null && g[cost] > 0);
  if (!cost || !trials.length) return null;
  const better = (g, than) => (METRIC.larger ? g.mean > than.mean : g.mean < than.mean);
  const front = [];
  for (const g of [...trials].sort((a, b) => a[cost] - b[cost] || (better(a, b) ? -1 : 1))) {
    if (!front.length || better(g, front[front.length - 1])) front.push(g);
  }
  const others = trials.filter((g) => !front.includes(g));
  const y = axis(most(front.map((g) => g.mean)), { percent: true });
  const inside = (v) => Math.min(Math.max(v, y.min), y.max);
  const dots = (groups, color, name) => ({ type: "scatter", name, color, symbolSize: 9, data: groups.map((group) => ({ group, value: [group[cost], inside(group.mean)], symbol: inside(group.mean) === group.mean ? "circle" : "arrow", symbolRotate: 180 })) });
  const option = based({
    grid: { bottom: 34 },
    xAxis: { type: "log", name: cost === "seconds" ? "seconds to the best epoch" : cost, nameGap: 26, axisLabel: { hideOverlap: true } },
    yAxis: { ...y, name: `${board.data.by} validation ${METRIC.name}`, nameGap: 52 },
    legend: { data: ["Pareto front", "dominated"] },
    series: [
      { type: "line", step: "end", silent: true, symbol: "none", color: BEST, lineStyle: { width: 1 }, data: front.map((g) => [g[cost], g.mean]) },
      dots(front, BEST, "Pareto front"),
      dots(others, STATES.pruned, "dominated"),
    ],
    tooltip: { trigger: "item", formatter: (p) => groupTip(p.data.group) },
  });
  return { option, note: `No other trial has both a better ${METRIC.name} and a lower cost than a trial of the front.${others.some((g) => inside(g.mean) !== g.mean) ? " Arrow: value beyond the axis." : ""}` };
}

function runsChart(board) {
  const search = board.data.search;
  const runs = search.runs.filter((r) => r.y.length);
  const range = most(runs.flatMap((r) => r.y), { less: search.loss || !METRIC.larger, least: 0.01 });
  if (!range) return null;
  const y = axis(range, { percent: !search.loss });
  const kind = (r) => (r.trial === search.best ? "best" : r.outcome);
  const colour = (name) => (name === "best" ? BEST : STATES[name] ?? BEST);
  const line = (name, z) => ({ type: "lines", coordinateSystem: "cartesian2d", polyline: true, clip: true, name, z, color: colour(name), lineStyle: { color: colour(name), width: name === "best" ? 3 : 1, opacity: 0.8 }, emphasis: { lineStyle: { width: 3.5 } }, data: runs.filter((r) => kind(r) === name && r.y.length > 1).map((run) => ({ run, coords: run.y.map((v, e) => [e + 1, v]) })) });
  const series = ["pruned", "failed", "killed", "running", "diverged", "finished", "best"].map((name, n) => line(name, n + 2)).filter((s) => s.data.length);
  const ends = runs.map((run) => ({ run, value: [run.y.length, run.y[run.y.length - 1]], itemStyle: { color: colour(kind(run)) } }));
  const beyond = marks(runs.flatMap((r) => r.y.map((v, e) => [e + 1, v])), y);
  const option = based({
    grid: { bottom: 34 },
    xAxis: epochAxis(Math.max(...runs.map((r) => r.y.length))),
    yAxis: { ...y, name: `validation ${search.loss ? "loss" : METRIC.name}`, nameGap: 52 },
    legend: { data: series.map((s) => s.name) },
    series: [...series, { type: "scatter", clip: true, symbolSize: 5, z: 20, data: ends }, ...(beyond.data.length ? [beyond] : [])],
    tooltip: { trigger: "item", formatter: (p) => tip(p.data.run.name, `${p.data.run.outcome} after ${many(p.data.run.y.length, "epoch")}`) },
  });
  return { option, note: `All runs of the search, including pruned runs. Dot: end of a run.${marked(beyond)}` };
}

function trialsChart(board, width, state) {
  const search = board.data.search;
  const flag = search.flags.find((f) => f.name === state.flag);
  const trials = search.trials.filter((t) => t.value !== null && (!flag || t.flags[flag.name] !== "-"));
  if (!trials.length) return null;
  const well = trials.filter((t) => t.outcome !== "diverged");
  const y = searchAxis(search, most((well.length ? well : trials).map((t) => t.value), { less: search.less }));
  const inside = (v) => Math.min(Math.max(v, y.min), y.max);
  const point = (t) => {
    const best = t.number === search.best;
    const at = inside(t.value);
    const shape = best ? { symbol: STAR, symbolSize: 17 } : at !== t.value ? { symbol: "arrow", symbolSize: 11, symbolRotate: t.value < at ? 180 : 0 } : { symbol: t.outcome === "diverged" ? "triangle" : "circle", symbolSize: t.outcome === "pruned" ? 6 : 9 };
    return { value: [flag ? t.flags[flag.name] : t.number, at], ...shape, itemStyle: { color: best ? BEST : STATES[t.outcome] ?? BEST } };
  };
  const option = based({
    xAxis: flag ? flagAxis(flag, trials.map((t) => t.flags[flag.name])) : { ...epochAxis(Math.max(...trials.map((t) => t.number)), "trial number"), min: 0 },
    yAxis: y,
    series: [{ type: "scatter", data: trials.map(point) }],
    tooltip: { trigger: "item", formatter: (p) => trialTip(trials[p.dataIndex]) },
  });
  const outside = trials.some((t) => inside(t.value) !== t.value);
  return { option, note: `Blue: finished, gray: pruned, orange: diverged, star: best.${outside ? " Arrow: value beyond the axis." : ""}` };
}

function trialTip(trial) {
  return tip(trial.name, `trial ${trial.number}: ${trial.said}${trial.outcome === "finished" ? "" : `, ${trial.outcome}`}`, many(trial.epochs, "epoch"));
}
