// The page's data, and helper functions for all scripts. Texts are inserted as text, never as HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const FRAMED = window.parent !== window; // MLflow shows artifacts in a frame, which is not allowed to open pages

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name === "className" ? "class" : name, value);
  }
  made.append(...children);
  return made;
}

function many(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  clearTimeout(said.timer);
  said.timer = setTimeout(() => (said.textContent = ""), 6000);
}

async function copy(text, told) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { readOnly: true, style: "position:fixed;opacity:0" }, text);
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say(text);
  }
  return say(told);
}

// Return the address of a page in MLflow: on the known server, on the server that shows this page, or on the server of
// a link from lenet-ui that the user pasted. Return null if no server is known.
function address(page, pasted = document.querySelector("#pasted")?.value) {
  const shown = location.protocol === "blob:" ? new URL(location.href).origin : "null";
  const server = DATA.server || (shown.startsWith("http") && shown);
  if (server) return `${server}/${page}`;
  if (!/^https?:/.test(pasted) || !URL.canParse(pasted)) return null;
  return Object.assign(new URL(pasted), { hash: page }).href;
}

function relink() {
  document.querySelectorAll("a[data-page]").forEach((found) => {
    const to = address(found.dataset.page);
    if (to) found.href = to;
    else found.removeAttribute("href");
  });
}

function link(text, page) {
  return make("a", { "data-page": page, target: "_blank", rel: "noopener" }, text);
}

function follow(event) {
  const found = event.target.closest("a[href][data-page]");
  if (found && FRAMED && !window.open(found.href, "_blank")) {
    event.preventDefault();
    copy(found.href, `This frame cannot open the page; its address was copied: ${found.href}`);
  } else if (found && FRAMED) event.preventDefault();
}

function choice(label, options, chosen, changed) {
  const select = make("select", { "aria-label": label });
  options.forEach(([value, text]) => select.append(make("option", { value, selected: value === chosen }, text)));
  select.addEventListener("change", () => changed(select.value));
  return make("label", {}, `${label} `, select);
}

function number(text) {
  const value = text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}
