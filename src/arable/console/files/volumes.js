// The account's volumes: disks that are there by themselves, or with a machine.

import { asked, following } from "./acts.js";
import { list } from "./api.js";
import { element, fill, select, state, status, table } from "./element.js";
import { learn, nameOf } from "./names.js";

export async function volumes(page, who, look) {
  const place = element("div", {}, status("Loading…"));
  const acts = following(page, look);
  const forms = element("div", {});
  fill(page, element("h1", { tabindex: "-1" }, "Volumes"), acts.node, place, forms);
  const may = who.permissions.includes("volume:write");
  let offered = "";

  return {
    close: acts.close,
    async look() {
      const [found, machines] = await Promise.all([list("/v1/volumes", { account: who.account }), list("/v1/machines", { account: who.account })]);
      await learn(found.map((each) => each.machine).filter(Boolean), [["/v1/machines", { account: who.account }]]);
      fill(place, found.length ? table(["Name", "MiB", "State", "Machine", "When that goes", ""], found.map((each) => [each.name, each.mib, state(each.state),
        each.machine ? element("a", { href: `#/machines/${each.machine}` }, nameOf(each.machine)) : "", each.stays ? "stays" : "goes, too",
        may && each.stays && each.machine && each.position ? acts.small("Detach", `Detach ${each.name}`, "POST", `/v1/volumes/${each.id}/detach`, { force: false }) : null]), "Volumes of the account")
        : element("p", {}, "There is none."));
      const lying = found.filter((each) => each.stays && !each.machine);
      const key = JSON.stringify([lying.map((each) => each.id), machines.map((each) => each.id)]);
      if (may && offered !== key && !forms.contains(document.activeElement)) {
        offered = key;
        fill(forms, ...(await formsOf(lying, machines, acts.follow)));
      }
    },
  };
}

async function formsOf(lying, machines, done) {
  const [offerings, zones] = await Promise.all([list("/v1/disk-offerings"), list("/v1/zones")]);
  const made = [];
  const open = offerings.filter((each) => each.enabled);
  if (!open.length) made.push(element("p", { class: "hint" }, "There is no disk offering yet, of which a volume could be: an operator makes them."));
  if (open.length) {
    const name = element("input", { required: true, maxlength: "63", spellcheck: "false", autocomplete: "off" });
    const kind = select(open.map((each) => [each.name, each.name]), open[0].name);
    const size = element("input", { type: "number", min: "1", inputmode: "numeric" });
    const zone = select([["", zones.length > 1 ? "choose" : "the only one"], ...zones.map((each) => [each.name, each.name])], "");
    made.push(asked("Make a volume", [["Name", name, "name"], ["Kind", kind, "offering"], ["MiB", size, "mib", "Where the kind leaves it to you."], ["Zone", zone, "zone"]],
      () => ({ path: "/v1/volumes", body: { name: name.value, offering: kind.value, ...(size.value ? { mib: Number(size.value) } : {}), ...(zone.value ? { zone: zone.value } : {}) },
        cli: [["arable", "volume", "create", name.value, "--offering", kind.value, ...(size.value ? ["--mib", size.value] : []), ...(zone.value ? ["--zone", zone.value] : [])]] }), done));
  }
  if (lying.length && machines.length) {
    const volume = select(lying.map((each) => [each.id, each.name]), lying[0].id);
    const machine = select(machines.map((each) => [each.id, each.name]), machines[0].id);
    const named = (found, id) => found.find((each) => each.id === id).name;
    made.push(asked("Attach a volume to a machine", [["Volume", volume, "volume"], ["Machine", machine, "machine"]],
      () => ({ path: `/v1/volumes/${volume.value}/attach`, body: { machine: machine.value },
        cli: [["arable", "volume", "attach", named(lying, volume.value), "--machine", named(machines, machine.value)]] }), done));
  }
  if (lying.length) {
    const volume = select([["", "choose"], ...lying.map((each) => [each.id, each.name])], "", null, { required: true });
    const named = () => lying.find((each) => each.id === volume.value)?.name ?? "";
    made.push(asked("Delete a volume", [["Volume", volume, "volume", "What is on it is gone."]],
      () => ({ method: "DELETE", path: `/v1/volumes/${volume.value}`, cli: [["arable", "volume", "delete", named()]] }), done));
  }
  return made;
}
