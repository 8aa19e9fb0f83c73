// Blueprints: what the elements of tiers are made of.

import { call, list, newKey } from "./api.js";
import { element, field, moment } from "./element.js";
import { equivalent } from "./equivalent.js";
import { link, listed, living } from "./lists.js";
import { may } from "./may.js";
import { clearProblems, showProblem } from "./problems.js";
import { read, Unreadable, write } from "./yaml.js";

/** A version as a document: YAML, and its user-data beside it as it is. `ask(document)` says where it goes, `done` gets what was made. */
export function documentForm(label, document, ask, done, name = null) {
  const { user_data = "", ...rest } = document;
  const summary = element("div", {});
  const same = equivalent();
  const text = element("textarea", { rows: "12", spellcheck: "false", autocomplete: "off" });
  const data = element("textarea", { rows: "8", spellcheck: "false", autocomplete: "off" });
  text.defaultValue = write(rest);
  data.defaultValue = user_data;
  const go = element("button", { type: "submit", class: "do" }, label);
  const form = element("form", { "aria-label": label, oninput: changed, async onsubmit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      const { method = "POST", path, expects } = ask(name?.value);
      const made = await call(method, path, { body: body(), expects, key: newKey() });
      clearProblems(form, summary);
      form.reset();
      done(made);
    } catch (error) {
      showProblem(form, summary, error);
    } finally {
      go.disabled = false;
    }
  } }, summary, name ? field("Name", name, { path: "name" }) : null,
  field("Document, as YAML", text, { path: "text", hint: "image, offering, ports, check, disks, reads, keeps, update, control, ready_seconds, drain_seconds. The command line's file says kind: blueprint, "
    + "the name and the user_data besides." }),
  field("User data", data, { path: "user_data", hint: "Run or read at first boot. Words in double braces, such as {{tier.name}}, are filled in for each element." }),
  element("p", { class: "acts" }, go), same.node);

  function body() {
    const whole = read(text.value);
    if (whole === null || typeof whole !== "object" || Array.isArray(whole)) throw new Unreadable("a document has fields: image, offering, ports", 1);
    const { kind = "blueprint", ...said } = whole;
    if (kind !== "blueprint") throw new Unreadable(`this is a ${String(kind)}; here is a place for a blueprint`, 1);
    return { ...said, ...(name ? { name: name.value } : {}), ...(data.value ? { user_data: data.value } : {}) };
  }

  function changed() {
    let said = {};
    try {
      said = body();
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
    }
    same.show({ method: "POST", ...ask(name?.value), body: said });
  }

  changed();
  return element("details", {}, element("summary", {}, label), form);
}

export async function blueprints(page, who, look) {
  return living(page, look, {
    title: "Blueprints",
    read: () => list("/v1/blueprints"),
    show: (found) => [listed(["Name", "Whose", "Newest version", "Made", "Made in"], found.map((each) => [link(`#/blueprints/${each.id}`, each.name),
      each.account === who.account ? (each.public ? "the account's, for all" : "the account's") : "for all", each.versions[0]?.number ?? "none", moment(each.created_at), each.home ? `the region ${each.home}` : "this region"]),
    "Blueprints that tiers can be made of", `There is none.${may("/v1/blueprints") ? " Make one: it says which image and size a tier's machines have, and what they do at first boot." : ""}`)],
    async forms() {
      if (!may("/v1/blueprints")) return [];
      const [images, offerings] = await Promise.all([list("/v1/images"), list("/v1/offerings")]);
      const name = element("input", { required: true, maxlength: "63", autocomplete: "off", spellcheck: "false" });
      const fresh = { image: images.find((each) => each.versions.length)?.name ?? "IMAGE", offering: offerings.find((each) => each.enabled)?.name ?? "OFFERING", ports: [{ port: 80, protocol: "http" }],
        check: { kind: "http", path: "/" } };
      return [documentForm("Make a blueprint", fresh, (called) => ({ path: "/v1/blueprints", cli: [["arable", "farm", "apply", "-f", `${called || "NAME"}.yaml`]] }),
        (made) => location.assign(`#/blueprints/${made.id}`), name)];
    },
  });
}
