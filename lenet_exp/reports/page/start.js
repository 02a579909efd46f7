// Puts the page together: charts are drawn when they come into sight, and again when what is shown changes. Those that
// nobody has seen yet are drawn when the browser has time, for pictures of the whole page, and all of them for printing.
class Card {
  constructor(holder, name, title, build, { controls, wide = false } = {}) {
    Object.assign(this, { build, seen: false, controls, chart: null });
    this.node = make("article", { className: wide ? "card wide" : "card", "data-chart": name });
    this.head = make("header", {}, make("h3", {}, title));
    this.area = make("div", { className: "chart" });
    this.note = make("p", { className: "note" });
    this.node.append(this.head, this.area, this.note);
    holder.append(this.node);
    if (controls) this.head.append(...controls(() => this.draw()));
    const sight = new IntersectionObserver((entries) => {
      const now = entries[0].isIntersecting;
      if (now && !this.seen) ((this.seen = true), this.draw());
      this.seen = now;
    }, { rootMargin: "200px" });
    sight.observe(this.node);
    new ResizeObserver(() => this.area.clientWidth !== this.width && this.draw()).observe(this.area);
  }

  draw(unseen = false) {
    if (!this.seen && !unseen && !this.node.hidden) return;
    this.node.hidden = false; // or it would have no width
    this.width = this.area.clientWidth;
    const made = this.build(this.width);
    this.node.hidden = made === null;
    if (made === null) return;
    this.note.textContent = made.empty ?? made.note ?? "";
    this.area.style.display = made.empty ? "none" : "";
    if (made.empty) return;
    this.area.style.height = made.height ? `${made.height}px` : "";
    this.chart ??= echarts.init(this.area, null, { renderer: "canvas", locale: "EN" });
    this.chart.resize();
    this.chart.setOption(made.option, { notMerge: true });
  }

  // One picture of all its layers, as wide as the paper; it is there at once, and a print waits for nothing.
  print() {
    this.draw(true);
    this.printed?.remove();
    if (this.node.hidden || this.area.style.display === "none") return;
    this.printed = this.chart.renderToCanvas({ pixelRatio: 2 });
    this.printed.className = "printed";
    this.area.after(this.printed);
  }
}

const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));

function drawUnseen(cards) {
  const [next, ...others] = cards.filter((card) => !card.chart);
  if (!next) return;
  next.draw(true);
  idle(() => drawUnseen(others));
}

function cards(section, board) {
  const holder = section.querySelector(".charts");
  const data = board.data;
  const flags = data.flags.map((f) => [f.name, f.name]);
  const weighty = byWeight(data).map((f) => f.name);
  const heat = { down: weighty[0], across: weighty[1] };
  const slice = { flag: weighty[0] };
  const trial = { flag: "" };
  const found = [];
  const add = (...given) => found.push(new Card(holder, ...given));
  const pick = (state, key, label, options) => (draw) => [choice(label, options, state[key], (value) => ((state[key] = value), draw()))];
  if (data.search) {
    const searched = data.search.flags.map((f) => [f.name, f.name]);
    add("history", "History of the best", () => historyChart(board));
    add("pruned", "All runs, pruned ones too", () => prunedChart(board));
    add("trials", "Slices", (width) => trialsChart(board, width, trial), { controls: pick(trial, "flag", "over", [["", "its order"], ...searched]) });
  }
  add("intervals", "Accuracy", (width) => intervalsChart(board, width));
  if (data.search) {
    add("importance", "Importance", (width) => importanceChart(board, width));
    add("budget", "Budget spent", () => budgetChart(board));
  }
  add("curves", "Curves", () => curvesChart(board));
  add("parallel", "Parallel coordinates", (width) => parallelChart(board, width), { wide: true });
  if (flags.length > 1) {
    add("heat", "Heat map", (width) => heatChart(board, width, heat), {
      controls: (draw) => [...pick(heat, "down", "down", flags)(draw), ...pick(heat, "across", "across", flags)(draw)],
    });
  }
  add("effects", "What each flag does", (width) => effectsChart(board, width));
  if (flags.length && !data.search) add("slices", "Slices", (width) => slicesChart(board, width, slice), { controls: pick(slice, "flag", "over", flags) });
  add("seconds", "What it takes", () => secondsChart(board));
  return found;
}

document.querySelectorAll("section[data-comparison]").forEach((section) => {
  section.querySelector(".scriptless").remove();
  const drawn = [];
  let waiting;
  const redraw = () => {
    clearTimeout(waiting); // until typing rests
    waiting = setTimeout(() => drawn.forEach((card) => card.draw()), 80);
  };
  const board = new Leaderboard(section, DATA.comparisons[section.dataset.comparison], redraw);
  drawn.push(...cards(section, board));
  idle(() => drawUnseen(drawn));
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add(PAPER);
    drawn.forEach((card) => card.print());
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove(PAPER);
    if (isDark()) drawn.forEach((card) => card.draw(true));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
});
document.querySelectorAll("a[data-page]").forEach((found) => (found.href = address(found.dataset.page)));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button.previousElementSibling.textContent, "copied");
  else follow(event);
});
