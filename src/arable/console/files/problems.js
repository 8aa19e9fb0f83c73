// What the API refuses, shown where it belongs: at the field, or else above the form.

import { Refused } from "./api.js";
import { element, fill } from "./element.js";
import { Unreadable } from "./yaml.js";

export function clearProblems(form, summary) {
  fill(summary);
  for (const wrong of form.querySelectorAll(".field > .wrong")) fill(wrong);
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

/** The field itself, else the nearest that it is a part of. */
function at(form, path) {
  const fields = [...form.querySelectorAll(".field")];
  for (let words = path.split("."); words.length; words = words.slice(0, -1)) {
    const found = fields.find((each) => each.dataset.path === words.join("."));
    if (found) return found;
  }
  return null;
}

/** Where a field stands in a document that is written as text. */
function lineOf(field, path) {
  const lines = field.querySelector("textarea").value.split("\n");
  const line = lines.findIndex((each) => each.startsWith(`${path.split(".")[0]}:`));
  return line < 0 ? "" : `line ${line + 1}, `;
}

/** `prefix`: what the API's fields begin with, where a form is a part of what was sent. What has no field of its own is shown at `text`, where the form
 * has a document as text. */
export function showProblem(form, summary, error, prefix = "") {
  clearProblems(form, summary);
  if (!(error instanceof Refused)) {
    const field = error instanceof Unreadable ? at(form, "text") : null;
    if (!field) return void fill(summary, element("p", { class: "wrong", role: "alert" }, error.message));
    return void mark(field, error.message);
  }
  const rest = [];
  let first = null;
  for (const [path, reason] of error.fields) {
    const name = path.startsWith(prefix) ? path.slice(prefix.length) : path;
    const written = prefix ? null : at(form, "text");
    const field = at(form, name) ?? written;
    if (field) mark(field, field.dataset.path === name ? reason : `${field === written ? lineOf(field, name) : ""}${name}: ${reason}`);
    else rest.push(`${name}: ${reason}`);
    first ??= field;
  }
  const told = rest.length ? rest : first ? ["Please look at the fields that are marked."] : [error.message];
  fill(summary, element("div", { class: "wrong", role: "alert" }, ...told.map((each) => element("p", {}, each)),
    error.request ? element("p", { class: "hint" }, `request ${error.request}`) : null));
  first?.querySelector("input, select, textarea")?.focus();
}

function mark(field, reason) {
  const wrong = field.querySelector(":scope > .wrong");
  fill(wrong, [wrong.textContent, reason].filter(Boolean).join("; "));
  field.querySelector("input, select, textarea")?.setAttribute("aria-invalid", "true");
}
