// One farm: its tiers with their elements, and what one may do with it.

import { confirmed, following } from "./acts.js";
import { call, list, newKey } from "./api.js";
import { button, element, field, fill, moment, state, status, table } from "./element.js";
import { equivalent } from "./equivalent.js";
import { priceOf, prices } from "./farms.js";
import { facts, link } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";
import { clearProblems, showProblem } from "./problems.js";
import { progress } from "./progress.js";
import { rolling, underWay } from "./rollouts.js";

export async function farm(page, who, look, id) {
  const title = element("h1", { tabindex: "-1" }, "Farm");
  const about = element("div", {}, status("Loading…"));
  const under = element("div", {});
  const tiers = element("div", {});
  const rollouts = element("div", {});
  const acts = following(page, look);
  const regions = element("div", {});
  const foot = element("div", {});
  fill(page, title, about, under, acts.node, rollouts, tiers, regions, foot);
  const shown = new Map();
  let followed = null;
  let priced = ""; // after which change of it
  let ordered = new Map();
  let stop = () => {};

  function follow(operation, ended) {
    if (!operation || operation === followed) return;
    followed = operation;
    stop();
    stop = progress(under, operation, ended);
    look();
  }

  async function tierList(found) {
    const full = found.spec ? await list("/v1/tiers", { farm: id }) : [];
    await learn(full.flatMap((tier) => [tier.blueprint, tier.image, ...tier.networks]),
      [["/v1/blueprints", {}], ["/v1/images", {}], ["/v1/networks", { farm: id }]]);
    for (const [key, view] of shown) {
      if (full.some((tier) => tier.id === key)) continue;
      view.node.remove();
      shown.delete(key);
    }
    for (const tier of full) {
      if (!shown.has(tier.id)) {
        shown.set(tier.id, tierView(tier, found.name, follow));
        tiers.append(shown.get(tier.id).node);
      }
      shown.get(tier.id).update(tier);
    }
  }

  return {
    close() {
      stop();
      acts.close();
    },
    async look() {
      let found;
      try {
        found = await call("GET", `/v1/farms/${id}`);
      } catch (error) {
        if (error.status !== 404) throw error;
        stop();
        return void fill(page, element("h1", { tabindex: "-1" }, "Farm"), status("There is no such farm any more."),
          element("p", {}, element("a", { href: "#/farms" }, "All farms")));
      }
      if (priced !== found.operation) ordered = await prices({ farm: id }).catch(() => new Map());
      priced = found.operation;
      fill(title, found.name);
      document.title = `${found.name} - Arable`;
      const rows = [["State", state(found.state)], ["Made", moment(found.created_at)]];
      if (ordered.has(id)) rows.push(["Price of an hour", priceOf(ordered.get(id))]);
      if (found.by_hand) rows.push(["Machines by hand", found.by_hand]);
      if (found.told) rows.push(["Waits for", found.told]);
      if (found.home) rows.push(["Part of", `${found.home.farm} in ${found.home.region}`]);
      fill(about, facts(rows));
      fill(regions, found.regions?.length ? table(["Region", "State", "Tiers", "Told"], found.regions.map((each) => [
        each.region, state(each.state), each.tiers.map((tier) => `${tier.name} ${tier.serving}/${tier.count}`).join(", "), each.told]),
      "Parts in other regions") : null);
      await tierList(found);
      fill(rollouts, rolling(await underWay({ farm: id }), acts.small));
      if (found.operation && followed === null) follow(found.operation);
      if (!foot.hasChildNodes() && found.spec) fill(foot, ...feet(found, id, follow));
    },
  };
}

const COUNTS = [["least", "At least"], ["count", "Now"], ["most", "At most"], ["standby", "Ready besides"]];

function tierView(first, farmName, follow) {
  let tier = first;
  const facts = element("div", {});
  const summary = element("div", {});
  const planned = element("div", {});
  const same = equivalent();
  const inputs = Object.fromEntries(COUNTS.map(([name]) =>
    [name, element("input", { type: "number", min: "0", max: "200", inputmode: "numeric", value: first[name], oninput: changed })]));
  const apply = button("Apply", applied, { class: "do", disabled: true });
  const plan = element("button", { type: "submit" }, "Plan");
  const form = element("form", { class: "counts", onsubmit: (event) => { event.preventDefault(); tried(); }, "aria-label": `Grow or shrink ${first.name}` },
    summary, element("div", { class: "row" }, ...COUNTS.map(([name, label]) => field(label, inputs[name], { path: name }))),
    element("p", { class: "acts" }, plan, apply), planned, same.node);

  function ask() {
    const said = {};
    for (const [name] of COUNTS) if (Number(inputs[name].value) !== tier[name] || inputs[name].value === "") said[name] = Number(inputs[name].value);
    return said;
  }

  function told() {
    const said = Object.entries(ask());
    same.show({ method: "PATCH", path: `/v1/tiers/${tier.id}`, body: ask(), expects: tier.generation,
      cli: [["arable", "tier", "update", `${farmName}/${tier.name}`, ...said.flatMap(([name, value]) => [`--${name}`, String(value)])]] });
  }

  function changed() {
    apply.disabled = true;
    fill(planned);
    clearProblems(form, summary);
    told();
  }

  async function send(dry) {
    try {
      for (const [, input] of Object.entries(inputs)) if (!input.reportValidity()) return null;
      const made = await call("PATCH", `/v1/tiers/${tier.id}`,
        { body: ask(), expects: tier.generation, ...(dry ? { query: { dry_run: true } } : { key: newKey() }) });
      clearProblems(form, summary);
      return made;
    } catch (error) {
      showProblem(form, summary, error);
      return null;
    }
  }

  async function tried() {
    const made = await send(true);
    if (!made) return;
    const differ = COUNTS.filter(([name]) => made.tier[name] !== tier[name]);
    fill(planned, element("div", { class: "plan", role: "status" }, element("h3", {}, "Plan"), differ.length
      ? element("ul", {}, ...differ.map(([name, label]) => element("li", {}, `${label.toLowerCase()}: ${tier[name]} to ${made.tier[name]} elements`)))
      : element("p", {}, "Nothing would change.")));
    apply.disabled = !differ.length;
  }

  async function applied() {
    apply.disabled = true;
    const made = await send(false);
    if (!made) return;
    fill(planned);
    tier = made.tier;
    follow(made.operation);
  }

  told();
  const details = may(`/v1/tiers/${tier.id}`) ? element("details", {}, element("summary", {}, "Grow or shrink"), form) : null;
  const heading = element("h2", {}, first.name);
  return {
    node: element("section", { class: "card", "aria-label": `Tier ${first.name}` }, heading, facts, details),
    update(now) {
      const same_ = COUNTS.every(([name]) => Number(inputs[name].value) === tier[name]);
      tier = now;
      if (same_) for (const [name] of COUNTS) inputs[name].value = now[name];
      told();
      fill(facts,
        element("p", {}, `${now.serving} of ${now.count} serve, ${now.least} to ${now.most}${now.standby ? `, ${now.ready} of ${now.standby} ready` : ""}; blueprint ${nameOf(now.blueprint)}/${now.blueprint_version}, `
          + `image ${nameOf(now.image)}/${now.image_version}; on ${now.networks.map(nameOf).join(", ")}${now.leaving ? "; leaving" : ""}`),
        now.told ? element("p", { class: "wrong" }, now.told) : null,
        now.why ? element("p", { class: "hint" }, now.why) : null,
        now.elements.length ? table(["Element", "State", "Since", "Told"], now.elements.map((each) =>
          [each.name, state(each.state), moment(each.since), each.told]), `Elements of ${now.name}`) : element("p", {}, "It has no element."));
    },
  };
}

function feet(found, id, follow) {
  const change = may(`/v1/farms/${id}`) && !found.home;
  return [
    change ? element("p", { class: "acts" }, link(`#/farms/${id}/document`, "Change its document", "button")) : null,
    confirmed(found.name, "Delete the farm", "Its machines and networks are let go, and what is on their disks is gone; volumes that its blueprints keep are left.",
      () => ({ method: "DELETE", path: `/v1/farms/${id}`, cli: [["arable", "farm", "delete", found.name]] }), (operation) => follow(operation.id))];
}
