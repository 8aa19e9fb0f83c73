// What pages have in common: they read what there is, show it, and offer forms; live, until one leaves them.

import { following } from "./acts.js";
import { element, fill, status, table } from "./element.js";

/** Names and values. */
export const facts = (rows) => element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));

/** A table, or what to say where there is nothing in it. */
export const listed = (heads, rows, caption, empty) => (rows.length ? table(heads, rows, caption) : element("p", {}, empty));

/** A part of a page, with its heading. */
export const part = (title, ...children) => element("section", { "aria-label": title }, element("h2", {}, title), ...children);

export const link = (href, text, kind = "") => element("a", { href, class: kind || null }, text);

/** What is shown this once, such as a key: it stays until one leaves the page, or closes it. */
export function once(title, about, text) {
  const copy = element("button", { type: "button", class: "small", async onclick() {
    await navigator.clipboard.writeText(text);
    fill(copy, "Copied");
  } }, "Copy");
  const node = element("section", { class: "card", "aria-label": title }, element("h2", {}, title), element("p", { role: "status" }, about),
    element("pre", { tabindex: "0", "aria-label": title }, text),
    element("p", { class: "acts" }, navigator.clipboard ? copy : null, element("button", { type: "button", class: "small", onclick: () => node.remove() }, "I have it; close")));
  return node;
}

/** Whether somebody has typed something into it that is not sent yet, or is about to. */
export function touched(node) {
  const usual = (each) => Math.max(0, [...each.options].findIndex((one) => one.defaultSelected));
  const differs = (each) => (each.matches("select") ? each.selectedIndex !== usual(each)
    : each.type === "checkbox" ? each.checked !== each.defaultChecked : each.value !== each.defaultValue);
  return [...node.querySelectorAll("input, select, textarea")].some((each) => each === document.activeElement || differs(each));
}

/** A page. `read()` gets what it shows, `show(found, acts)` gives its parts; they are made anew when what was read is another. `forms(found, acts)` gives
 * its forms, which are made anew when `offers(found)` is another and nobody has begun one. `gone`: [what it was, where others are], for a page of one
 * thing, whose name is its title then. */
export function living(page, look, { title, lead = [], read, show, forms = () => [], offers = () => 0, gone = null }) {
  const heading = element("h1", { tabindex: "-1" }, title);
  const acts = following(page, look);
  const place = element("div", {}, status("Loading…"));
  const told = element("div", {});
  const under = element("div", {});
  fill(page, heading, ...lead, acts.node, told, place, under);
  acts.tell = (node) => {
    fill(told, node);
    node.querySelector("pre")?.focus();
  };
  let before = null;
  let offered = null;
  return {
    close: acts.close,
    async look() {
      let found;
      try {
        found = await read();
      } catch (error) {
        if (error.status !== 404 || !gone) throw error;
        acts.close();
        return void fill(page, element("h1", { tabindex: "-1" }, title), status(`There is no such ${gone[0]} any more.`), element("p", {}, link(gone[1], `All ${gone[0]}s`)));
      }
      if (gone && found.name) {
        fill(heading, found.name);
        document.title = `${found.name} - Arable`;
      }
      const now = JSON.stringify(found);
      if (before !== now && !place.querySelector("button.small.danger")) { // one that waits to be pressed again stays where it is
        fill(place, ...(await show(found, acts)));
        before = now;
      }
      const key = JSON.stringify(offers(found));
      if (offered === key || touched(under)) return;
      offered = key;
      const focused = under.contains(document.activeElement) ? document.activeElement.textContent : null;
      const open = new Set([...under.querySelectorAll("details[open] > form")].map((each) => each.getAttribute("aria-label")));
      fill(under, ...(await forms(found, acts)));
      for (const each of under.querySelectorAll("details > form")) if (open.has(each.getAttribute("aria-label"))) each.parentElement.open = true;
      if (focused !== null) [...under.querySelectorAll("summary, button")].find((each) => each.textContent === focused)?.focus();
    },
  };
}
