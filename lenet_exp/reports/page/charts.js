// Charts that compare configurations: confidence intervals and learning curves.
const MOST_ROWS = 20;
const CURVE_POINTS = 30; // maximum number of epochs for which a curve has dots

function intervalsChart(board, width) {
  const groups = board.shown().filter((g) => g.mean !== null);
  const its = groups.slice(0, MOST_ROWS);
  if (!its.length || (board.data.search && its.every((g) => g.n < 2))) return null; // those are among the trials
  const t = theme();
  const range = most(its.flatMap((g) => [g.mean, ...g.seeds]));
  const near = its.filter((g) => g.mean >= range[0] && g.low !== null);
  const x = axis(around(range, near.map((g) => [g.low, g.high])), { percent: true });
  const beyond = (g) => Math.min(g.mean, g.low ?? 1, ...g.seeds) < x.min;
  const draw = (params, api) => {
    const g = its[params.dataIndex];
    const at = (v) => api.coord([Math.max(v, x.min), params.dataIndex]);
    const [cx, cy] = at(g.mean);
    const style = { fill: g.state ? STATES.diverged : g.best ? STATES.finished : STATES.pruned };
    const children = g.seeds.filter((v) => v >= x.min).map((v) => ({ type: "rect", shape: { x: at(v)[0] - 0.75, y: cy - 6, width: 1.5, height: 12 }, style: { fill: t.dim, opacity: 0.7 } }));
    if (g.low !== null) {
      const [[x1], [x2]] = [at(g.low), at(g.high)];
      children.unshift({ type: "rect", shape: { x: x1, y: cy - 2.5, width: Math.max(x2 - x1, 1), height: 5, r: 2 }, style: { ...style, opacity: 0.45 } });
    }
    const left = at(x.min)[0];
    if (beyond(g)) children.push({ type: "polygon", shape: { points: [[left, cy], [left + 9, cy - 6], [left + 9, cy + 6]] }, style });
    const right = at(x.max)[0];
    if (Math.max(g.mean, ...g.seeds) > x.max) children.push({ type: "polygon", shape: { points: [[right, cy], [right - 9, cy - 6], [right - 9, cy + 6]] }, style });
    if (g.mean >= x.min) children.push({ type: "circle", shape: { cx, cy, r: 5 }, style: { ...style, stroke: t.card, lineWidth: 1 } });
    return { type: "group", children };
  };
  const option = based({
    xAxis: { ...x, name: `${board.data.by} validation ${METRIC.name}`, nameGap: 26 },
    yAxis: { type: "category", inverse: true, data: its.map((g) => g.name), axisLabel: { width: 0.4 * width, overflow: "truncate", interval: 0 }, axisTick: { show: false } },
    series: [{ type: "custom", clip: true, renderItem: draw, data: its.map((g, i) => [g.mean, i]), encode: { x: 0, y: 1 } }],
    tooltip: { trigger: "item", formatter: (p) => groupTip(its[p.dataIndex]) },
  });
  const more = groups.length > its.length ? ` Best ${its.length} of ${groups.length} configurations.` : "";
  const foot = its.some(beyond) ? " Arrow: values beyond the axis." : "";
  return { option, height: 90 + 24 * its.length, note: `Mean (dot), 95% confidence interval (bar), seeds (ticks). Blue: could be the best.${listedSeeds(board)}${more}${foot}` };
}

// The note of a chart of a sweep that added seeds depending on results, which would bias the chart.
function listedSeeds(board) {
  const count = board.data.listed_seeds;
  return count === null ? "" : ` Listed seeds only (${count}).`;
}

function curvesChart(board) {
  const groups = board.drawn();
  if (!groups.length) return null;
  const series = [];
  const [late, all] = [[], []];
  let epochs = 0;
  groups.forEach((g, k) => {
    const color = COLOURS[k % COLOURS.length];
    const length = Math.max(...g.curves.map((y) => y.length));
    const columns = Array.from({ length }, (_, e) => g.curves.map((y) => y[e]).filter((v) => v !== undefined && v !== null));
    const points = columns.map((its, e) => [e + 1, its.reduce((a, b) => a + b, 0) / its.length, Math.min(...its), Math.max(...its)]);
    epochs = Math.max(epochs, length);
    late.push(points.slice(Math.floor(length / 3)));
    all.push(...points);
    if (g.curves.length > 1) series.push(band(points, color));
    series.push({ type: "line", name: g.name, color, data: points, symbol: "circle", symbolSize: 4, showSymbol: length < CURVE_POINTS, emphasis: { focus: "series" }, clip: true });
  });
  if (epochs < 2) return null;
  const range = most(late.flat().map((p) => p[1]), { least: 0.005 });
  const near = METRIC.larger ? late.filter((its) => its.some((p) => p[1] >= range[0])).flat() : all;
  const y = axis(around(range, near.map((p) => [p[2], p[3]])), { percent: true });
  const ends = marks(all.map((p) => [p[0], p[2]]), y);
  const option = based({
    grid: { bottom: 34 },
    xAxis: epochAxis(epochs),
    yAxis: { ...y, name: `validation ${METRIC.name}`, nameGap: 52 },
    legend: { data: groups.map((g) => g.name) },
    series: ends.data.length ? [...series, ends] : series,
    tooltip: { trigger: "axis", formatter: curvesTip },
  });
  const chosen = board.ticked.size ? "Selected configurations" : `First ${groups.length} configurations (select others in the table)`;
  return { option, note: `${chosen}: mean and range over seeds.${listedSeeds(board)}${marked(ends)}` };
}

function band(points, color) {
  const draw = (_, api) => ({
    type: "polygon",
    shape: { points: [...points.map((p) => api.coord([p[0], p[2]])), ...points.map((p) => api.coord([p[0], p[3]])).reverse()] },
    style: { fill: color, opacity: 0.16 },
  });
  return { type: "custom", renderItem: draw, data: [points[0].slice(0, 2)], silent: true, tooltip: { show: false }, z: 1, clip: true };
}

function curvesTip(all) {
  const lines = all.filter((p) => p.seriesType === "line").sort((a, b) => b.value[1] - a.value[1]);
  const range = ([, , low, high]) => (low < high ? ` (${percent(low)} to ${percent(high)})` : "");
  return tip(`epoch ${all[0].axisValue}`, ...lines.map((p) => `${p.seriesName}: ${percent(p.value[1])}${range(p.value)}`));
}
