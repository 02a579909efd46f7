// Builds the page. Charts are drawn immediately, and again if the selected configurations or the width changes.
class Card {
  constructor(holder, name, title, build, controls = () => []) {
    this.build = build;
    this.area = make("div", { className: "chart" });
    this.note = make("p", { className: "note" });
    const save = make("button", { type: "button", className: "save", title: "save this chart as an SVG file" }, "SVG");
    save.addEventListener("click", () => this.save(name));
    const head = make("header", {}, make("h3", {}, title), ...controls(() => this.draw()), save);
    this.node = make("article", { className: `card ${name}`, "data-chart": name }, head, this.area, this.note);
    holder.append(this.node);
    new ResizeObserver(() => (this.area.clientWidth === this.width ? this.chart?.resize() : this.draw())).observe(this.area);
  }

  draw() {
    this.node.hidden = false; // a hidden element has no width
    this.width = this.area.clientWidth;
    const made = this.build(this.width);
    this.node.hidden = made === null;
    if (made === null) return;
    this.note.textContent = made.note;
    this.area.style.minHeight = made.height ? `${made.height}px` : "";
    this.chart ??= echarts.init(this.area, null, { renderer: "canvas", locale: "EN" });
    this.chart.resize();
    this.chart.setOption(withRows(made.option, this.width), { notMerge: true });
  }

  save(name) {
    const drawn = echarts.init(null, null, { renderer: "svg", ssr: true, width: this.width, height: this.area.clientHeight });
    drawn.setOption(withRows(this.build(this.width).option, this.width));
    const address = URL.createObjectURL(new Blob([drawn.renderToSVGString()], { type: "image/svg+xml" }));
    drawn.dispose();
    make("a", { href: address, download: `${name}.svg` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
}

function cards(section, board) {
  const holder = section.querySelector(".charts");
  const search = board.data.search;
  const accuracy = METRIC.name === "accuracy" ? "Accuracy" : METRIC.name;
  const found = [];
  const add = (...given) => found.push(new Card(holder, ...given));
  if (search) {
    const state = { flag: "" };
    const options = [["", "trial number"], ...search.flags.map((f) => [f.name, f.name])];
    add("front", "Pareto front", () => frontChart(board));
    add("history", "Optimization history", () => historyChart(board));
    add("runs", "Learning curves of all runs", () => runsChart(board));
    add("trials", "Trials", (width) => trialsChart(board, width, state), (draw) => [choice("by", options, "", (value) => ((state.flag = value), draw()))]);
  }
  add("intervals", accuracy, (width) => intervalsChart(board, width));
  add("curves", "Learning curves", () => curvesChart(board));
  add("effects", "Effect of each flag", (width) => effectsChart(board, width));
  const pairs = board.data.interactions;
  const pair = { shown: 0 };
  const names = pairs.map((its, k) => [String(k), `${its.lines}, ${its.along}`]);
  const choose = (draw) => (pairs.length > 1 ? [choice("flags", names, "0", (value) => ((pair.shown = Number(value)), draw()))] : []);
  add("interactions", "Interaction of two flags", () => interactionChart(pairs[pair.shown], board.data.by), choose);
  add("parallel", "Parallel coordinates", (width) => parallelChart(board, width));
  return found;
}

Object.assign(METRIC, DATA.comparisons[0].metric);
document.querySelectorAll("section[data-comparison]").forEach((section) => {
  section.querySelector(".scriptless").remove();
  const drawn = [];
  let waiting;
  const redraw = () => {
    clearTimeout(waiting); // redraw only when the user pauses typing
    waiting = setTimeout(() => drawn.forEach((card) => card.draw()), 80);
  };
  drawn.push(...cards(section, new Leaderboard(section, DATA.comparisons[section.dataset.comparison], redraw)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
});
relink();
document.querySelectorAll(".links").forEach((asking) => {
  asking.hidden = address("") !== null;
  asking.querySelector("input").addEventListener("input", relink);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button.previousElementSibling.textContent, "copied");
  else follow(event);
});
