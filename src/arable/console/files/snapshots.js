// Snapshots: what was on a volume at one moment; to go back to, or to make a volume or an image of.

import { list } from "./api.js";
import { element, moment, state } from "./element.js";
import { byName, choice, form, named } from "./forms.js";
import { link, listed, living } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";

export async function snapshots(page, who, look) {
  const ready = (found) => found.snapshots.filter((each) => each.state === "available");
  return living(page, look, {
    title: "Snapshots",
    async read() {
      const [found, volumes, machines] = await Promise.all([list("/v1/snapshots", { account: who.account }), list("/v1/volumes", { account: who.account }), list("/v1/machines", { account: who.account })]);
      await learn(found.map((each) => each.volume), [["/v1/volumes", { account: who.account }]]);
      return { snapshots: found, volumes: volumes.map(({ id, name, machine, position }) => ({ id, name, machine, position })), machines: machines.map(({ id, name }) => ({ id, name })) };
    },
    show: (found, acts) => [listed(["Name", "Of the volume", "MiB", "State", "Taken", ""], found.snapshots.map((each) => [each.name, nameOf(each.volume), each.mib,
      element("span", {}, state(each.state), each.told ? ` ${each.told}` : ""), moment(each.created_at), each.state === "available" ? element("span", { class: "acts" },
        acts.sure("Set back", `Set ${nameOf(each.volume)} back to ${each.name}`, "POST", `/v1/snapshots/${each.id}/restore`),
        acts.sure("Delete", `Delete ${each.name}`, "DELETE", `/v1/snapshots/${each.id}`)) : null]), "Snapshots of the account",
    "There is none. One is taken of a volume as it is, also while its machine runs."),
    found.snapshots.length ? element("p", { class: "hint" }, "Set back, a volume has again what it had then, and what came since is gone. Its machine has to be stopped.") : null],
    offers: (found) => [found.volumes, ready(found).map((each) => each.id)],
    forms: (found, acts) => formsOf(found, ready(found), acts.follow),
  });
}

async function formsOf({ volumes, machines }, ready, done) {
  if (!may("/v1/snapshots")) return [];
  const made = [];
  const of = (each) => machines.find((one) => one.id === each.machine)?.name;
  const label = (each) => (each.machine ? `${each.name} (${each.position ? `disk ${each.position}` : "root"} of ${of(each) ?? "a machine"})` : each.name);
  if (volumes.length) {
    made.push(form("Take a snapshot", { path: "/v1/snapshots", cli: ["arable", "snapshot", "create"], done,
      fields: [named(), choice("Volume", "volume", volumes.map((each) => [each.id, label(each), each.id]), { hint: "A machine must have had it once." })] }));
  } else made.push(element("p", { class: "hint" }, "There is no volume of which one could be taken. ", link("#/deploy", "Deploy a machine"), " first."));
  if (ready.length) {
    const offerings = (await list("/v1/disk-offerings")).filter((each) => each.enabled);
    if (offerings.length) {
      made.push(form("Make a volume of a snapshot", { path: "/v1/volumes", cli: ["arable", "volume", "create"], done,
        fields: [named(), choice("Snapshot", "snapshot", byName(ready)), choice("Kind", "offering", offerings.map((each) => [each.name, each.name]))] }));
    }
    made.push(form("Make an image of a snapshot", { path: "/v1/images", cli: ["arable", "image", "create"], done, fields: [named(), choice("Snapshot", "snapshot", byName(ready))] }));
  }
  return made;
}
