// Charts of configurations: intervals, curves, and what an accuracy takes.
const MOST_ROWS = 20;
const CURVE_POINTS = 30; // epochs; longer curves go without dots

function intervalsChart(board, width) {
  const groups = board.shown().map((i) => board.data.groups[i]).filter((g) => g.mean !== null);
  const its = groups.slice(0, MOST_ROWS);
  if (!its.length) return null;
  const t = theme();
  const range = most(its.flatMap((g) => [g.mean, g.low, g.high, ...g.seeds]));
  const x = axis(range, { percent: true, top: 1 });
  const beyond = its.filter((g) => g.mean < x.min).length;
  const room = 0.4 * width;
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
    const end = g.mean < x.min ? { type: "polygon", shape: { points: [[cx, cy], [cx + 9, cy - 6], [cx + 9, cy + 6]] }, style: { fill: colour } } : { type: "circle", shape: { cx, cy, r: 5 }, style: { fill: colour, stroke: t.card, lineWidth: 1 } };
    return { type: "group", children: [...children, end] };
  };
  const option = based({
    xAxis: { ...x, name: `${board.data.by} validation accuracy`, nameGap: 26 },
    yAxis: { type: "category", inverse: true, data: its.map((g) => g.name), axisLabel: { width: room, overflow: "truncate", interval: 0 }, axisTick: { show: false } },
    series: [{ type: "custom", clip: true, renderItem: draw, data: its.map((g, i) => [g.mean, i]), encode: { x: 0, y: 1 } }],
    tooltip: { trigger: "item", formatter: (p) => groupTip(its[p.dataIndex]) },
  });
  const more = groups.length > its.length ? ` The best ${its.length} of ${groups.length} shown.` : "";
  const left = beyond ? ` An arrow: ${beyond} below the scale.` : "";
  return { option, height: 90 + 24 * its.length, note: `Mean (dot), 95 % interval (bar), seeds (ticks); blue may be the best.${more}${left}` };
}

function curvesChart(board) {
  const t = theme();
  const indices = board.drawn();
  const groups = indices.map((i) => board.data.groups[i]).filter((g) => g.curves.length);
  if (!groups.length) return board.data.groups.some((g) => g.curves.length) ? { empty: "None of those shown has a curve." } : null;
  const every = board.data.every;
  const series = [];
  const tails = [];
  const summaries = new Map();
  let diverged = 0;
  let epochs = 0;
  groups.forEach((g, k) => {
    const color = COLOURS[k % COLOURS.length];
    const whole = g.curves.filter((c) => !c.diverged && c.y.length).map((c) => c.y);
    const length = Math.max(0, ...whole.map((y) => y.length));
    epochs = Math.max(epochs, ...g.curves.map((c) => c.y.length));
    const columns = Array.from({ length }, (_, e) => whole.map((y) => y[e]).filter((v) => v !== undefined && v !== null));
    const points = columns.map((its, e) => [(e + 1) * every, its.reduce((a, b) => a + b, 0) / its.length, Math.min(...its), Math.max(...its)]);
    summaries.set(g.name, new Map(points.map((p) => [p[0], p])));
    if (points.length) {
      tails.push(...points.slice(Math.floor(points.length / 3)).map((p) => p[1]));
      if (whole.length > 1) series.push(band(points, color));
      series.push({ type: "line", name: g.name, color, data: points.map((p) => [p[0], p[1]]), lineStyle: { width: 2 }, symbol: "circle", symbolSize: 4, showSymbol: points.length < CURVE_POINTS, emphasis: { focus: "series" } });
    }
    g.curves.filter((c) => c.diverged && c.y.length).forEach((c) => {
      diverged += 1;
      const last = c.y.length - 1;
      series.push({ type: "line", name: `${g.name}, seed ${c.seed} diverged`, color, data: c.y.map((y, e) => [(e + 1) * every, y]), lineStyle: { width: 1, type: "dashed" }, symbol: "diamond", symbolSize: (_, p) => (p.dataIndex === last ? 10 : 0), tooltip: { show: false } });
    });
  });
  const y = axis(most(tails.length ? tails : groups.flatMap((g) => g.curves.flatMap((c) => c.y)), { least: 0.005 }), { percent: true, top: 1 });
  const option = based({
    grid: { bottom: 34 },
    xAxis: { type: "value", min: Math.min(1, epochs) * every, max: Math.max(epochs, 2) * every, minInterval: 1, name: "epoch", nameGap: 24, axisLabel: { formatter: (v) => (Number.isInteger(v) ? String(v) : "") } },
    yAxis: { ...y, name: "validation accuracy", nameGap: 52 },
    legend: { data: groups.map((g) => g.name).filter((name) => summaries.get(name).size) },
    series: series.map((s) => ({ clip: true, ...s })),
    tooltip: { trigger: "axis", formatter: (all) => curvesTip(all, summaries) },
  });
  const chosen = board.ticked.size ? "those ticked in the table" : `the first ${groups.length} of those shown; tick others in the table`;
  const kept = every > 1 ? ` Each ${every}th epoch is drawn.` : "";
  const lost = diverged ? ` Dashed: ${diverged} diverged, to where they ended.` : "";
  const none = groups.filter((g) => !summaries.get(g.name).size).length;
  return { option, note: `Mean and range over seeds of ${chosen}.${lost}${kept}` + (none && !diverged ? ` ${none} without a curve.` : ""), t };
}

function band(points, color) {
  const draw = (_, api) => ({
    type: "polygon",
    shape: { points: [...points.map((p) => api.coord([p[0], p[2]])), ...points.map((p) => api.coord([p[0], p[3]])).reverse()] },
    style: { fill: color, opacity: 0.16 },
  });
  return { type: "custom", renderItem: draw, data: [[points[0][0], points[0][1]]], silent: true, tooltip: { show: false }, z: 1 };
}

function curvesTip(all, summaries) {
  const epoch = all[0].axisValue;
  const lines = all
    .map((p) => [p, summaries.get(p.seriesName)?.get(epoch)])
    .filter(([p, s]) => s && p.seriesType === "line")
    .sort((a, b) => b[1][1] - a[1][1])
    .map(([p, s]) => [`${p.seriesName}: ${percent(s[1])}` + (s[2] < s[3] ? ` (${(s[2] * 100).toFixed(2)} to ${(s[3] * 100).toFixed(2)})` : ""), p.color]);
  return tip(`epoch ${epoch}`, ...lines);
}

function secondsChart(board) {
  const groups = board.shown().map((i) => board.data.groups[i]).filter((g) => g.mean !== null && g.seconds !== null);
  if (groups.length < 2) return null;
  const t = theme();
  const y = axis(most(groups.map((g) => g.mean)), { percent: true, top: 1 });
  const seconds = groups.map((g) => g.seconds);
  const [low, high] = [Math.min(...seconds), Math.max(...seconds)];
  const x = high > 20 * low && low > 0 ? logAxis([low, high]) : axis([low, high]);
  const below = groups.filter((g) => g.mean < y.min).length;
  const colour = (g) => (g.state ? STATES.diverged : g.best ? STATES.finished : STATES.pruned);
  const draw = (params, api) => {
    const g = groups[params.dataIndex];
    const [x1, y1] = api.coord([g.seconds, Math.max(g.mean - g.sd, y.min)]);
    const [, y2] = api.coord([g.seconds, Math.min(g.mean + g.sd, y.max)]);
    return g.sd === null || g.mean < y.min ? null : { type: "line", shape: { x1, y1, x2: x1, y2 }, style: { stroke: colour(g), opacity: 0.6 } };
  };
  const option = based({
    xAxis: { ...x, name: "seconds of training to the best epoch (mean)", nameGap: 26 },
    yAxis: { ...y, name: `${board.data.by} validation accuracy`, nameGap: 52 },
    series: [
      { type: "custom", renderItem: draw, data: groups.map((g) => [g.seconds, Math.max(g.mean, y.min)]), silent: true, clip: true },
      {
        type: "scatter",
        symbolSize: 10,
        data: groups.map((g) => ({ value: [g.seconds, Math.max(g.mean, y.min)], symbol: g.mean < y.min ? "arrow" : "circle", symbolRotate: g.mean < y.min ? 180 : 0, itemStyle: { color: colour(g), borderColor: t.card, borderWidth: 1 }, label: { show: g.leader, formatter: g.name, position: "top", color: t.text, width: 150, overflow: "truncate" } })),
      },
    ],
    tooltip: { trigger: "item", formatter: (p) => groupTip(groups[p.dataIndex], `${plain(groups[p.dataIndex].seconds)} s to the best epoch`) },
  });
  return { option, note: "Mean and spread; blue may be the best." + (below ? ` Arrows: ${below} below the scale.` : "") };
}
