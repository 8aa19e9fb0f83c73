// The account's machines, to be found by how their names begin.

import { call } from "./api.js";
import { element, field, fill, state, status } from "./element.js";
import { link, listed } from "./lists.js";
import { may } from "./may.js";

const MOST = 100;

export async function machines(page, who, look) {
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => look() });
  const place = element("div", {}, status("Loading…"));
  fill(page, element("h1", { tabindex: "-1" }, "Machines"),
    may("/v1/machines") ? element("p", { class: "acts" }, link("#/deploy", "Deploy machines", "button")) : null,
    field("Names that begin with", find), place);
  return {
    async look() {
      const prefix = /^[a-z0-9][a-z0-9-]*$/.test(find.value) ? find.value : "";
      const found = await call("GET", "/v1/machines", { query: { account: who.account, prefix, limit: MOST } });
      fill(place, listed(["Name", "State", "Addresses"], found.items.map((machine) => [
        link(`#/machines/${machine.id}`, machine.name), state(machine.state), machine.nics.map((nic) => nic.address).join(", ")]), "Machines of the account",
      prefix ? "There is none whose name begins so." : `There is none.${may("/v1/machines") ? " Deploy one: it is made of an image, and has a network of its own." : ""}`),
      found.next ? element("p", { class: "hint" }, `These are the first ${MOST}.`) : null);
    },
  };
}
