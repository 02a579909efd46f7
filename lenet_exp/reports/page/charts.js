// Charts of configurations: their intervals and curves.
const MOST_ROWS = 20;
const CURVE_POINTS = 30; // epochs; longer curves go without dots

function intervalsChart(board, width) {
  const groups = board.shown().filter((g) => g.mean !== null);
  const its = groups.slice(0, MOST_ROWS);
  if (!its.length) return null;
  const t = theme();
  const x = axis(most(its.flatMap((g) => [g.mean, g.low, g.high, ...g.seeds])), { percent: true });
  const draw = (params, api) => {
    const g = its[params.dataIndex];
    const at = (v) => api.coord([Math.max(v, x.min), params.dataIndex]);
    const [cx, cy] = at(g.mean);
    const colour = g.state ? STATES.diverged : g.best ? STATES.finished : STATES.pruned;
    const children = g.seeds.map((v) => ({ type: "rect", shape: { x: at(v)[0] - 0.75, y: cy - 6, width: 1.5, height: 12 }, style: { fill: t.dim, opacity: 0.7 } }));
    if (g.low !== null) {
      const [[x1], [x2]] = [at(g.low), at(g.high)];
      children.unshift({ type: "rect", shape: { x: x1, y: cy - 2.5, width: Math.max(x2 - x1, 1), height: 5, r: 2 }, style: { fill: colour, opacity: 0.45 } });
    }
    return { type: "group", children: [...children, { type: "circle", shape: { cx, cy, r: 5 }, style: { fill: colour, stroke: t.card, lineWidth: 1 } }] };
  };
  const option = based({
    xAxis: { ...x, name: `${board.data.by} validation accuracy`, nameGap: 26 },
    yAxis: { type: "category", inverse: true, data: its.map((g) => g.name), axisLabel: { width: 0.4 * width, overflow: "truncate", interval: 0 }, axisTick: { show: false } },
    series: [{ type: "custom", clip: true, renderItem: draw, data: its.map((g, i) => [g.mean, i]), encode: { x: 0, y: 1 } }],
    tooltip: { trigger: "item", formatter: (p) => groupTip(its[p.dataIndex]) },
  });
  const beyond = its.filter((g) => g.mean < x.min).length;
  const more = groups.length > its.length ? ` The best ${its.length} of ${groups.length} shown.` : "";
  const foot = beyond ? ` ${beyond} below the scale, at its left end.` : "";
  return { option, height: 90 + 24 * its.length, note: `Mean (dot), 95 % interval (bar), seeds (ticks); blue may be the best.${more}${foot}` };
}

function curvesChart(board) {
  const groups = board.drawn();
  if (!groups.length) return null;
  const series = [];
  const means = [];
  let epochs = 0;
  groups.forEach((g, k) => {
    const color = COLOURS[k % COLOURS.length];
    const length = Math.max(...g.curves.map((y) => y.length));
    const columns = Array.from({ length }, (_, e) => g.curves.map((y) => y[e]).filter((v) => v !== undefined && v !== null));
    const points = columns.map((its, e) => [e + 1, its.reduce((a, b) => a + b, 0) / its.length, Math.min(...its), Math.max(...its)]);
    epochs = Math.max(epochs, length);
    means.push(...points.slice(Math.floor(length / 3)).map((p) => p[1]));
    if (g.curves.length > 1) series.push(band(points, color));
    series.push({ type: "line", name: g.name, color, data: points, symbol: "circle", symbolSize: 4, showSymbol: length < CURVE_POINTS, emphasis: { focus: "series" }, clip: true });
  });
  const option = based({
    grid: { bottom: 34 },
    xAxis: epochAxis(epochs),
    yAxis: { ...axis(most(means, { least: 0.005 }), { percent: true }), name: "validation accuracy", nameGap: 52 },
    legend: { data: groups.map((g) => g.name) },
    series,
    tooltip: { trigger: "axis", formatter: curvesTip },
  });
  const chosen = board.ticked.size ? "those ticked in the table" : `the first ${groups.length} of those shown; tick others in the table`;
  return { option, note: `Mean and range over seeds of ${chosen}.` };
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
  const range = ([, , low, high]) => (low < high ? ` (${(low * 100).toFixed(2)} to ${(high * 100).toFixed(2)})` : "");
  return tip(`epoch ${all[0].axisValue}`, ...lines.map((p) => `${p.seriesName}: ${percent(p.value[1])}${range(p.value)}`));
}
