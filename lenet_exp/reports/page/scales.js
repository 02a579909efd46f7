// Colors, axes, and tooltips that all charts share.
const COLOURS = ["#2f6fde", "#e07b00", "#2a9d5c", "#c23b8f", "#7b61d6", "#00919c", "#b5651d", "#d43d3d", "#6b8e23", "#808897"];
const MOST_LEGEND_ROWS = 5;
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
const STATES = { finished: "#2f6fde", pruned: "#8b93a1", diverged: "#e07b00" };
const BEST = "#d43d3d";
const METRIC = { name: "accuracy", larger: true, percent: true }; // of all comparisons of the page
const FEW = 12; // maximum number of values of a flag that fit side by side

function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["card", "text", "dim", "strong", "grid"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Return an axis range that includes the best value and most other values, so that a few failures do not compress the
// chart. The range extends at least to twice the error or loss of the best value.
function most(values, { less = !METRIC.larger, least = 1e-4 } = {}) {
  const sign = less ? -1 : 1;
  const heights = values.filter((v) => v !== null).map((v) => sign * v).sort((a, b) => a - b);
  if (!heights.length) return null;
  const best = heights[heights.length - 1];
  const middle = heights[Math.floor((heights.length - 1) / 2)];
  const good = less || !METRIC.percent ? Math.abs(best) : 1 - best;
  const worst = Math.max(heights[0], best - Math.max(4 * (best - middle), good, least));
  return less ? [-best, -worst] : [worst, best];
}

// Extend an axis range of accuracies toward their confidence intervals or ranges over seeds, to at most three times its
// width.
function around([worst, best], ranges) {
  if (!METRIC.larger) return [Math.min(worst, ...ranges.map(([v]) => v)), best];
  const high = ranges.reduce((most, [, v]) => Math.max(most, v), best);
  return [Math.max(ranges.reduce((least, [v]) => Math.min(least, v), worst), high - 3 * (high - worst)), high];
}

// Return triangles at the ends of the y axis, at each x that has a value beyond the axis.
function marks(points, y) {
  const beyond = points.filter(([, v]) => v !== null && (v < y.min || v > y.max));
  const ends = new Map(beyond.map(([x, v]) => [`${x} ${v < y.min}`, { value: [x, v < y.min ? y.min : y.max], symbolRotate: v < y.min ? 180 : 0 }]));
  return { type: "scatter", symbol: "triangle", symbolSize: 8, silent: true, z: 30, color: theme().dim, data: [...ends.values()] };
}

function marked(series) {
  return series.data.length ? " Triangles: values beyond the axis." : "";
}

// Return an axis for numbers, with some space at its ends, which have no labels.
function axis([low, high], { percent = false } = {}) {
  percent &&= METRIC.percent;
  const room = high > low ? 0.04 * (high - low) : percent ? 2e-3 : 0.02 * Math.abs(high) || 1;
  const [min, max] = percent ? [Math.max(low - room, 0), Math.min(high + room, 1)] : [low - room, high + room];
  const formatter = (v) => (percent ? `${Number((v * 100).toFixed(4))}%` : plain(v));
  return { type: "value", min, max, axisLabel: { formatter, hideOverlap: true, showMinLabel: false, showMaxLabel: false } };
}

function epochAxis(last, name = "epoch") {
  return { type: "value", min: Math.min(1, last), max: Math.max(last, 2), minInterval: 1, name, nameGap: 26 };
}

// Return an axis for the values of a flag: linear for numbers, or logarithmic if they span a wide range. A few numbers
// are the ticks. Words are arranged side by side, and so are a few numbers if some configurations have no value.
function flagAxis(flag, values) {
  const known = ordered([...new Set(values)]);
  const numbers = known.filter((v) => number(v) !== null).map(Number);
  const name = { name: flag.name, nameGap: 28 };
  if (numbers.length < 3 || known.some((v) => number(v) === null && (v !== "-" || known.length <= FEW))) return { ...name, type: "category", data: known };
  const log = flag.log && numbers[0] > 0;
  const room = log ? 1.1 : 0.04 * (numbers[numbers.length - 1] - numbers[0]);
  const ends = [numbers[0], numbers[numbers.length - 1]];
  const [min, max] = log ? [ends[0] / room, ends[1] * room] : [ends[0] - room, ends[1] + room];
  const few = numbers.length <= FEW;
  const ticks = few ? { customValues: numbers } : {};
  return { ...name, type: log ? "log" : "value", min, max, axisTick: ticks, axisLabel: { formatter: plain, hideOverlap: true, showMinLabel: few, showMaxLabel: few, ...ticks } };
}

function plain(value) {
  return String(Number(Number(value).toPrecision(4)));
}

// Return the factor with which the values of the metric are shown.
function unit() {
  return METRIC.percent ? 100 : 1;
}

function percent(value) {
  if (!METRIC.percent) return value === null ? "-" : plain(value);
  return value === null ? "-" : `${(value * 100).toFixed(2)}%`;
}

function tip(title, ...lines) {
  return make("div", { className: "tip" }, make("b", {}, title), ...lines.filter(Boolean).map((line) => make("div", {}, line)));
}

function groupTip(group) {
  const seeds = group.n === 1 ? "one seed" : `n = ${group.n}`;
  const reached = group.n ? `${group.accuracy}${METRIC.percent ? "%" : ""} (${seeds})` + (group.interval === "-" ? "" : `, 95% CI: ${group.interval}`) : "";
  return tip(group.name, reached, group.state, group.remark && `vs. leader: ${group.remark}`);
}

// Return the options with a legend of as many rows as it needs at this width, and room for it below the chart.
function withRows(option, width) {
  if (!option.legend) return option;
  let [rows, left] = [1, width];
  for (const name of option.legend.data) {
    const wide = 44 + Math.min(7 * name.length, 200);
    if (wide > left) [rows, left] = [rows + 1, width];
    left -= wide;
  }
  if (rows > MOST_LEGEND_ROWS) return option; // then, the legend has pages
  return { ...option, legend: { ...option.legend, type: "plain" }, grid: { ...option.grid, bottom: 12 + 22 * rows } };
}

// Add the options that all charts share: the colors of the page, space for labels, and a tooltip within the page.
function based(option) {
  const t = theme();
  const line = { axisLine: { show: true, onZero: false, lineStyle: { color: t.strong } }, axisTick: { lineStyle: { color: t.strong } }, splitLine: { lineStyle: { color: t.grid } } };
  const dressed = (a) => ({ nameTextStyle: { color: t.dim }, nameLocation: "middle", ...line, ...a, axisLabel: { color: t.text, ...a.axisLabel } });
  for (const key of ["xAxis", "yAxis"]) if (option[key]) option[key] = dressed(option[key]);
  return {
    animation: false,
    textStyle: { color: t.text, fontFamily: "system-ui, sans-serif" },
    ...option,
    grid: { left: 8, right: 20, top: 16, bottom: 8, outerBoundsMode: "same", outerBoundsContain: "all", ...option.grid },
    legend: option.legend && { type: "scroll", bottom: 0, textStyle: { color: t.text, width: 200, overflow: "truncate" }, pageTextStyle: { color: t.text }, pageIconColor: t.text, ...option.legend },
    tooltip: { confine: true, backgroundColor: t.card, borderColor: t.strong, textStyle: { color: t.text }, ...option.tooltip },
  };
}
