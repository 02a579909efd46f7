// Charts that compare flags: parallel coordinates and the effect of each flag.
const AXES = 8;

function parallelChart(board, width) {
  const data = board.data;
  const its = board.shown().filter((g) => g.mean !== null && !g.state);
  if (data.flags.length < 2 || its.length < 2) return null;
  const t = theme();
  const flags = data.flags.slice(0, AXES);
  const y = axis(most(its.map((g) => g.mean)), { percent: true });
  const line = { axisLine: { lineStyle: { color: t.strong } }, axisTick: { lineStyle: { color: t.strong } }, nameTextStyle: { color: t.text, fontWeight: 600 } };
  const axes = [...flags.map((flag, f) => ({ ...flagAxis(flag, data.groups.map((g) => g.values[f])), name: flag.short })).map((a) => (a.type === "log" ? { ...a, name: `${a.name} (log)` } : a)), { ...y, name: METRIC.name === "accuracy" ? `${data.by} val` : `${data.by} val ${METRIC.name}` }];
  const beyond = (g) => g.mean < y.min || g.mean > y.max;
  const rows = [...its].reverse(); // the best on top
  const option = based({
    parallel: { left: 60, right: 70, top: 36, bottom: 58 },
    parallelAxis: axes.map((a, dim) => ({ ...line, ...a, nameLocation: "end", nameGap: 15, nameTruncate: { maxWidth: (width - 130) / axes.length }, dim, axisLabel: { color: t.text, textBorderColor: t.card, textBorderWidth: 3, ...a.axisLabel } })),
    visualMap: { type: "continuous", min: y.min, max: y.max, calculable: false, inRange: { color: VIRIDIS }, textStyle: { color: t.text }, text: [percent(y.max), percent(y.min)], itemWidth: 12, dimension: flags.length, orient: "horizontal", left: "center", bottom: 0, itemHeight: 140 },
    series: [{ type: "parallel", lineStyle: { width: its.length > 200 ? 1 : 2, opacity: its.length > 200 ? 0.45 : 0.8 }, emphasis: { lineStyle: { width: 4, opacity: 1 } }, inactiveOpacity: 0.04, data: rows.map((g) => ({ value: [...flags.map((_, f) => g.values[f]), Math.min(Math.max(g.mean, y.min), y.max)], lineStyle: { type: beyond(g) ? "dashed" : "solid" } })) }],
    tooltip: { trigger: "item", formatter: (p) => groupTip(rows[p.dataIndex]) },
  });
  const more = data.flags.length > flags.length ? ` First ${AXES} of ${data.flags.length} flags.` : "";
  const foot = its.some(beyond) ? ` Dashed: ${METRIC.name} beyond the axis.` : "";
  return { option, note: `Drag along an axis to select a range; click the axis to reset it.${foot}${more}` };
}

function effectsChart(board, width) {
  const effects = board.data.effects.filter((e) => e.levels.filter((level) => level.effect !== null).length > 1);
  const short = new Map(board.data.flags.map((f) => [f.name, f.short]));
  const shown = effects.flatMap((e, k) => e.levels.map((level) => ({ ...level, e, k }))).filter((l) => l.effect !== null).slice(0, 40);
  if (!shown.length) return null;
  const t = theme();
  const clear = (l) => l.low > 0 || (l.high !== null && l.high < 0);
  const ends = shown.flatMap((l) => [0, l.effect, l.low ?? 0, l.high ?? 0]).map((v) => v * unit());
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = Math.max(0.15, 110 / width) * (high - low) || 1;
  const interval = (params, api) => {
    const l = shown[params.dataIndex];
    const at = (v) => api.coord([v * unit(), params.dataIndex]);
    const [x1, x2] = [l.low ?? Math.min(l.effect, 0), l.high ?? Math.max(l.effect, 0)].map((v) => at(v)[0]);
    const y = at(0)[1];
    const line = (shape) => ({ type: "line", shape, style: { stroke: t.text, lineWidth: 1.2 } });
    const whisker = l.low === null ? [] : [line({ x1, y1: y, x2, y2: y }), line({ x1, y1: y - 4, x2: x1, y2: y + 4 }), line({ x1: x2, y1: y - 4, x2, y2: y + 4 })];
    const left = l.effect < 0;
    const said = { text: l.said, fill: t.text, x: left ? x1 - 6 : x2 + 6, y, align: left ? "right" : "left", verticalAlign: "middle" };
    return { type: "group", children: [...whisker, { type: "text", style: said }] };
  };
  const option = based({
    xAxis: { type: "value", name: `${METRIC.percent ? "points" : METRIC.name} from the overall mean`, nameGap: 26, min: low < 0 ? low - room : 0, max: high > 0 ? high + room : 0, axisLabel: { formatter: plain, hideOverlap: true, showMinLabel: false, showMaxLabel: false } },
    yAxis: { type: "category", inverse: true, data: shown.map((l) => `${short.get(l.e.flag)} = ${l.value}`), axisTick: { show: false }, axisLabel: { interval: 0, width: 0.34 * width, overflow: "truncate" } },
    series: [
      { type: "bar", barMaxWidth: 16, data: shown.map((l) => ({ value: l.effect * unit(), itemStyle: { color: COLOURS[l.k % COLOURS.length], opacity: clear(l) ? 1 : 0.3 } })) },
      { type: "custom", silent: true, renderItem: interval, data: shown.map((l, i) => [l.effect * unit(), i]), z: 3 },
    ],
    tooltip: { trigger: "item", formatter: (p) => effectTip(shown[p.dataIndex]) },
  });
  const shares = effects.filter((e) => e.share !== null).map((e) => `${e.flag} ${e.share}`);
  const known = shown.some((l) => l.low !== null) ? "Whiskers: 95% confidence intervals over seeds, not corrected for the number of flags. Pale: the interval contains 0." : "Pale: no interval, because a configuration has only one seed.";
  return { option, height: 70 + 24 * shown.length, note: known + (shares.length ? ` Fraction of the variance: ${shares.join(", ")}.` : "") };
}

function signed(effect) {
  return `${effect < 0 ? "" : "+"}${METRIC.percent ? (effect * 100).toFixed(2) : plain(effect)}`;
}

function effectTip(level) {
  return tip(`${level.e.flag} = ${level.value}`, `${level.said}${METRIC.percent ? " points" : ""}`, level.low !== null && `95%: ${signed(level.low)} to ${signed(level.high)}`);
}
