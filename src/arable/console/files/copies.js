// Where an image's versions are in the grid, where they should be, and which are kept here.

import { call, list } from "./api.js";
import { element, state } from "./element.js";
import { choice, count, form, several, tick } from "./forms.js";
import { size } from "./images.js";
import { listed, part } from "./lists.js";

/** What the grid says of it; null where there is no other region. */
export async function copiesOf(found) {
  const regions = (await list("/v1/regions").catch(() => [])).map(({ name, own, labels }) => ({ name, own, labels }));
  if (regions.length < 2) return null;
  const [where, policy] = await Promise.all([call("GET", "/v1/image-catalogue", { query: { image: found.name } }).catch(() => null), call("GET", `/v1/images/${found.id}/policy`).catch(() => null)]);
  const versions = (where?.versions ?? []).map((each) => ({ ...each, holders: each.holders.map(({ region, state: now }) => ({ region, state: now })) }));
  return { regions, versions, policy };
}

export function showCopies({ versions, policy }) {
  return [
    part("In which regions it is", listed(["Version", "Size", "Here", "Other regions"], versions.map((each) => [each.number, size(each.bytes), each.here ? "yes" : each.told || "no",
      each.holders.length ? each.holders.map((one) => `${one.region}${one.state === "reached" ? "" : ` (${one.state})`}`).join(", ") : "none"]), "Versions of this name in the grid's catalogue", "The grid's catalogue has none of its name yet.")),
    policy ? part("In which it should be", element("p", {}, `Its ${policy.versions === 1 ? "newest version" : `${policy.versions} newest versions`}, in ${[...policy.at, ...policy.labels.map((each) => `all that are called ${each}`)].join(", ") || "no region"}; versions that come later ${policy.follow ? "follow" : "do not"}.`),
      listed(["Region", "State", "There", "Not yet"], policy.places.map((each) => [each.region, state(each.state), each.here.join(", ") || "none", each.missing.join(", ") || "none"]), "How far that is", "")) : null];
}

export function copyForms(found, { regions, policy }, acts) {
  const path = `/v1/images/${found.id}`;
  const others = regions.filter((each) => !each.own).map((each) => each.name);
  const labels = [...new Set(regions.flatMap((each) => each.labels))];
  return [
    form("Have it in other regions", { method: "PUT", path: `${path}/policy`, cli: ["arable", "image", "set-policy", found.name], done: acts.follow, about: "Instead of what was said before.", when: (said) => Boolean(said.at || said.labels),
      fields: [several("Regions", "at", { value: (policy?.at ?? []).join(", "), flag: "--at", hint: `There are ${others.join(", ")}.` }), several("Or all that are called", "labels", { value: (policy?.labels ?? []).join(", "), flag: "--label", hint: labels.length ? `Labels are ${labels.join(", ")}.` : "No region has a label yet." }),
        count("Newest versions", "versions", { value: policy?.versions ?? 1, min: "1", max: "100" }), tick("Versions that come later follow", "follow", { value: policy?.follow ?? true, always: true })] }),
    policy ? form("Have it there no more", { method: "DELETE", path: `${path}/policy`, cli: ["arable", "image", "drop-policy", found.name], done: acts.follow, about: "What is there stays, until it is let go for want of room." }) : null,
    form("Bring a version here", { path: "/v1/image-catalogue/fetch", cli: ["arable", "image", "fetch", found.name], fixed: { image: found.name }, done: acts.follow, fields: [count("Version", "version", { min: "1", placeholder: "the newest" })] }),
    found.versions.length ? form("Keep a version here, or let it go", { path: (said) => `${path}/${said.how ?? "pin"}`, cli: (said) => ["arable", "image", said.how ?? "pin", found.name], done: acts.follow, about: "A copy from elsewhere is let go when nobody uses it and room is wanted, unless it is kept.",
      fields: [choice("Which", "version", found.versions.map((each) => [String(each.number), `${each.number}${each.pinned ? ", kept" : ""}`])), choice("Do", "how", [["pin", "keep it"], ["unpin", "let it go when nobody uses it"]], { sent: false, words: () => [] })],
      shape: (body) => ({ version: Number(body.version) }) }) : null];
}
