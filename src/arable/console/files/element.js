// What is shown is made here alone: elements, their attributes, and text nodes. Nothing is ever read as HTML.

const ATTRIBUTES = new Set(["accept", "autocomplete", "checked", "class", "colspan", "data-path", "data-words", "disabled", "for", "hidden",
  "href", "id", "inputmode", "max", "maxlength", "min", "name", "open", "placeholder", "required", "role", "rows", "scope", "selected",
  "spellcheck", "tabindex", "title", "type", "value"]);

/** An element. Attributes that are false or null are left out, `onclick` and its like are functions, children are nodes or text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function" && key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (!ATTRIBUTES.has(key) && !key.startsWith("aria-")) throw new Error(`no attribute ${key}`);
    else if (key === "href" && !/^(?:#|\/(?![/\\]))/.test(value)) throw new Error("links lead to this server alone");
    else made.setAttribute(key, value === true ? "" : value);
  }
  fill(made, ...children);
  return made;
}

/** Have these children and no others; null is none. */
export function fill(node, ...children) {
  const shown = children.flat().filter((child) => child !== null && child !== undefined);
  if (shown.some((child) => typeof child === "function")) throw new Error("a function is nothing to look at");
  node.replaceChildren(...shown
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

let made = 0;

/** An input with its label, a hint, and room for what is wrong with it. `path`: what the API calls the field. */
export function field(label, input, { hint = "", path = "" } = {}) {
  const id = `field-${++made}`;
  input.id = id;
  const about = hint ? element("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  const wrong = element("p", { class: "wrong", id: `${id}-wrong` });
  input.setAttribute("aria-describedby", `${about ? `${id}-hint ` : ""}${id}-wrong`);
  const caption = element("label", { for: id }, label);
  const order = input.type === "checkbox" ? [input, caption] : [caption, input];
  return element("div", { class: input.type === "checkbox" ? "field tick" : "field", "data-path": path }, ...order, about, wrong);
}

export function select(options, value, onchange, attributes = {}) {
  const known = options.some(([each]) => each === value);
  const all = known ? options : [[value, value === "" ? "choose" : value], ...options];
  return element("select", { onchange, ...attributes }, ...all.map(([each, text]) =>
    element("option", { value: each, selected: each === value }, text)));
}

export function table(heads, rows, caption) {
  return element("div", { class: "wide" }, element("table", {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell)))))));
}

export function state(word) {
  const good = ["ready", "serving", "running", "done", "up", "attached", "available", "approved", "reached"];
  const bad = ["failed", "error", "lost", "refused", "down", "silent"];
  return element("span", { class: `state ${good.includes(word) ? "good" : bad.includes(word) ? "bad" : "between"}` }, word);
}

export function moment(text) {
  return text ? new Date(text).toLocaleString() : "";
}

/** Said to whoever listens instead of looking. */
export function status(text = "", kind = "status") {
  return element("p", { role: kind === "wrong" ? "alert" : "status", class: kind }, text);
}
