// The account's volumes: disks that are there by themselves, or with a machine.

import { list } from "./api.js";
import { element, state } from "./element.js";
import { byName, choice, count, form, named, words, zoneChoice } from "./forms.js";
import { link, listed, living } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";

export async function volumes(page, who, look) {
  const lying = (found) => found.volumes.filter((each) => each.stays && !each.machine);
  return living(page, look, {
    title: "Volumes",
    async read() {
      const [found, machines] = await Promise.all([list("/v1/volumes", { account: who.account }), list("/v1/machines", { account: who.account })]);
      await learn(found.map((each) => each.machine).filter(Boolean), [["/v1/machines", { account: who.account }]]);
      return { volumes: found, machines: machines.map(({ id, name }) => ({ id, name })) };
    },
    show: (found, acts) => [listed(["Name", "MiB", "State", "Machine", "When that goes", ""], found.volumes.map((each) => [each.name, each.mib, state(each.state),
      each.machine ? link(`#/machines/${each.machine}`, nameOf(each.machine)) : "", each.stays ? "stays" : "goes, too",
      each.stays && each.machine && each.position ? acts.small("Detach", `Detach ${each.name}`, "POST", `/v1/volumes/${each.id}/detach`, { force: false }) : null]),
    "Volumes of the account", "There is none.")],
    offers: (found) => [lying(found).map((each) => each.id), found.machines],
    forms: (found, acts) => formsOf(lying(found), found.machines, acts.follow),
  });
}

async function formsOf(lying, machines, done) {
  if (!may("/v1/volumes")) return [];
  const [offerings, zones] = await Promise.all([list("/v1/disk-offerings"), list("/v1/zones")]);
  const made = [];
  const open = offerings.filter((each) => each.enabled);
  if (!open.length) made.push(element("p", { class: "hint" }, "There is no disk offering yet, of which a volume could be: an operator makes them."));
  else made.push(form("Make a volume", { path: "/v1/volumes", cli: ["arable", "volume", "create"], done, fields: [named(), choice("Kind", "offering", open.map((each) => [each.name, each.name])),
    count("MiB", "mib", { min: "1", hint: "Where the kind leaves it to you." }), zoneChoice(zones)] }));
  if (lying.length && machines.length) {
    made.push(form("Attach a volume to a machine", { path: (said) => `/v1/volumes/${said.volume}/attach`, cli: ["arable", "volume", "attach"], done,
      fields: [choice("Volume", "volume", byName(lying), { sent: false, argument: true }), choice("Machine", "machine", byName(machines))] }));
  }
  if (lying.length) {
    made.push(form("Delete a volume", { method: "DELETE", path: (said) => `/v1/volumes/${said.volume}`, cli: ["arable", "volume", "delete"], done, danger: true, about: "What is on it is gone.",
      when: (said) => lying.some((each) => each.id === said.volume && each.name === said.again),
      fields: [choice("Volume", "volume", [["", "choose"], ...byName(lying)], { required: true, sent: false, argument: true }),
        words("Type its name to confirm", "again", { sent: false, words: () => [] })] }));
  }
  return made;
}
