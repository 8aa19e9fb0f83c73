// One blueprint: its versions, who runs which, and what is being rolled out.

import { confirmed } from "./acts.js";
import { call, list, newKey } from "./api.js";
import { documentForm } from "./blueprints.js";
import { brief, change } from "./document.js";
import { button, element, fill, moment } from "./element.js";
import { facts, link, listed, living, part } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";
import { showProblem } from "./problems.js";
import { planOf } from "./progress.js";
import { rolling, underWay } from "./rollouts.js";

/** A version as a person would write it. */
function written(version) {
  const { number: _number, created_at: _created, image, offering, user_data, disks, check, update, ...rest } = version;
  const said = { image: nameOf(image), offering: nameOf(offering), user_data, ...rest, disks: disks.map((each) => ({ ...each, offering: nameOf(each.offering) })) };
  const { canary, canary_seconds, ...steps } = update;
  said.update = canary && canary !== "0" ? { ...steps, canary, canary_seconds } : steps;
  if (version.ports.length) said.check = check;
  return Object.fromEntries(Object.entries(said).filter(([, value]) => !empty(value)).map(([key, value]) => [key, Array.isArray(value) ? value.map(whole) : value]));
}

const empty = (value) => value === null || value === "" || (Array.isArray(value) && !value.length) || (typeof value === "object" && Object.values(value).every((each) => each === false));

const whole = (each) => (each !== null && typeof each === "object" ? Object.fromEntries(Object.entries(each).filter(([, value]) => value !== null)) : each);

export async function blueprint(page, who, look, id) {
  return living(page, look, {
    title: "Blueprint",
    gone: ["blueprint", "#/blueprints"],
    async read() {
      const [found, releases, open] = await Promise.all([call("GET", `/v1/blueprints/${id}`), list("/v1/releases", { blueprint: id }), underWay({ account: who.account })]);
      const tiers = new Set(releases.map((each) => each.tier));
      const used = found.versions.flatMap((each) => [each.image, each.offering, ...each.disks.map((disk) => disk.offering)]);
      await learn(used, [["/v1/images", {}], ["/v1/offerings", {}], ["/v1/disk-offerings", {}]]);
      return { ...found, releases, open: open.filter((each) => tiers.has(each.tier)) };
    },
    show(found, acts) {
      const rows = [["For", found.public ? "all accounts" : "the account alone"], ["Made", moment(found.created_at)]];
      if (found.home) rows.push(["Made in", `the region ${found.home}`]);
      const shown = (each) => [each.number, `${nameOf(each.image)}, ${nameOf(each.offering)}`, each.ports.map((port) => `${port.port} (${port.protocol})`).join(", "), each.disks.map((disk) => disk.name).join(", "), moment(each.created_at),
        each.user_data ? element("details", {}, element("summary", {}, "User data"), element("pre", { tabindex: "0", "aria-label": `User data of version ${each.number}` }, each.user_data)) : ""];
      const pending = element("div", {});
      return [facts(rows), part("Versions", listed(["Version", "Made of", "Answers at", "Disks", "Made", ""], found.versions.map(shown), "Versions, the newest first; none ever changes", "")),
        part("Who runs what", listed(["Tier", "Farm", "Is to be", "Runs", "Follows", ""], found.releases.map((each) => [each.name, link(`#/farms/${each.farm}`, each.farm_name),
          `${each.blueprint_version} on ${each.image_name}/${each.image_version}`, each.runs.map((one) => `${one.elements} of ${one.blueprint_version} on ${one.image_version}`).join(", "),
          each.automatic ? "at once" : { newest: "when its document is applied", asked: "when its document is applied", pinned: "what its document says" }[each.follows] ?? each.follows,
          each.behind && !each.rollout && may(`/v1/farms/${each.farm}`) ? rollOut(each, pending, acts) : each.behind ? "behind" : "newest"]), "Tiers that are made of it", "No tier is made of it. A farm's tiers name it: provision one."),
        pending, rolling(found.open, acts.small, true))];
    },
    offers: (found) => [found.generation, found.releases.length],
    forms(found, acts) {
      if (found.account !== who.account || found.home || !may("/v1/blueprints")) return [];
      const next = (found.versions[0]?.number ?? 0) + 1;
      return [documentForm(`Make version ${next}`, found.versions.length ? written(found.versions[0]) : {},
        () => ({ path: `/v1/blueprints/${id}/versions`, expects: found.generation, cli: [["arable", "farm", "apply", "-f", `${found.name}.yaml`]] }), acts.follow),
      confirmed(found.name, "Delete the blueprint", "No tier may be made of it any more.",
        () => ({ method: "DELETE", path: `/v1/blueprints/${id}`, cli: [["arable", "blueprint", "delete", found.name]] }), acts.follow)];
    },
  });
}

/** A button that has a tier's document say the newest versions: planned first, then applied. */
function rollOut(release, place, acts) {
  const newest = (said, number) => (said === "newest" ? said : number);
  return button("Roll out the newest", async () => {
    const summary = element("div", {});
    try {
      const farm = await call("GET", `/v1/farms/${release.farm}`);
      const document = change(brief(farm.spec, farm.name));
      document.tiers = document.tiers.map((tier) => (tier.name === release.name
        ? { ...tier, version: newest(tier.version, release.newest_blueprint_version), image_version: newest(tier.image_version, release.newest_image_version) } : tier));
      const path = `/v1/farms/${farm.id}`;
      const plan = await call("PATCH", path, { body: document, expects: farm.generation, query: { dry_run: true } });
      const key = newKey();
      const go = button("Apply", async () => {
        go.disabled = true;
        try {
          acts.follow(await call("PATCH", path, { body: document, expects: farm.generation, key }));
          fill(place);
        } catch (error) {
          showProblem(place, summary, error);
        }
      }, { class: "do" });
      fill(place, summary, planOf(plan.steps), element("p", { class: "acts" }, go, button("Leave it", () => fill(place))));
      go.focus();
    } catch (error) {
      fill(place, summary);
      showProblem(place, summary, error);
    }
  }, { class: "small", "aria-label": `Roll out the newest to ${release.farm_name}/${release.name}` });
}
