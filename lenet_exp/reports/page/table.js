// The leaderboard: sorting, filters, rows that open, and which configurations the charts show.
const FIRST = matchMedia("(max-width: 760px)").matches ? 8 : 20; // rows at first
const DRAWN = 6; // configurations whose curves are drawn, unless some are ticked
const FEW = 12; // values of a flag that has a filter of its own

class Leaderboard {
  constructor(section, data, changed) {
    Object.assign(this, { section, data, changed, all: data.groups.length <= FIRST + 5, key: "#", down: false });
    this.words = "";
    this.chosen = {};
    this.ticked = new Set();
    this.body = section.querySelector("tbody");
    this.rows = [...this.body.rows];
    this.keys = [
      ["#", (i) => i],
      ...data.flags.map((flag, f) => [flag.name, (i) => number(data.groups[i].values[f]) ?? data.groups[i].values[f]]),
      ["accuracy", (i) => data.groups[i].mean],
      ["verdict", (i) => (data.groups[i].leader ? "" : data.groups[i].brief)],
      ["interval", (i) => data.groups[i].low],
      ["n", (i) => data.groups[i].n],
      ["epoch", (i) => data.groups[i].epoch],
      ["seconds", (i) => data.groups[i].seconds],
    ];
    this.addTools();
    this.addHeads();
    this.rows.forEach((row) => this.addTick(row));
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("button.open")?.closest("tr");
      if (row) this.open(row);
    });
    this.show();
    new ResizeObserver(() => this.fit()).observe(section.querySelector(".table"));
  }

  addTools() {
    const tools = this.section.querySelector(".tools");
    tools.hidden = false;
    const filter = make("input", { type: "search", placeholder: "filter: relu lr>=0.01 accuracy>98", "aria-label": "filter" });
    filter.addEventListener("input", () => ((this.words = filter.value), this.show()));
    tools.append(filter);
    this.data.flags.forEach((flag, f) => {
      const values = [...new Set(this.data.groups.map((g) => g.values[f]))];
      if (values.length < 2 || values.length > FEW || this.data.flags.length > 8) return;
      const options = ordered(values).map((value) => [`=${value}`, value]);
      tools.append(choice(flag.short, [["", "all"], ...options], "", (value) => ((this.chosen[f] = value.slice(1)), this.show())));
    });
    const keys = this.keys.map(([name]) => [name, name]);
    const sorted = choice("sort by", keys, "#", (name) => this.sort(name, name === "accuracy"));
    sorted.classList.add("phone");
    this.count = make("span", { className: "count", role: "status" });
    this.more = make("button", { type: "button", className: "more" });
    this.more.addEventListener("click", () => ((this.all = !this.all), this.show()));
    tools.append(sorted, this.count);
    this.section.querySelector(".table").after(this.more);
  }

  addHeads() {
    [...this.section.querySelectorAll("th")].forEach((head, k) => {
      const [name] = this.keys[k];
      const button = make("button", { type: "button", "data-key": name }, ...head.childNodes);
      button.addEventListener("click", () => this.sort(name, this.key === name ? !this.down : name === "accuracy" || name === "interval"));
      head.append(button);
    });
  }

  addTick(row) {
    const cell = row.querySelector("td.rank");
    const index = Number(row.dataset.i);
    const tick = make("input", { type: "checkbox", "aria-label": "draw its curves" });
    tick.addEventListener("change", () => {
      this.ticked[tick.checked ? "add" : "delete"](index);
      this.changed();
    });
    const open = make("button", { type: "button", className: "open", "aria-expanded": "false", "aria-label": "its runs" }, "▸");
    cell.replaceChildren(open, make("label", {}, tick, cell.textContent));
  }

  open(row) {
    const button = row.querySelector("button.open");
    const opened = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!opened));
    button.textContent = opened ? "▸" : "▾";
    if (opened) return row.nextElementSibling.remove();
    const group = this.data.groups[row.dataset.i];
    const runs = make("ul");
    group.runs.forEach((run) => {
      const text = `seed ${run.seed}: ${run.reached ?? "no epoch"}${run.outcome === "finished" ? "" : `, ${run.outcome}`}`;
      runs.append(make("li", {}, run.page ? link(text, run.page) : text));
    });
    const told = group.remark && !group.leader && !group.state ? `The leader against it: ${group.remark}` : group.remark;
    return row.after(make("tr", { className: "more" }, make("td", { colSpan: row.cells.length }, told, runs)));
  }

  sort(name, down) {
    Object.assign(this, { key: name, down });
    this.section.querySelectorAll("th").forEach((head, k) => {
      if (this.keys[k][0] === name) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const select = this.section.querySelector(".phone select");
    if (select) select.value = name;
    this.show();
  }

  // Unknown values stand last, however it is sorted.
  order() {
    const value = this.keys.find(([name]) => name === this.key)[1];
    const sign = this.down ? -1 : 1;
    return this.data.groups.map((_, i) => i).sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if ((x === null) !== (y === null)) return x === null ? 1 : -1;
      if (typeof x === typeof y && x !== y) return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
      if (typeof x !== typeof y) return typeof x === "string" ? 1 : -1;
      return a - b;
    });
  }

  shown() {
    return this.order().filter((i) => this.fits(i));
  }

  fits(i) {
    const group = this.data.groups[i];
    for (const [f, value] of Object.entries(this.chosen)) if (value && group.values[f] !== value) return false;
    return this.words.split(/\s+/).filter(Boolean).every((word) => this.says(group, word));
  }

  // `lr>=0.01`, `activation=relu`, `accuracy>98` (in percent), or a word that is found anywhere.
  says(group, word) {
    const [, name, sign, wanted] = word.match(/^([\w.]+)(>=|<=|=|>|<)(.+)$/) ?? [];
    if (name === undefined) {
      return [...group.values, ...group.shown, group.brief, group.state].some((text) => text.toLowerCase().includes(word.toLowerCase()));
    }
    const f = this.data.flags.findIndex((flag) => [flag.name, flag.short].includes(name));
    const own = { accuracy: group.mean === null ? null : group.mean * 100, n: group.n, epoch: group.epoch, seconds: group.seconds };
    const text = f >= 0 ? group.values[f] : own[name] === undefined || own[name] === null ? "" : String(own[name]);
    const [x, y] = [number(text), number(wanted)];
    if (sign === "=") return x !== null && y !== null ? x === y : text.toLowerCase() === wanted.toLowerCase();
    if (x === null || y === null) return false;
    return sign === ">" ? x > y : sign === "<" ? x < y : sign === ">=" ? x >= y : x <= y;
  }

  show() {
    const order = this.order();
    const fitting = new Set(order.filter((i) => this.fits(i)));
    const rows = new Map(this.rows.map((row) => [Number(row.dataset.i), row]));
    let place = 0;
    this.body.querySelectorAll("tr.more").forEach((row) => row.previousElementSibling.querySelector("button.open").click());
    const sorted = order.map((i) => {
      rows.get(i).classList.toggle("off", !fitting.has(i) || (!this.all && place++ >= FIRST));
      return rows.get(i);
    });
    this.body.append(...sorted);
    this.count.textContent = `${fitting.size} of ${order.length}`;
    this.more.hidden = fitting.size <= FIRST || this.data.groups.length <= FIRST + 5;
    this.more.textContent = this.all ? `show the first ${FIRST}` : `show all ${fitting.size}`;
    this.changed();
    this.fit();
  }

  // The verdict is never cut off: where the columns do not fit, the less important go, as they do in a terminal; where
  // even that is not enough, each row is a card with all of them.
  fit() {
    const holder = this.section.querySelector(".table");
    const [width, was] = [holder.clientWidth, this.fitted];
    if (width === was) return;
    this.fitted = width;
    const without = ["no-seconds", "no-epoch", "no-interval"];
    holder.classList.remove("stacked", ...without);
    const tooWide = () => holder.scrollWidth > holder.clientWidth + 1;
    without.forEach((name) => tooWide() && holder.classList.add(name));
    if (!tooWide()) return;
    holder.classList.remove(...without);
    holder.classList.add("stacked");
  }

  drawn() {
    const shown = this.shown();
    return this.ticked.size ? shown.filter((i) => this.ticked.has(i)) : shown.filter((i) => this.data.groups[i].curves.length).slice(0, DRAWN);
  }
}

function ordered(values) {
  const numbers = values.filter((v) => number(v) !== null).sort((a, b) => a - b);
  return [...numbers, ...values.filter((v) => number(v) === null)];
}
