// Rollouts under way: how far they are, and what one may do with them.

import { list } from "./api.js";
import { element, state, table } from "./element.js";
import { link } from "./lists.js";

/** Those that are under way, of a farm or an account. */
export const underWay = async (query) => list("/v1/rollouts", { ...query, state: "open" }, 50);

/** As a table with their buttons; null where there is none. `small` makes a button, as `following` has it. */
export function rolling(found, small, farms = false) {
  const ask = (each, text, verb) => small(text, `${text} the rollout of ${each.name}`, "POST", `/v1/rollouts/${each.id}/${verb}`, undefined, { expects: each.generation });
  return found.length ? table(["Rollout", "State", "Renewed", "Told", ""], found.map((each) => [
    farms ? link(`#/farms/${each.farm}`, each.name) : each.name, state(each.state), `${each.renewed} of ${each.count}`, each.told,
    element("span", { class: "acts" }, each.state === "paused" ? ask(each, "Resume", "resume") : each.state === "rolling" ? ask(each, "Pause", "pause") : null,
      each.state === "back" ? null : ask(each, "Turn back", "back"))]), "Rollouts under way") : null;
}
