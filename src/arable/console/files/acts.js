// What one may do with a thing that is there: one button each, what it answers, and the same as a command.

import { call, newKey } from "./api.js";
import { button, element, field, fill } from "./element.js";
import { equivalent } from "./equivalent.js";
import { clearProblems, showProblem } from "./problems.js";
import { progress } from "./progress.js";

/** `acts`: { text, path, method, body, expects, cli, danger }. `done(answer)` is called with what the API answered. */
export function acting(acts, done) {
  const summary = element("div", {});
  const same = equivalent();
  const node = element("div", {});
  const say = (act) => same.show({ method: act.method || "POST", path: act.path, body: act.body, expects: act.expects, cli: [act.cli] });
  const made = acts.map((act) => button(act.text, async (event) => {
    const here = event.currentTarget;
    here.disabled = true;
    try {
      const answer = await call(act.method || "POST", act.path, { body: act.body, expects: act.expects, key: newKey() });
      clearProblems(node, summary);
      done(answer);
    } catch (error) {
      showProblem(node, summary, error);
    } finally {
      here.disabled = false;
    }
  }, { class: act.danger ? "danger" : "", onfocus: () => say(act), onpointerenter: () => say(act) }));
  if (acts.length) say(acts[0]);
  return fill(node, element("p", { class: "acts" }, ...made), summary, acts.length ? same.node : null);
}

/** A form in a fold. `ask()`: { method, path, body, cli } of what is sent; `ready()`: whether it may be; `done` gets the answer. */
function folded(text, children, { ask, done, ready = () => true, danger = false }) {
  const summary = element("div", {});
  const same = equivalent();
  const go = element("button", { type: "submit", class: danger ? "danger" : "do" }, text);
  const form = element("form", { "aria-label": text, oninput: changed, onchange: changed, async onsubmit(event) {
    event.preventDefault();
    if (!ready()) return;
    go.disabled = true;
    try {
      const { method = "POST", path, body } = ask();
      const answer = await call(method, path, { body, key: newKey() });
      clearProblems(form, summary);
      form.reset();
      done(answer);
    } catch (error) {
      showProblem(form, summary, error);
    } finally {
      changed();
    }
  } }, summary, ...children, element("p", { class: "acts" }, go), same.node);

  function changed() {
    go.disabled = !ready();
    same.show({ method: "POST", ...ask() });
  }

  changed();
  return element("details", {}, element("summary", {}, text), form);
}

/** What is asked for by a few fields: [label, input, what the API calls it, hint]. */
export function asked(text, fields, ask, done) {
  const rows = fields.map(([label, input, path, hint = ""]) => field(label, input, { path, hint }));
  return folded(text, [element("div", { class: "row" }, ...rows)], { ask, done });
}

/** Something that can't be taken back: its name is typed first. */
export function confirmed(name, text, about, ask, done, more = []) {
  const typed = element("input", { autocomplete: "off", spellcheck: "false" });
  return folded(text, [element("p", {}, about), ...more, field(`Type ${name} to confirm`, typed)], { ask, done, ready: () => typed.value === name, danger: true });
}

/** For a page of many small acts: `follow(answer)` shows the operation that began, `small` is a button beside one thing of a list. */
export function following(page, look) {
  const under = element("div", {});
  const summary = element("div", {});
  let stop = () => {};

  function follow(answer) {
    const operation = answer?.operation ?? answer?.id;
    if (operation?.startsWith("operation-")) {
      stop();
      stop = progress(under, operation);
    }
    look();
  }

  const small = (text, label, method, path, body) => button(text, async () => {
    try {
      const answer = await call(method, path, { body, key: newKey() });
      fill(summary);
      follow(answer);
    } catch (error) {
      showProblem(page, summary, error);
    }
  }, { class: "small", "aria-label": label });

  return { node: element("div", {}, summary, under), follow, small, close: () => stop() };
}
