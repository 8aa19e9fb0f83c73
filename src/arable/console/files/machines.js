// The account's machines, to be found by how their names begin.

import { call } from "./api.js";
import { element, field, fill, state, status, table } from "./element.js";

const MOST = 100;

export async function machines(page, who, look) {
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => look() });
  const place = element("div", {}, status("Loading…"));
  fill(page, element("h1", { tabindex: "-1" }, "Machines"),
    who.permissions.includes("machine:write") ? element("p", { class: "acts" }, element("a", { class: "button", href: "#/deploy" }, "Deploy machines")) : null,
    field("Names that begin with", find), place);
  return {
    async look() {
      const prefix = /^[a-z0-9][a-z0-9-]*$/.test(find.value) ? find.value : "";
      const found = await call("GET", "/v1/machines", { query: { account: who.account, prefix, limit: MOST } });
      fill(place, found.items.length ? table(["Name", "State", "Addresses"], found.items.map((machine) => [
        element("a", { href: `#/machines/${machine.id}` }, machine.name), state(machine.state), machine.nics.map((nic) => nic.address).join(", ")]), "Machines of the account")
        : element("p", {}, "There is none."),
      found.next ? element("p", { class: "hint" }, `These are the first ${MOST}.`) : null);
    },
  };
}
