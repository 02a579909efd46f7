// Charts of a search: history, trials over each flag, its curves, importance, budget.
const FEW_EPOCHS = 5; // of curves that are shown from their first epoch on
const SQUEEZED = 2; // times the range that it would have without

function searchScale(search, values, { of = most, top } = {}) {
  const range = of(values, { less: !search.more, least: search.percent ? 0.01 : 1e-6 });
  if (search.loss && range[0] > 0 && range[1] > 5 * range[0]) return logAxis(range);
  return axis(range, { percent: search.percent, top: top ?? (search.percent ? 1 : Infinity) });
}

function historyChart(board) {
  const search = board.data.search;
  if (!search.history.length) return null;
  const points = search.history;
  const y = searchScale(search, points.map((p) => p.best));
  const last = points[points.length - 1];
  const changed = points.filter((p, i) => i === 0 || p.best !== points[i - 1].best);
  const end = Math.max(search.epochs, last.epochs);
  const option = based({
    xAxis: { ...axis([0, end]), min: 0, max: end, interval: undefined, name: "epochs trained", nameGap: 26, axisLabel: { formatter: (v) => plain(v, 0), hideOverlap: true } },
    yAxis: { ...y, name: search.objective, nameGap: 52 },
    series: [
      { type: "line", clip: true, step: "end", color: BEST, symbol: "none", silent: true, data: [...points.map((p) => [p.epochs, p.best]), [end, last.best]], lineStyle: { width: 2 } },
      { type: "scatter", color: BEST, symbolSize: 9, data: changed.map((p) => [p.epochs, p.best]) },
    ],
    tooltip: { trigger: "item", formatter: (p) => (p.seriesType === "scatter" ? tip(changed[p.dataIndex].said, `after ${many(changed[p.dataIndex].epochs, "epoch")}`, changed[p.dataIndex].named) : "") },
  });
  const early = changed.filter((p) => p.best < y.min || p.best > y.max).length;
  const before = early ? ` ${early} earlier off the scale.` : "";
  return { option, note: `The best so far over the epochs that all trials took (${search.how}): now ${last.said}, ${last.named}.${before}` };
}

function trialPoints(search, trials, x, y) {
  const worst = search.more ? y.min : y.max;
  const outside = (t) => t.value === null || (search.more ? t.value < y.min : t.value > y.max);
  const symbol = { diverged: "path://M0,0L2,0L5,3L8,0L10,0L6,4L10,8L8,8L5,5L2,8L0,8L4,4Z" };
  return trials.map((t, i) => {
    const best = t.number === search.best;
    const foot = t.outcome === "diverged" || outside(t);
    return { value: [x(t, i), foot ? worst : t.value], symbol: symbol[t.outcome] ?? (best ? "path://M5,0L6.5,3.4L10,3.8L7.4,6.2L8.1,9.8L5,8L1.9,9.8L2.6,6.2L0,3.8L3.5,3.4Z" : "circle"), symbolSize: best ? 17 : t.outcome === "pruned" ? 6 : 9, itemStyle: { color: best ? BEST : STATES[t.outcome] ?? STATES.failed } };
  });
}

function trialTip(trial) {
  return tip(trial.name, `trial ${trial.number}: ${trial.said}${trial.outcome === "finished" ? "" : `, ${trial.outcome}`}`, many(trial.epochs, "epoch"));
}

function trialsChart(board, width, state) {
  const search = board.data.search;
  const options = search.flags.filter((f) => new Set(search.trials.map((t) => t.flags[f.name])).size > 1);
  const flag = options.find((f) => f.name === state.flag);
  const trials = flag ? search.trials.filter((t) => t.flags[flag.name] !== "-") : search.trials;
  const scored = search.trials.filter((t) => t.value !== null);
  if (!scored.length) return null;
  const well = scored.filter((t) => t.outcome !== "diverged");
  const y = searchScale(search, (well.length ? well : scored).map((t) => t.value), { of: nearlyAll });
  const scale = flag && flagScale({ ...flag, log: flag.log }, trials.map((t) => t.flags[flag.name]));
  const x = (t, i) => (scale ? scale.at.get(t.flags[flag.name]) + (scale.words ? (((i * 0.618) % 1) - 0.5) * 0.5 : 0) : search.trials.indexOf(t) + 1);
  const option = based({
    xAxis: scale ? { ...scaleAxis(scale), name: axisName(scale), nameGap: 28 } : { type: "value", min: 0, max: search.trials.length + 1, minInterval: 1, name: "trial, in the order in which it was asked for", nameGap: 26 },
    yAxis: { ...y, name: search.objective, nameGap: 52 },
    series: [{ type: "scatter", data: trialPoints(search, trials, x, y) }],
    tooltip: { trigger: "item", formatter: (p) => trialTip(trials[p.dataIndex]) },
  });
  const counts = search.spent.map((s) => `${s.outcome} ${s.runs}`).join(", ");
  const outside = trials.filter((t) => t.value !== null && (search.more ? t.value < y.min : t.value > y.max)).length;
  const foot = outside || trials.some((t) => t.outcome === "diverged") ? ` At the ${search.more ? "foot" : "top"}: diverged (crosses)${outside ? `, ${outside} off the scale` : ""}.` : "";
  return { option, note: `Blue finished, grey pruned, star: the best (runs: ${counts}).${foot}` };
}

// Nearly all ends, and of few epochs the best one's first: a pruned run that was ahead of it stands in the picture.
function curvesRange(search, runs) {
  const last = (r) => r.y.findLast((v) => v !== null) ?? null;
  const well = runs.filter((r) => r.outcome !== "diverged");
  const its = well.length ? well : runs;
  const range = nearlyAll(its.map(last), { less: search.loss, least: 0.01 });
  const first = runs.filter((r) => r.trial === search.best && r.y.length <= FEW_EPOCHS).map((r) => r.y[0]).filter((v) => v !== null);
  if (!range || !first.length) return range;
  const [low, high] = [Math.min(range[0], ...first), Math.max(range[1], ...first)];
  return high - low <= SQUEEZED * (range[1] - range[0]) ? [low, high] : range;
}

function prunedChart(board) {
  const search = board.data.search;
  const runs = search.runs.filter((r) => r.y.length);
  if (!runs.length) return null;
  const finished = runs.filter((r) => r.outcome === "finished").length;
  const range = curvesRange(search, runs);
  if (!range) return null;
  const y = search.loss ? (range[0] > 0 && range[1] > 5 * range[0] ? logAxis(range) : axis(range)) : axis(range, { percent: true, top: 1 });
  const epochs = Math.max(...runs.map((r) => r.y.length));
  const kinds = [["pruned", STATES.pruned, 1], ["failed", STATES.failed, 1], ["killed", STATES.failed, 1], ["running", STATES.failed, 1], ["diverged", STATES.diverged, 1.2], ["finished", STATES.finished, 1.4]];
  const coords = (r) => r.y.map((v, e) => [e + 1, v]).filter(([, v]) => v !== null && (y.type !== "log" || v > 0));
  const inside = ([, v]) => v >= y.min && v <= y.max;
  const rows = (its) => its.map((r) => ({ coords: coords(r), run: r })).filter((d) => d.coords.length > 1 && d.coords.some(inside));
  const lines = (name, color, width, data, z) => ({ type: "lines", coordinateSystem: "cartesian2d", polyline: true, name, color, lineStyle: { color, width, opacity: name === "pruned" ? 0.75 : 0.9 }, emphasis: { lineStyle: { width: 3.5, opacity: 1 } }, data, z, clip: true });
  const series = kinds.map(([name, color, width], z) => lines(name, color, width, rows(runs.filter((r) => r.outcome === name && r.trial !== search.best)), z + 2)).filter((s) => s.data.length);
  const best = rows(runs.filter((r) => r.trial === search.best));
  if (best.length) series.push(lines("best", BEST, 3, best, 20));
  const ended = runs.filter((r) => coords(r).slice(-1).some(inside));
  const dots = ended.map((r) => ({ value: coords(r).pop(), run: r, itemStyle: { color: r.trial === search.best ? BEST : STATES[r.outcome] ?? STATES.failed } }));
  series.push({ type: "scatter", name: "ends", symbolSize: 5, data: dots, z: 21 });
  const option = based({
    grid: { bottom: 32 },
    xAxis: { type: "value", min: 1, max: Math.max(epochs, 2), minInterval: 1, name: "epoch", nameGap: 24, axisLabel: { formatter: (v) => (Number.isInteger(v) ? String(v) : "") } },
    yAxis: { ...y, name: search.loss ? "validation loss" : "validation accuracy", nameGap: 52 },
    legend: { data: series.map((s) => s.name).filter((name) => name !== "ends") },
    series,
    tooltip: { trigger: "item", formatter: (p) => tip(p.data.run.name, `${p.data.run.outcome} after ${many(p.data.run.y.length, "epoch")}`, search.loss ? "" : `best ${percent(Math.max(...p.data.run.y.filter((v) => v !== null)))}`) },
  });
  const off = runs.length - ended.length;
  return { option, note: `${finished} of ${many(runs.length, "run")} finished; a dot is where a run ended.${off ? ` ${off} ended ${search.loss ? "above" : "below"} the scale.` : ""}` };
}

function importanceChart(board, width) {
  const search = board.data.search;
  const its = search.importance;
  if (!its.length) return { empty: "Nothing can be said yet: ten trials have to end (and Optuna has to be installed)." };
  const t = theme();
  const every = Math.max(...its.map((i) => i.trials));
  const option = based({
    xAxis: { type: "value", min: 0, axisLabel: { formatter: (v) => `${Math.round(v * 100)} %`, hideOverlap: true } },
    yAxis: { type: "category", inverse: true, data: its.map((i) => i.flag), axisTick: { show: false }, axisLabel: { interval: 0, width: 0.4 * width, overflow: "truncate" } },
    series: [{ type: "bar", barMaxWidth: 20, color: STATES.finished, data: its.map((i) => i.share), label: { show: true, position: "right", color: t.text, formatter: (p) => its[p.dataIndex].said } }],
    tooltip: { trigger: "item", formatter: (p) => tip(its[p.dataIndex].flag, its[p.dataIndex].said, its[p.dataIndex].trials < every ? `of ${many(its[p.dataIndex].trials, "trial")} where it matters` : "") },
  });
  return { option, height: 80 + 34 * its.length, note: `What tells the best ${search.told} of ${every} trials from all (PED-ANOVA); pruned ones count as behind those that finished.` };
}

function budgetChart(board) {
  const search = board.data.search;
  const its = search.spent.filter((s) => s.epochs);
  if (!its.length) return null;
  const t = theme();
  const option = based({
    grid: { bottom: 28 },
    legend: { data: its.map((s) => s.outcome) },
    xAxis: { type: "value", min: 0, max: search.epochs, name: "epochs", nameGap: 24, axisLabel: { hideOverlap: true } },
    yAxis: { type: "category", data: [""], axisTick: { show: false } },
    series: its.map((s) => ({ type: "bar", stack: "spent", name: s.outcome, color: STATES[s.outcome] ?? STATES.failed, barWidth: 34, data: [s.epochs], label: { show: s.epochs > 0.08 * search.epochs, color: "#fff", formatter: String(s.epochs) } })),
    tooltip: { trigger: "item", formatter: (p) => tip(`${its[p.seriesIndex].outcome}: ${its[p.seriesIndex].epochs} epochs`, `${its[p.seriesIndex].runs} runs`, percent(its[p.seriesIndex].epochs / search.epochs, 0)) },
  });
  const told = its.map((s) => `${s.epochs.toLocaleString("en")} in ${s.runs} ${s.outcome} runs`).join(", ");
  return { option, height: 150, note: `${search.epochs.toLocaleString("en")} epochs: ${told}.`, t };
}
