// Whoever shows something is told when something happened, soon after it did, and not for each event of a burst.

import { follow } from "./api.js";

const REST = 400; // milliseconds
const LOOK = 15000; // where no event came
const KEPT = 200;

const looking = new Set();
export const events = [];
let stop = null;

/** `look` is called when something may have changed, never twice at a time. Gives what ends it. */
export function watch(look) {
  const one = { look, busy: false, again: false };
  looking.add(one);
  return () => looking.delete(one);
}

async function tell(one) {
  if (one.busy) return void (one.again = true);
  one.busy = true;
  do {
    one.again = false;
    try {
      await one.look();
    } catch {
      // what can't be read now stays as it was; the next look says more
    }
  } while (one.again && looking.has(one));
  one.busy = false;
}

/** Have everybody look, now. */
export function look() {
  for (const one of looking) tell(one);
}

/** Follow an account's events until `end`. */
export function begin(account) {
  end();
  const over = new AbortController();
  let waits = null;
  const soon = () => {
    waits ??= setTimeout(() => {
      waits = null;
      if (!document.hidden) look(); // who comes back to this tab is shown what there is then
    }, REST);
  };
  document.addEventListener("visibilitychange", soon, { signal: over.signal });
  const timer = setInterval(soon, LOOK);
  stop = () => {
    over.abort();
    clearInterval(timer);
    clearTimeout(waits);
  };
  follow({ account }, (event) => {
    if (event) events.unshift(event);
    events.splice(KEPT);
    soon();
  }, over.signal);
}

export function end() {
  stop?.();
  stop = null;
  looking.clear();
  events.length = 0;
}
