// Colours, ranges, ticks and tooltips that the charts share.
const COLOURS = ["#2f6fde", "#e07b00", "#2a9d5c", "#c23b8f", "#7b61d6", "#00919c", "#b5651d", "#d43d3d", "#6b8e23", "#808897"];
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
const ON_DARK = ["#8579d6", "#5f93d8", "#3aa8b5", "#4ac16d", "#a0da39", "#fde725"]; // thin lines need more light there
const STATES = { finished: "#2f6fde", pruned: "#8b93a1", diverged: "#e07b00", failed: "#d43d3d", killed: "#d43d3d" };
const BEST = "#d43d3d";
const NARROW = 520; // pixels of a chart
const OUTLYING = 6;
const LEFT_OUT = 0.1; // of the values, at most, but for outliers
const ROOM = 1.25; // times the range of the others
const TICKS = 8; // values that are written at an axis as they were swept

const PAPER = "paper"; // while charts are drawn for a print, which is light whatever the screen is

function isDark() {
  return matchMedia("(prefers-color-scheme: dark)").matches && !document.documentElement.classList.contains(PAPER);
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["card", "text", "dim", "line", "strong", "grid", "empty", "bad"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// A range that a few failures don't squeeze: from the best down to where most are.
function most(values, { less = false, least = 1e-4 } = {}) {
  const sign = less ? -1 : 1;
  const heights = values.filter((v) => v !== null && Number.isFinite(v)).map((v) => sign * v).sort((a, b) => a - b);
  if (!heights.length) return null;
  const best = heights[heights.length - 1];
  const middle = heights[Math.floor((heights.length - 1) / 2)];
  const worst = Math.max(heights[0], best - Math.max(4 * (best - middle), least));
  return less ? [-best, -worst] : [worst, best];
}

// A range that shows what a search pruned, too: nine in ten of all values, and what a little more room holds; but for
// outliers, OUTLYING times as far from the best as the middle, as what learned nothing is.
function nearlyAll(values, { less = false, least = 1e-4 } = {}) {
  const sign = less ? -1 : 1;
  const heights = values.filter((v) => v !== null && Number.isFinite(v)).map((v) => sign * v).sort((a, b) => a - b);
  if (!heights.length) return null;
  const best = heights[heights.length - 1];
  const reach = Math.max(best - heights[Math.floor((heights.length - 1) / 2)], least / OUTLYING);
  const near = heights.filter((v) => v >= best - OUTLYING * reach);
  const most = Math.max(near[0], heights[Math.floor(LEFT_OUT * heights.length)]);
  const worst = near.find((v) => v >= best - Math.max(ROOM * (best - most), least));
  return less ? [-best, -worst] : [worst, best];
}

function niceStep(span, parts) {
  const raw = span / parts;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999);
}

// An axis of numbers whose ends are ticks.
function axis([low, high], { percent = false, top = Infinity, parts = 5 } = {}) {
  const span = Math.max(high - low, percent ? 1e-3 : Math.abs(high) * 1e-3, 1e-12);
  const step = niceStep(span * 1.04, parts);
  const least = percent && low >= 0 ? 0 : -Infinity; // of accuracies
  const min = Math.max(Math.floor((low - 0.02 * span) / step + 1e-9) * step, least);
  const max = Math.min(Math.ceil((high + 0.02 * span) / step - 1e-9) * step, top);
  const places = Math.max(0, -Math.floor(Math.log10(percent ? step * 100 : step) + 1e-9) + (/25/.test(step.toPrecision(2)) ? 1 : 0));
  const said = (v) => (percent ? `${(v * 100).toFixed(places)} %` : plain(v, places));
  return { type: "value", min, max, interval: step, axisLabel: { formatter: said, hideOverlap: true } };
}

function plain(value, places) {
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
  return places === undefined ? String(Number(value.toPrecision(4))) : value.toFixed(places);
}

function logAxis([low, high]) {
  const [from, to] = [Math.floor(Math.log10(low) + 1e-9), Math.ceil(Math.log10(high) - 1e-9)];
  return { type: "log", min: 10 ** from, max: 10 ** Math.max(to, from + 1), axisLabel: { formatter: (v) => plain(v) } };
}

// Where each value of a flag stands on an axis: numbers by size or, where they were swept in factors, by their logarithm;
// words in a row; `-`, where the flag does not matter, below the numbers.
function flagScale(flag, values) {
  const known = ordered([...new Set(values)]);
  const numbers = known.filter((v) => number(v) !== null);
  const words = known.filter((v) => number(v) === null);
  const at = new Map();
  if (numbers.length < 2 || words.length > 1 || words.some((w) => w !== "-")) {
    known.forEach((value, i) => at.set(value, i));
    const every = Math.ceil(known.length / 14);
    return { flag, at, log: false, words: true, min: -0.4, max: known.length - 0.6, ticks: known.filter((_, i) => i % every === 0).map((v) => [at.get(v), v]) };
  }
  const log = flag.log && numbers.every((v) => Number(v) > 0);
  const place = (v) => (log ? Math.log10(v) : Number(v));
  numbers.forEach((value) => at.set(value, place(value)));
  let [low, high] = [place(numbers[0]), place(numbers[numbers.length - 1])];
  let ticks = numbers.length <= TICKS ? numbers.map((v) => [place(v), short4(v)]) : spread(low, high, log).map((p) => [p, plain(log ? 10 ** p : p)]);
  const span = high - low || 1;
  ticks = ticks.filter(([p], i) => i === 0 || p - ticks[i - 1][0] > 0.035 * span);
  words.forEach((word) => (at.set(word, low - 0.15 * span), ticks.unshift([low - 0.15 * span, word])));
  if (words.length) low -= 0.15 * span;
  return { flag, at, log, words: false, min: low - 0.04 * span, max: high + 0.04 * span, ticks };
}

// As the table has it: 0.0 as 0, and four digits of what a sampler drew.
function short4(text) {
  if (/^-?\d+\.\d+$/.test(text) && text.length <= 9) return String(Number(text));
  return text.length > 9 && number(text) !== null ? plain(Number(text)) : text;
}

function spread(low, high, log) {
  if (log && high - low >= 1.5) return Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i);
  if (log) {
    const marks = [];
    for (let p = Math.floor(low); p <= high; p++) for (const m of [1, 2, 5]) marks.push(p + Math.log10(m));
    return marks.filter((p) => p >= low - 1e-9 && p <= high + 1e-9);
  }
  const step = niceStep(high - low || 1, 5);
  const marks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step) marks.push(Number(v.toPrecision(12)));
  return marks;
}

function scaleAxis(scale) {
  const words = new Map(scale.ticks.map(([p, text]) => [p.toFixed(9), text]));
  const places = scale.ticks.map(([p]) => p);
  return {
    type: "value",
    min: scale.min,
    max: scale.max,
    axisLabel: { customValues: places, formatter: (v) => words.get(v.toFixed(9)) ?? "" },
    axisTick: { show: true, customValues: places },
  };
}

function axisName(scale) {
  return scale.flag.name + (scale.log ? " (log)" : "");
}

function percent(value, places = 2) {
  return value === null ? "-" : `${(value * 100).toFixed(places)} %`;
}

function tip(title, ...lines) {
  const made = make("div", { className: "tip" }, make("b", {}, title));
  lines.filter(Boolean).forEach((line) => {
    const [text, colour] = Array.isArray(line) ? line : [line];
    made.append(make("div", {}, ...(colour ? [make("i", { style: `background:${colour}` })] : []), text));
  });
  return made;
}

function groupTip(group, ...more) {
  const seeds = group.n === 1 ? "one seed" : `n=${group.n}`;
  const reached = group.n ? `${group.accuracy} % (${seeds})` + (group.interval === "-" ? "" : `, 95 %: ${group.interval}`) : "";
  return tip(group.name, reached, group.brief.startsWith(group.state) ? "" : group.state, group.leader ? "" : group.brief, ...more);
}

// What all charts have: colours of the page, room for the labels, a tooltip that stays on the page.
function based(option) {
  const t = theme();
  const line = { axisLine: { show: true, onZero: false, lineStyle: { color: t.strong } }, axisTick: { lineStyle: { color: t.strong } }, splitLine: { lineStyle: { color: t.grid } } };
  const dressed = (a) => ({ nameTextStyle: { color: t.dim }, nameLocation: "middle", ...line, ...a, axisLabel: { color: t.text, ...a.axisLabel }, axisTick: { ...line.axisTick, ...a.axisTick } });
  for (const key of ["xAxis", "yAxis"]) if (option[key]) option[key] = [].concat(option[key]).map(dressed);
  return {
    animation: false,
    textStyle: { color: t.text, fontFamily: "system-ui, sans-serif" },
    ...option,
    grid: { left: 8, right: 20, top: 16, bottom: 8, outerBoundsMode: "same", outerBoundsContain: "all", ...option.grid },
    legend: option.legend && { type: "scroll", bottom: 0, textStyle: { color: t.text, width: 200, overflow: "truncate" }, pageTextStyle: { color: t.text }, pageIconColor: t.text, pageIconInactiveColor: t.strong, ...option.legend },
    tooltip: { confine: true, backgroundColor: t.card, borderColor: t.strong, textStyle: { color: t.text }, ...option.tooltip },
  };
}

function colourBar(range, t, more = {}) {
  return { type: "continuous", min: range[0], max: range[1], calculable: false, inRange: { color: VIRIDIS }, textStyle: { color: t.text }, text: [percent(range[1]), percent(range[0])], itemWidth: 12, ...more };
}
