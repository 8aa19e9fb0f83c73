// What a change would do, and how far it is.

import { call } from "./api.js";
import { element, fill, state } from "./element.js";
import { look, watch } from "./live.js";

const WAIT = 30; // seconds that the server may take to answer; it does so when the operation ends
const SIGNS = { "+": "made", "~": "changed", "-": "let go", "=": "left as it is" };

/** The steps of a plan. */
export function planOf(steps) {
  const count = (sign) => steps.filter((step) => step.sign === sign).length;
  const sums = ["+", "~", "-"].filter(count).map((sign) => `${count(sign)} ${SIGNS[sign]}`);
  return element("div", { class: "plan", role: "status" },
    element("h3", {}, "Plan"),
    element("p", {}, sums.length ? `To be ${sums.join(", ")}.` : "Nothing would change."),
    element("ul", {}, ...steps.map((step) => element("li", { class: `sign-${Object.keys(SIGNS).indexOf(step.sign)}` },
      element("span", { "aria-label": SIGNS[step.sign] || "", class: "sign" }, step.sign),
      ` ${step.what} ${step.name}: ${step.about}`))));
}

function causes(error) {
  const more = error.causes || [];
  return element("li", {}, error.detail || error.title, more.length ? element("ul", {}, ...more.map(causes)) : null);
}

/** An operation until its end, in `node`. `ended(operation)` is called once. Gives what stops looking. */
export function progress(node, id, ended = () => {}) {
  const bar = element("progress", { max: "1", "aria-label": "Progress" });
  const head = element("p", { role: "status" });
  const steps = element("ol", { class: "steps" });
  fill(node, element("div", { class: "progress" }, head, bar, steps));
  const over = new AbortController();
  let done = false;

  function show(operation) {
    const settled = operation.total - operation.pending;
    fill(head, `${operation.kind}: `, state(operation.state), operation.total ? ` ${settled} of ${operation.total}` : "");
    bar.max = Math.max(operation.total, 1);
    bar.value = operation.state === "done" ? bar.max : settled;
    fill(steps, ...operation.steps.map((step) => element("li", {}, `${new Date(step.at).toLocaleTimeString()} ${step.text}`)),
      operation.error ? element("li", { class: "wrong" }, "failed", element("ul", {}, causes(operation.error))) : null);
    if (operation.state === "running" || done) return;
    done = true;
    stop();
    look();
    ended(operation);
  }

  const now = async (wait) => {
    const operation = await call("GET", `/v1/operations/${id}`, { query: { wait }, signal: over.signal });
    if (!done) show(operation);
  };
  const untilEnd = async () => {
    await now(0);
    while (!done && !over.signal.aborted) await now(WAIT);
  };
  const unwatch = watch(() => now(0));
  function stop() {
    over.abort();
    unwatch();
  }
  untilEnd().catch((error) => {
    if (over.signal.aborted) return;
    unwatch();
    if (error.status === 404) fill(node); // it was long ago, and is forgotten
    else fill(head, error.message);
  });
  return stop;
}
