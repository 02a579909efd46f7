// Charts of flags: parallel coordinates, heat map, what each flag does, slices.
const CELLS = 12; // values in a row of the heat map; more are put into ranges
const AXES = 8;

function byWeight(data) {
  const order = data.effects.map((e) => e.flag);
  const rank = (flag) => (order.includes(flag.name) ? order.indexOf(flag.name) : order.length);
  return [...data.flags].sort((a, b) => rank(a) - rank(b));
}

function valueOf(data, group, flag) {
  return group.values[data.flags.findIndex((f) => f.name === flag.name)];
}

function parallelChart(board, width) {
  const data = board.data;
  const groups = board.shown().map((i) => data.groups[i]);
  const its = groups.filter((g) => g.mean !== null && !g.state);
  const lost = groups.filter((g) => g.mean === null || g.state);
  if (data.flags.length < 2 || its.length < 2) return null;
  const t = theme();
  const flags = data.flags.slice(0, AXES);
  const scales = flags.map((flag) => flagScale(flag, data.groups.map((g) => valueOf(data, g, flag))));
  const y = axis(most(its.map((g) => g.mean)), { percent: true, top: 1 });
  const below = its.filter((g) => g.mean < y.min).length;
  const row = (g) => [...scales.map((s) => s.at.get(valueOf(data, g, s.flag))), g.mean === null || g.state ? y.min : Math.max(g.mean, y.min)];
  const vertical = width < NARROW;
  const axes = [...scales.map((s) => ({ ...scaleAxis(s), name: vertical ? axisName(s) : s.flag.short + (s.log ? " (log)" : "") })), { ...y, name: `${data.by} val` }];
  const colours = { axisLine: { lineStyle: { color: t.strong } }, axisTick: { lineStyle: { color: t.strong } }, nameTextStyle: { color: t.text, fontWeight: 600, textBorderColor: t.card, textBorderWidth: 3 } };
  const option = based({
    parallel: { left: vertical ? 24 : 60, right: vertical ? 36 : 70, top: vertical ? 26 : 36, bottom: vertical ? 64 : 58, layout: vertical ? "vertical" : "horizontal" },
    parallelAxis: axes.map((a, dim) => ({ ...colours, nameLocation: vertical ? "middle" : "end", nameGap: vertical ? -16 : 15, nameTruncate: { maxWidth: vertical ? width - 60 : (width - 130) / axes.length }, ...a, dim, axisLabel: { color: t.text, textBorderColor: t.card, textBorderWidth: 3, ...a.axisLabel }, axisTick: { ...colours.axisTick, ...a.axisTick } })),
    visualMap: colourBar([y.min, y.max], t, { dimension: axes.length - 1, seriesIndex: 0, orient: "horizontal", left: "center", bottom: 0, itemHeight: 140, inRange: { color: isDark() ? ON_DARK : VIRIDIS } }),
    series: [
      { type: "parallel", name: "groups", lineStyle: { width: its.length > 200 ? 1 : 2, opacity: its.length > 200 ? 0.45 : 0.8 }, emphasis: { lineStyle: { width: 4, opacity: 1 } }, inactiveOpacity: 0.04, data: [...its].reverse().map((g) => ({ value: row(g), name: g.name })) },
      { type: "parallel", name: "lost", lineStyle: { width: 1.2, type: "dashed", color: STATES.diverged, opacity: 0.8 }, data: lost.map((g) => ({ value: row(g), name: g.name })) },
    ],
    tooltip: { trigger: "item", formatter: (p) => groupTip(p.seriesName === "lost" ? lost[p.dataIndex] : [...its].reverse()[p.dataIndex]) },
  });
  const more = data.flags.length > flags.length ? ` The first ${AXES} flags of ${data.flags.length}.` : "";
  const dashed = lost.length ? ` Dashed, at the foot: ${lost.length} that diverged or have no result.` : "";
  const foot = below ? ` ${below} below the scale stand at its foot.` : "";
  return { option, height: vertical ? 90 * axes.length + 60 : 360, note: `Drag along an axis to choose, click it to choose all again.${dashed}${foot}${more}` };
}

// A flag's values in the rows or columns of the heat map: each by itself, or ranges of many numbers.
function bins(data, flag) {
  const values = ordered([...new Set(data.groups.map((g) => valueOf(data, g, flag)))]);
  const numbers = values.filter((v) => number(v) !== null).map(Number);
  if (values.length <= CELLS || numbers.length <= CELLS) return { names: values.map(short4), of: (v) => values.indexOf(v) };
  const log = flag.log && numbers[0] > 0;
  const [low, high] = [numbers[0], numbers[numbers.length - 1]].map((v) => (log ? Math.log10(v) : v));
  const parts = 6;
  const edge = (i) => low + ((high - low) * i) / parts;
  const said = (i) => plain(Number((log ? 10 ** edge(i) : edge(i)).toPrecision(2)));
  const words = values.filter((v) => number(v) === null);
  const names = [...Array.from({ length: parts }, (_, i) => `${said(i)} to ${said(i + 1)}`), ...words];
  const of = (v) => (number(v) === null ? parts + words.indexOf(v) : Math.min(parts - 1, Math.floor((parts * ((log ? Math.log10(v) : v) - low)) / (high - low || 1))));
  return { names, of };
}

function heatChart(board, width, state) {
  const data = board.data;
  const flags = byWeight(data).filter((f) => bins(data, f).names.length > 1);
  if (flags.length < 2) return null;
  const across = flags.find((f) => f.name === state.across) ?? flags[1];
  const down = flags.find((f) => f.name === state.down) ?? flags[0];
  if (across === down) return { empty: "Choose two flags." };
  const [columns, rows] = [bins(data, across), bins(data, down)];
  if (columns.names.length > 40 || rows.names.length > 40) return { empty: "Too many words for a heat map." };
  const cells = new Map();
  data.groups.forEach((g) => {
    const key = `${columns.of(valueOf(data, g, across))} ${rows.of(valueOf(data, g, down))}`;
    cells.set(key, [...(cells.get(key) ?? []), g]);
  });
  const filled = [];
  const empty = [];
  for (let x = 0; x < columns.names.length; x++) {
    for (let y = 0; y < rows.names.length; y++) {
      const its = cells.get(`${x} ${y}`) ?? [];
      const known = its.filter((g) => g.mean !== null && !g.state);
      const states = [...new Set(its.filter((g) => g.state).map((g) => (g.state.includes("diverged") ? "diverged" : g.state)))];
      if (known.length) filled.push({ x, y, mean: known.reduce((a, g) => a + g.mean, 0) / known.length, its, known, states });
      else empty.push({ x, y, its, known, states: states.length ? states : ["no run"] });
    }
  }
  if (!filled.length) return { empty: "No configuration has a result." };
  const t = theme();
  const means = filled.map((c) => c.mean);
  const range = most(means, { least: 1e-3 });
  const room = width / (columns.names.length + 1.5);
  const size = Math.max(8, Math.min(12, room / 4.5));
  const grey = (params, api) => {
    const cell = empty[params.dataIndex];
    const [cx, cy] = api.coord([cell.x, cell.y]);
    const [w, h] = api.size([1, 1]);
    return { type: "group", children: [
      { type: "rect", shape: { x: cx - w / 2 + 1, y: cy - h / 2 + 1, width: w - 2, height: h - 2 }, style: { fill: t.empty } },
      { type: "text", style: { text: stateText(cell, w, size), x: cx, y: cy, align: "center", verticalAlign: "middle", fill: cell.its.length ? t.bad : t.dim, font: `${Math.min(size, 11)}px system-ui, sans-serif`, width: w - 4, overflow: "truncate" } },
    ] };
  };
  const bright = (mean) => (Math.min(Math.max(mean, range[0]), range[1]) - range[0]) / (range[1] - range[0] || 1) > 0.6;
  const named = { axisLabel: { interval: 0, rotate: columns.names.some((n) => n.length * 7 > room) ? 35 : 0, width: 130, overflow: "truncate" }, splitLine: { show: false }, axisTick: { show: false } };
  const option = based({
    grid: { bottom: 56 },
    xAxis: { type: "category", data: columns.names, name: across.name, nameGap: named.axisLabel.rotate ? 60 : 28, ...named },
    yAxis: { type: "category", data: rows.names, name: down.name, nameGap: Math.min(90, 14 + 7 * Math.max(...rows.names.map((n) => n.length))), ...named, axisLabel: { width: 80, overflow: "truncate", interval: 0 } },
    visualMap: colourBar(range, t, { seriesIndex: 0, orient: "horizontal", left: "center", bottom: 0, itemHeight: Math.min(180, width / 2.5) }),
    series: [
      { type: "heatmap", data: filled.map((c) => ({ value: [c.x, c.y, c.mean], label: { color: bright(c.mean) ? "#111" : "#fff" } })), label: { show: room > 34, fontSize: size, formatter: (p) => cellText(filled[p.dataIndex]) }, itemStyle: { borderColor: t.card, borderWidth: 1 }, emphasis: { itemStyle: { borderColor: t.text, borderWidth: 2 } } },
      { type: "custom", renderItem: grey, data: empty.map((c) => [c.x, c.y]) },
    ],
    tooltip: { trigger: "item", formatter: (p) => cellTip((p.seriesType === "custom" ? empty : filled)[p.dataIndex], across, down, columns, rows) },
  });
  const over = data.flags.length > 2 || filled.some((c) => c.known.length > 1) ? " Mean over the other flags." : "";
  const crossed = filled.some((c) => c.states.length) ? " ✕ beside a mean: some in it diverged or have no result, and are left out." : "";
  const dark = means.some((m) => m < range[0]) ? " What is below the colour bar is darkest." : "";
  return { option, height: Math.min(640, 150 + 44 * rows.names.length), note: `${data.by === "last" ? "Last" : "Best"} validation accuracy, %.${over}${crossed}${dark}` };
}

// Why a cell has no accuracy; a sign where there is no room for the word.
function stateText(cell, width, size) {
  const words = cell.states.join(", ");
  if (0.6 * size * words.length < width) return words;
  return cell.its.length ? "✕" : "–";
}

function cellText(cell) {
  const mean = cell.known.length === 1 ? cell.known[0].accuracy.split(" ")[0] : (cell.mean * 100).toFixed(2);
  return mean + (cell.states.length ? " ✕" : "");
}

function cellTip(cell, across, down, columns, rows) {
  const where = `${down.name} ${rows.names[cell.y]}, ${across.name} ${columns.names[cell.x]}`;
  const [group] = cell.its;
  const told = cell.its.length === 1 ? (group.n ? `${group.accuracy} %` : "") : cell.known.length ? `${percent(cell.mean)}, mean of ${many(cell.known.length, "configuration")}` : "";
  const lost = cell.its.length - cell.known.length;
  return tip(where, told, cell.states.length ? `${cell.states.join(", ")}${lost > 1 ? ` (${lost})` : ""}` : "");
}

function effectsChart(board, width) {
  const effects = board.data.effects.filter((e) => e.levels.length > 1);
  if (!effects.length) return null;
  const t = theme();
  const short = new Map(board.data.flags.map((f) => [f.name, f.short]));
  const shown = effects.flatMap((e, k) => e.levels.map((level) => ({ ...level, e, k }))).slice(0, 40);
  const sizes = shown.filter((l) => l.effect !== null).map((l) => Math.abs(l.effect)).sort((a, b) => a - b);
  if (!sizes.length) return null;
  const largest = sizes[sizes.length - 1];
  const limit = Math.max(Math.min(largest, 4 * sizes[Math.floor((sizes.length - 1) / 2)]), 1e-4);
  const x = axis([-limit, limit], { parts: 6 });
  const end = Math.max(x.max, -x.min) * (width < NARROW ? 1.5 : 1.22);
  const names = shown.map((l) => `${short.get(l.e.flag)} = ${short4(l.value)}`);
  const cut = shown.filter((l) => l.effect !== null && Math.abs(l.effect) > limit * 1.001).length;
  const option = based({
    xAxis: { ...x, min: -end, max: end, interval: undefined, name: "points against the mean of all", nameGap: 26, axisLabel: { formatter: (v) => (Math.abs(v) > end * 0.999 ? "" : `${v > 0 ? "+" : ""}${plain(Number((v * 100).toPrecision(6)))}`), hideOverlap: true } },
    yAxis: { type: "category", inverse: true, data: names, axisTick: { show: false }, axisLabel: { interval: 0, width: 0.34 * width, overflow: "truncate" } },
    series: [{
      type: "bar",
      barMaxWidth: 16,
      data: shown.map((l) => ({
        value: l.effect === null ? 0 : Math.max(Math.min(l.effect, limit), -limit),
        itemStyle: { color: COLOURS[l.k % COLOURS.length] },
        label: effectLabel(l, limit, t),
      })),
    }],
    tooltip: { trigger: "item", formatter: (p) => effectTip(shown[p.dataIndex]) },
  });
  const shares = effects.filter((e) => e.share !== null).map((e) => `${e.flag} ${e.share}`);
  const told = shares.length ? `Share of the variance: ${shares.slice(0, 6).join(", ")}.` : "";
  const beyond = cut ? " « or »: longer than is drawn." : "";
  const lost = shown.some((l) => l.finished < l.runs) ? " ✕: some of its runs did not finish." : "";
  return { option, height: 70 + 24 * shown.length, note: told + beyond + lost };
}

// At the end of its bar; of one that is cut, where it begins.
function effectLabel(level, limit, t) {
  const cut = level.effect !== null && Math.abs(level.effect) > limit * 1.001;
  const left = (level.effect ?? 0) < 0;
  const position = left === cut ? "right" : "left";
  return { show: true, position, color: t.text, formatter: `${cut && left ? "« " : ""}${level.said}${level.finished < level.runs ? " ✕" : ""}${cut && !left ? " »" : ""}` };
}

function effectTip(level) {
  const runs = level.finished < level.runs ? `${level.runs - level.finished} of ${level.runs} unfinished` : many(level.runs, "run");
  return tip(`${level.e.flag} = ${level.value}`, `${level.said} points`, runs, level.e.share ? `${level.e.flag}: ${level.e.share} of the variance` : "");
}

function slicesChart(board, width, state) {
  const data = board.data;
  const flag = byWeight(data).find((f) => f.name === state.flag) ?? byWeight(data)[0];
  if (!flag) return null;
  const groups = board.shown().map((i) => data.groups[i]);
  const its = groups.filter((g) => g.mean !== null && !g.state);
  const lost = groups.filter((g) => g.state);
  if (!its.length) return { empty: "None of those shown has a result." };
  const y = axis(most(its.map((g) => g.mean), { least: 1e-3 }), { percent: true, top: 1 });
  const scale = flagScale(flag, data.groups.map((g) => valueOf(data, g, flag)));
  const x = (g, i) => scale.at.get(valueOf(data, g, flag)) + (scale.words ? (((i * 0.618) % 1) - 0.5) * 0.4 : 0);
  const below = its.filter((g) => g.mean < y.min).length;
  const place = (g, i) => ({ value: [x(g, i), g.state ? y.min : Math.max(g.mean, y.min)], symbol: g.state ? "path://M0,0L2,0L5,3L8,0L10,0L6,4L10,8L8,8L5,5L2,8L0,8L4,4Z" : g.mean < y.min ? "arrow" : "circle", symbolRotate: !g.state && g.mean < y.min ? 180 : 0, itemStyle: { color: g.state ? STATES.diverged : g.leader ? BEST : g.best ? STATES.finished : STATES.pruned } });
  const all = [...its, ...lost];
  const option = based({
    xAxis: { ...scaleAxis(scale), name: axisName(scale), nameGap: 28 },
    yAxis: { ...y, name: `${data.by} validation accuracy`, nameGap: 52 },
    series: [{ type: "scatter", symbolSize: 10, data: all.map(place) }],
    tooltip: { trigger: "item", formatter: (p) => groupTip(all[p.dataIndex]) },
  });
  const foot = [below ? `${below} below the scale (arrows)` : "", lost.length ? `${lost.length} that diverged or have no result (crosses)` : ""].filter(Boolean);
  return { option, note: `Each configuration; red leads, blue may be the best.${foot.length ? ` At the foot: ${foot.join(", ")}.` : ""}` };
}
