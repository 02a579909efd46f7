// The leaderboard: sorting, a filter, expandable rows, and the selection of configurations for the charts.
const FIRST = 20; // number of rows that are initially visible
const SORTED_BY = { accuracy: "mean", interval: "low", verdict: "remark" }; // fields of a group with another name
const DRAWN = 6; // number of configurations whose curves are drawn if the user has not selected any

class Leaderboard {
  constructor(section, data, changed) {
    Object.assign(this, { section, data, changed, all: data.groups.length <= FIRST + 5, key: "rank", down: false, words: "" });
    this.ticked = new Set();
    this.body = section.querySelector("tbody");
    this.rows = [...this.body.rows];
    data.groups.forEach((group, i) => (group.rank = i));
    const flags = data.flags.map((flag, f) => [flag.name, (g) => number(g.values[f]) ?? g.values[f]]);
    const heads = [...section.querySelectorAll("th")].map((head) => head.className); // names of columns.py
    this.keys = heads.map((name) => (name === "flag" ? flags.shift() : [name, (g) => g[SORTED_BY[name] ?? name]]));
    this.addTools();
    this.addHeads();
    this.rows.forEach((row) => this.addTick(row));
    this.show();
  }

  addTools() {
    const tools = this.section.querySelector(".tools");
    tools.hidden = false;
    const filter = make("input", { type: "search", placeholder: `filter: relu lr>=0.01 ${METRIC.name}${METRIC.larger ? ">" : "<"}${METRIC.percent ? "98" : "0.1"}`, "aria-label": "filter" });
    filter.addEventListener("input", () => ((this.words = filter.value), this.show()));
    this.count = make("span", { className: "count", role: "status" });
    this.more = make("button", { type: "button", className: "more" });
    this.more.addEventListener("click", () => ((this.all = !this.all), this.show()));
    tools.append(filter, this.count);
    this.section.querySelector(".table").after(this.more);
  }

  addHeads() {
    [...this.section.querySelectorAll("th")].forEach((head, k) => {
      const [name] = this.keys[k];
      const button = make("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => this.sort(head, name, this.key === name ? !this.down : name === "accuracy" && METRIC.larger));
      head.append(button);
    });
  }

  addTick(row) {
    const cell = row.querySelector("td.rank");
    const group = this.data.groups[row.dataset.i];
    const tick = make("input", { type: "checkbox", "aria-label": "draw its learning curves" });
    tick.addEventListener("change", () => {
      this.ticked[tick.checked ? "add" : "delete"](group);
      this.changed();
    });
    const open = make("button", { type: "button", className: "open", "aria-expanded": "false", "aria-label": "show its runs" }, "▸");
    open.addEventListener("click", () => this.open(row, open, group));
    cell.replaceChildren(open, make("label", {}, tick, cell.textContent));
  }

  open(row, button, group) {
    const opened = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!opened));
    button.textContent = opened ? "▸" : "▾";
    if (opened) return row.nextElementSibling.remove();
    const runs = group.runs.map((run) => {
      const text = `seed ${run.seed}: ${run.reached ?? "no epochs"}${run.outcome === "finished" ? "" : `, ${run.outcome}`}`;
      return make("li", {}, run.page ? link(text, run.page) : text);
    });
    row.after(make("tr", { className: "more" }, make("td", { colSpan: row.cells.length }, make("ul", {}, ...runs))));
    return relink();
  }

  sort(head, key, down) {
    Object.assign(this, { key, down });
    this.section.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    this.show();
  }

  // Return the configurations in the order that the user selected. Unknown values are always last.
  order() {
    const value = this.keys.find(([name]) => name === this.key)[1];
    const sign = this.down ? -1 : 1;
    return [...this.data.groups].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if ((x === null) !== (y === null)) return x === null ? 1 : -1;
      if (typeof x !== typeof y) return typeof x === "string" ? 1 : -1;
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) || a.rank - b.rank;
    });
  }

  shown() {
    const words = this.words.split(/\s+/).filter(Boolean);
    return this.order().filter((group) => words.every((word) => this.says(group, word)));
  }

  // Return whether a configuration matches a filter: `lr>=0.01`, `activation=relu`, `accuracy>98` (the metric, in percent),
  // or a word that can be in any column.
  says(group, word) {
    const [, name, sign, wanted] = word.match(/^([\w.]+)(>=|<=|=|>|<)(.+)$/) ?? [];
    if (name === undefined) {
      return [...group.values, ...group.shown, group.remark, group.state].some((text) => text.toLowerCase().includes(word.toLowerCase()));
    }
    const f = this.data.flags.findIndex((flag) => [flag.name, flag.short].includes(name));
    const own = { ...group, [METRIC.name]: group.mean === null ? null : group.mean * unit() };
    const text = f >= 0 ? group.values[f] : String(own[name] ?? "");
    const [x, y] = [number(text), number(wanted)];
    if (sign === "=") return x !== null && y !== null ? x === y : text.toLowerCase() === wanted.toLowerCase();
    if (x === null || y === null) return false;
    return sign === ">" ? x > y : sign === "<" ? x < y : sign === ">=" ? x >= y : x <= y;
  }

  show() {
    const shown = this.shown();
    const visible = new Set(this.all ? shown : shown.slice(0, FIRST));
    this.body.querySelectorAll('button[aria-expanded="true"]').forEach((button) => button.click());
    this.order().forEach((group) => {
      this.rows[group.rank].classList.toggle("off", !visible.has(group));
      this.body.append(this.rows[group.rank]);
    });
    this.count.textContent = `${shown.length} of ${this.rows.length}`;
    this.more.hidden = shown.length <= FIRST || this.rows.length <= FIRST + 5;
    this.more.textContent = this.all ? `show the first ${FIRST}` : `show all ${shown.length}`;
    this.changed();
  }

  drawn() {
    const known = this.shown().filter((group) => group.curves.length);
    return this.ticked.size ? known.filter((group) => this.ticked.has(group)) : known.slice(0, DRAWN);
  }
}

function ordered(values) {
  const numbers = values.filter((v) => number(v) !== null).sort((a, b) => a - b);
  return [...numbers, ...values.filter((v) => number(v) === null)];
}
