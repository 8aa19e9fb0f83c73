// What keeps machines apart or together, and what farms share: groups, and storage zones.

import { list } from "./api.js";
import { choice, form, named, tick, zoneChoice } from "./forms.js";
import { listed, living, part } from "./lists.js";
import { learn, nameOf } from "./names.js";

const RULES = [["apart", "apart: on different hosts"], ["together", "together: on one host"]];

/** What a group has its machines do. */
export const ruleOf = (each) => `${each.rule}${each.strict ? "" : ", where that can be"}`;

export async function groups(page, who, look) {
  return living(page, look, {
    title: "Groups",
    async read() {
      const [found, shared] = await Promise.all([list("/v1/groups", { account: who.account }), list("/v1/storage-zones", { account: who.account })]);
      await learn(shared.map((each) => each.zone), [["/v1/zones", {}]]);
      return { groups: found, shared };
    },
    show: ({ groups: found, shared }, acts) => [
      part("Groups of machines", listed(["Name", "Its machines are", "Machines", ""], found.map((each) => [each.name, ruleOf(each), each.members,
        each.members ? null : acts.sure("Delete", `Delete the group ${each.name}`, "DELETE", `/v1/groups/${each.id}`)]), "Groups of the account's machines", "There is none. A machine joins one when it is deployed, so that one host less does not stop all of a kind.")),
      part("Storage zones", listed(["Name", "Zone", "Farms", "Machines", "Volumes", ""], shared.map((each) => [each.name, nameOf(each.zone), each.farms, each.machines, each.volumes,
        each.farms || each.volumes ? null : acts.sure("Delete", `Delete the storage zone ${each.name}`, "DELETE", `/v1/storage-zones/${each.id}`)]), "Storage zones that farms share", "There is none: each farm has its own. Farms that name the same one may have each other's volumes."))],
    async forms(_found, acts) {
      return [form("Make a group", { path: "/v1/groups", cli: ["arable", "group", "create"], done: acts.follow, fields: [named(), choice("Its machines are", "rule", RULES), tick("Strict: rather none than elsewhere", "strict", { value: true, always: true })] }),
        form("Make a storage zone", { path: "/v1/storage-zones", cli: ["arable", "storage-zone", "create"], done: acts.follow, fields: [named("Name of the storage zone"), zoneChoice(await list("/v1/zones"))] })];
    },
  });
}
