// Charts of flags: parallel coordinates, and what each flag does.
const AXES = 8;

function parallelChart(board, width) {
  const data = board.data;
  const its = board.shown().filter((g) => g.mean !== null && !g.state);
  if (data.flags.length < 2 || its.length < 2) return null;
  const t = theme();
  const flags = data.flags.slice(0, AXES);
  const y = axis(most(its.map((g) => g.mean)), { percent: true });
  const line = { axisLine: { lineStyle: { color: t.strong } }, axisTick: { lineStyle: { color: t.strong } }, nameTextStyle: { color: t.text, fontWeight: 600 } };
  const axes = [...flags.map((flag, f) => ({ ...flagAxis(flag, data.groups.map((g) => g.values[f])), name: flag.short + (flag.log ? " (log)" : "") })), { ...y, name: `${data.by} val` }];
  const rows = [...its].reverse(); // the best on top
  const option = based({
    parallel: { left: 60, right: 70, top: 36, bottom: 58 },
    parallelAxis: axes.map((a, dim) => ({ ...line, ...a, nameLocation: "end", nameGap: 15, nameTruncate: { maxWidth: (width - 130) / axes.length }, dim, axisLabel: { color: t.text, textBorderColor: t.card, textBorderWidth: 3, ...a.axisLabel } })),
    visualMap: { type: "continuous", min: y.min, max: y.max, calculable: false, inRange: { color: VIRIDIS }, textStyle: { color: t.text }, text: [percent(y.max), percent(y.min)], itemWidth: 12, dimension: flags.length, orient: "horizontal", left: "center", bottom: 0, itemHeight: 140 },
    series: [{ type: "parallel", lineStyle: { width: its.length > 200 ? 1 : 2, opacity: its.length > 200 ? 0.45 : 0.8 }, emphasis: { lineStyle: { width: 4, opacity: 1 } }, inactiveOpacity: 0.04, data: rows.map((g) => [...flags.map((_, f) => g.values[f]), Math.max(g.mean, y.min)]) }],
    tooltip: { trigger: "item", formatter: (p) => groupTip(rows[p.dataIndex]) },
  });
  const more = data.flags.length > flags.length ? ` The first ${AXES} flags of ${data.flags.length}.` : "";
  const below = its.filter((g) => g.mean < y.min).length;
  const foot = below ? ` ${below} below the scale stand at its foot.` : "";
  return { option, note: `Drag along an axis to choose, click it to choose all again.${foot}${more}` };
}

function effectsChart(board, width) {
  const effects = board.data.effects.filter((e) => e.levels.length > 1);
  const short = new Map(board.data.flags.map((f) => [f.name, f.short]));
  const shown = effects.flatMap((e, k) => e.levels.map((level) => ({ ...level, e, k }))).filter((l) => l.effect !== null).slice(0, 40);
  if (!shown.length) return null;
  const t = theme();
  const option = based({
    xAxis: { type: "value", name: "points against the mean of all", nameGap: 26, boundaryGap: ["15%", "15%"], axisLabel: { formatter: plain, hideOverlap: true } },
    yAxis: { type: "category", inverse: true, data: shown.map((l) => `${short.get(l.e.flag)} = ${l.value}`), axisTick: { show: false }, axisLabel: { interval: 0, width: 0.34 * width, overflow: "truncate" } },
    series: [{
      type: "bar",
      barMaxWidth: 16,
      data: shown.map((l) => ({ value: l.effect * 100, itemStyle: { color: COLOURS[l.k % COLOURS.length] }, label: { show: true, position: l.effect < 0 ? "left" : "right", color: t.text, formatter: l.said } })),
    }],
    tooltip: { trigger: "item", formatter: (p) => tip(`${shown[p.dataIndex].e.flag} = ${shown[p.dataIndex].value}`, `${shown[p.dataIndex].said} points`) },
  });
  const shares = effects.filter((e) => e.share !== null).map((e) => `${e.flag} ${e.share}`);
  return { option, height: 70 + 24 * shown.length, note: shares.length ? `Share of the variance: ${shares.join(", ")}.` : "" };
}
