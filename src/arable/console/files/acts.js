// What one may do with a thing that is there: one button each, what it answers, and the same as a command.

import { call, newKey } from "./api.js";
import { button, element, fill } from "./element.js";
import { equivalent } from "./equivalent.js";
import { clearProblems, showProblem } from "./problems.js";

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

/** Something that can't be taken back: its name is typed first. `ask()` says what is sent then. */
export function confirmed(name, text, about, ask, done, more = []) {
  const summary = element("div", {});
  const same = equivalent();
  const typed = element("input", { autocomplete: "off", spellcheck: "false", "aria-label": `Type ${name} to confirm`, oninput: () => { go.disabled = typed.value !== name; } });
  const go = element("button", { type: "submit", class: "danger", disabled: true }, text);
  const say = () => same.show({ method: "POST", ...ask() });
  const form = element("form", { "aria-label": text, onchange: say, async onsubmit(event) {
    event.preventDefault();
    if (typed.value !== name) return;
    go.disabled = true;
    try {
      const { method = "POST", path, body } = ask();
      const answer = await call(method, path, { body, key: newKey() });
      clearProblems(form, summary);
      typed.value = "";
      done(answer);
    } catch (error) {
      showProblem(form, summary, error);
      go.disabled = false;
    }
  } }, summary, element("p", {}, about), ...more, element("p", {}, `Type ${name} to confirm`), typed, element("p", { class: "acts" }, go), same.node);
  say();
  return element("details", {}, element("summary", {}, text), form);
}
