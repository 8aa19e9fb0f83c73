// What one may do with a thing that is there: one button each, what it answers, and the same as a command.
// What a role may not do is left out here, for all pages alike.

import { call, newKey } from "./api.js";
import { button, element, field, fill } from "./element.js";
import { equivalent } from "./equivalent.js";
import { may } from "./may.js";
import { clearProblems, showProblem } from "./problems.js";
import { progress } from "./progress.js";

/** `acts`: { text, path, method, body, expects, cli, danger }. `done(answer)` is called with what the API answered. */
export function acting(acts, done) {
  const summary = element("div", {});
  const same = equivalent();
  const node = element("div", {});
  const say = (act) => same.show({ method: act.method || "POST", path: act.path, body: act.body, expects: act.expects, cli: [act.cli] });
  const mine = acts.filter((act) => may(act.path));
  const made = mine.map((act) => button(act.text, async (event) => {
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
  if (!mine.length) return null;
  say(mine[0]);
  return fill(node, element("p", { class: "acts" }, ...made), summary, same.node);
}

/** A form in a fold, or nothing for whom may not send it. `ask()`: { method, path, body, expects, cli, shown } of what is sent, where
 * `shown` stands for a body with secrets; `ready()`: whether it may be sent; `done` gets the answer. */
export function folded(text, children, { ask, done, ready = () => true, danger = false }) {
  if (!may(ask().path)) return null;
  const summary = element("div", {});
  const same = equivalent();
  const go = element("button", { type: "submit", class: danger ? "danger" : "do" }, text);
  const form = element("form", { "aria-label": text, oninput: changed, onchange: changed, async onsubmit(event) {
    event.preventDefault();
    if (!ready()) return;
    go.disabled = true;
    try {
      const { method = "POST", path, body, expects } = ask();
      const answer = await call(method, path, { body, expects, key: newKey() });
      clearProblems(form, summary);
      form.reset();
      if (form.contains(document.activeElement)) fold.firstElementChild.focus(); // nobody types any more, so it may be made anew
      done(answer);
    } catch (error) {
      showProblem(form, summary, error);
    } finally {
      changed();
    }
  } }, summary, ...children, element("p", { class: "acts" }, go), same.node);

  function changed() {
    go.disabled = !ready();
    const said = ask();
    same.show({ method: "POST", ...said, body: said.shown ?? said.body });
  }

  changed();
  const fold = element("details", {}, element("summary", {}, text), form);
  return fold;
}

/** Something that can't be taken back: its name is typed first. */
export function confirmed(name, text, about, ask, done, more = []) {
  const typed = element("input", { autocomplete: "off", spellcheck: "false" });
  return folded(text, [element("p", {}, about), ...more, field(`Type ${name} to confirm`, typed)], { ask, done, ready: () => typed.value === name, danger: true });
}

/** For a page of many small acts: `follow(answer)` shows the operation that began, `small` is a button beside one thing of a list.
 * `sure` is one that can't be taken back, and is pressed twice. */
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

  async function send(method, path, { body, expects, query, done = follow } = {}) {
    try {
      const answer = await call(method, path, { body, expects, query, key: newKey() });
      fill(summary);
      done(answer);
    } catch (error) {
      showProblem(page, summary, error);
    }
  }

  const small = (text, label, method, path, body, more = {}) => (may(path)
    ? button(text, () => send(method, path, { body, ...more }), { class: "small", "aria-label": label }) : null);

  const sure = (text, label, method, path, body, more = {}) => {
    if (!may(path)) return null;
    let asked = false;
    const rest = () => {
      asked = false;
      fill(made, text);
      made.setAttribute("aria-label", label);
      made.classList.remove("danger");
    };
    const made = button(text, () => {
      if (asked) {
        rest();
        return void send(method, path, { body, ...more });
      }
      asked = true;
      fill(made, `${text}: sure?`);
      made.setAttribute("aria-label", `Really: ${label}`);
      made.classList.add("danger");
    }, { class: "small", "aria-label": label, onblur: rest });
    return made;
  };

  return { node: element("div", {}, summary, under), follow, send, small, sure, close: () => stop() };
}
