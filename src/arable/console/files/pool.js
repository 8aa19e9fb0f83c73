// For operators: one storage pool, what of it could be brought back from elsewhere, and how much of it may be promised.

import { confirmed } from "./acts.js";
import { call } from "./api.js";
import { share } from "./data_centre.js";
import { element, field, moment } from "./element.js";
import { count, form } from "./forms.js";
import { facts, link, listed, living, part } from "./lists.js";
import { learn, nameOf } from "./names.js";
import { filled, KINDS } from "./pools.js";

export async function pool(page, _who, look, id) {
  return living(page, look, {
    title: "Storage pool",
    gone: ["pool", "#/pools"],
    async read() {
      const [found, plan] = await Promise.all([call("GET", `/v1/pools/${id}`), call("GET", `/v1/pools/${id}/fail-over`)]);
      await learn([found.zone, ...(found.host ? [found.host] : [])], [["/v1/zones", {}], ["/v1/hosts", {}]]);
      await learn(plan.stays.flatMap((each) => [...(each.machine ? [each.machine] : []), ...each.volumes]), [["/v1/machines", {}], ["/v1/volumes", {}]]);
      return { ...found, plan };
    },
    show: (found) => [facts([["Kind", KINDS[found.kind] ?? found.kind], ["Zone", link(`#/zones/${found.zone}`, nameOf(found.zone))], ["Host", found.host ? link(`#/hosts/${found.host}`, nameOf(found.host)) : "none"],
      ...(found.address ? [["Address", found.address]] : []), ["State", filled(found)], ["In use", share(found.used_mib, found.total_mib, "MiB")], ["Of that images", `${found.image_mib} MiB, ${found.images} files`],
      ["Promised to disks", share(found.allocated_mib, found.reservable_mib, "MiB")], ["May be promised", `${found.percent}% of what it has`], ["Since", moment(found.created_at)]]), ...replicas(found)],
    offers: (found) => [found.generation, found.percent, found.plan.machines, found.plan.volumes, found.plan.waits],
    forms: (found, acts) => formsOf(found, acts.follow),
  });
}

/** What would become of its disks without their host. */
function replicas({ plan, kind }) {
  const { stays, left } = plan;
  if (kind === "local") return [part("If its host is lost", element("p", {}, "What is on it has no replica elsewhere: it is back when the host is."))];
  return [part("If its host is lost", facts([["Brought back elsewhere", plan.volumes ? `${plan.machines} machines, ${plan.volumes} volumes` : "nothing: none of its volumes has a replica"], ...(plan.volumes ? [["By itself", plan.waits ? `no: ${plan.waits}` : "yes"]] : []),
    ...(plan.oldest_at ? [["Written since is lost", moment(plan.oldest_at)]] : []), ["Not brought back", left ? `${left} machines and single volumes` : "nothing"]]),
  stays.length ? listed(["Machine", "Volumes", "Why"], stays.map((each) => [each.machine ? link(`#/machines/${each.machine}`, nameOf(each.machine)) : "", each.volumes.map(nameOf).join(", "), each.why]), "What could not be brought back, the first hundred", "") : null)];
}

function formsOf(found, done) {
  const path = `/v1/pools/${found.id}`;
  const sure = element("input", { type: "checkbox" });
  return [
    form("Change how much may be promised", { method: "PATCH", path, expects: found.generation, cli: ["arable", "pool", "update", found.id], done, changes: true, about: "It is its host's over-commit of disk.",
      fields: [count("Percent of what it has", "percent", { value: found.percent, min: "10", max: "10000", required: true })] }),
    found.plan.volumes ? confirmed(found.name, "Fail over", "Machines and volumes with a replica are brought back from it. What was written since its last whole point is lost.",
      () => ({ path: `${path}/fail-over`, body: { without_power: sure.checked }, cli: [["arable", "pool", "fail-over", ...(sure.checked ? ["--without-power"] : []), found.id]] }), done,
      [field("I have made sure that its host has no power, and gets none before this is done", sure, { path: "without_power" })]) : null];
}
