// New machines: a form for what `arable machine deploy` takes, tried before it is done.

import { call, list, newKey } from "./api.js";
import { button, element, field, fill, select, status } from "./element.js";
import { equivalent } from "./equivalent.js";
import { ruleOf } from "./groups.js";
import { clearProblems, showProblem } from "./problems.js";
import { progress } from "./progress.js";

export async function deploy(page, who) {
  const [offerings, images, networks, zones, keys, groups] = await Promise.all([list("/v1/offerings"), list("/v1/images"),
    list("/v1/networks", { account: who.account }), list("/v1/zones"), list("/v1/ssh-keys", { account: who.account }), list("/v1/groups", { account: who.account })]);
  const choose = (found, any, text = (each) => each.name) => select([...(any ? [["", any]] : []), ...found.map((each) => [each.name, text(each)])],
    any ? "" : found[0]?.name ?? "", changed);
  const inputs = {
    name: element("input", { required: true, maxlength: "63", autocomplete: "off", spellcheck: "false", oninput: changed }),
    count: element("input", { type: "number", min: "1", max: "1000", value: "1", required: true, inputmode: "numeric", oninput: changed }),
    offering: choose(offerings.filter((each) => each.enabled)),
    image: choose(images),
    network: choose(networks, "the default network"),
    zone: choose(zones, zones.length > 1 ? "choose" : "the only one"),
    group: choose(groups, "none", (each) => `${each.name}: ${ruleOf(each)}`),
    user_data: element("textarea", { rows: "5", spellcheck: "false", oninput: changed }),
  };
  const ticks = keys.map((key) => [key, element("input", { type: "checkbox", onchange: changed })]);
  const summary = element("div", {});
  const planned = element("div", {});
  const under = element("div", {});
  const same = equivalent();
  const go = button("Deploy", applied, { class: "do", disabled: true });
  let key = newKey();

  const tries = element("button", { type: "submit" }, "Plan");
  const form = element("form", { "aria-label": "New machines", onsubmit: (event) => { event.preventDefault(); tried(); } }, summary,
    element("div", { class: "row" }, field("Name", inputs.name, { path: "name" }),
      field("How many", inputs.count, { path: "count", hint: "Several are called name-1, name-2 and so on." })),
    element("div", { class: "row" }, field("Size", inputs.offering, { path: "offering" }), field("Image", inputs.image, { path: "image" })),
    element("div", { class: "row" }, field("Network", inputs.network, { path: "networks" }), field("Zone", inputs.zone, { path: "zone" }),
      groups.length ? field("Group", inputs.group, { path: "group", hint: "Keeps machines apart, or together." }) : null),
    ticks.length ? element("fieldset", {}, element("legend", {}, "Who may log in"), ...ticks.map(([each, tick]) => field(each.name, tick, { path: `ssh_keys.${each.name}` }))) : null,
    field("User data", inputs.user_data, { path: "user_data", hint: "For cloud-init: #cloud-config, or a script that begins with #!" }),
    element("p", { class: "acts" }, tries, go), planned, same.node);
  fill(page, element("h1", { tabindex: "-1" }, "Deploy machines"), form, under);

  function ask() {
    const said = { name: inputs.name.value, count: Number(inputs.count.value), offering: inputs.offering.value, image: inputs.image.value };
    if (inputs.network.value) said.networks = [{ network: inputs.network.value }];
    if (inputs.zone.value) said.zone = inputs.zone.value;
    if (inputs.group.value) said.group = inputs.group.value;
    const chosen = ticks.filter(([, tick]) => tick.checked).map(([each]) => each.name);
    if (chosen.length) said.ssh_keys = chosen;
    if (inputs.user_data.value) said.user_data = inputs.user_data.value;
    return said;
  }

  function changed() {
    go.disabled = true;
    key = newKey();
    fill(planned);
    clearProblems(form, summary);
    const said = ask();
    same.show({ method: "POST", path: "/v1/machines", body: said, cli: [["arable", "machine", "deploy", said.name, "--offering", said.offering,
      "--image", said.image, ...(said.count === 1 ? [] : ["--count", String(said.count)]), ...(said.networks ? ["--network", said.networks[0].network] : []),
      ...(said.zone ? ["--zone", said.zone] : []), ...(said.group ? ["--group", said.group] : []), ...(said.ssh_keys || []).flatMap((each) => ["--ssh-key", each]),
      ...(said.user_data ? ["--user-data", said.user_data] : [])]] });
  }

  async function send(dry) {
    try {
      const made = await call("POST", "/v1/machines", { body: ask(), ...(dry ? { query: { dry_run: true } } : { key }) });
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
    const names = made.machines.map((each) => each.name);
    const shown = names.length > 8 ? [...names.slice(0, 7), "…", names[names.length - 1]] : names;
    fill(planned, status(`To be made: ${shown.join(", ")}.`));
    go.disabled = false;
    go.focus();
  }

  async function applied() {
    go.disabled = true;
    const made = await send(false);
    if (!made) return;
    fill(planned);
    progress(under, made.operation);
    const [first] = made.machines;
    under.append(element("p", {}, made.machines.length === 1
      ? element("a", { href: `#/machines/${first.id}` }, `To the machine ${first.name}`) : element("a", { href: "#/machines" }, "To the machines")));
  }

  changed();
  return { look() {} };
}
