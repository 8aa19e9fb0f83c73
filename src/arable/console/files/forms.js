// Forms, described: what is typed is what is sent and, by the same names, what the command line takes.

import { folded } from "./acts.js";
import { element, field, fill, select } from "./element.js";

const flagOf = (name) => `--${name.replaceAll(/[._]/g, "-")}`;

/** What all inputs are: `path` is what the API calls it, `read()` what was said (undefined: nothing), `words(value)` the same for the command line.
 * `first` is what was said before anybody typed, `none` what a change says where nothing is said any more. */
function input(label, path, node, read, { hint = "", flag = flagOf(path), argument = false, sent = true, words, veil, at, none = "" } = {}) {
  const spoken = words ?? ((value) => (argument ? [String(value)] : flag ? [flag, value === null ? "none" : String(value)] : []));
  return { path, read, words: spoken, argument, sent, veil, none, first: read(), node: field(label, node, { path: at ?? path, hint }) };
}

/** A line of text. `argument`: the command line takes it without an option. */
export function words(label, path, { required = false, value = "", placeholder = "", most = 253, ...but } = {}) {
  const node = element("input", { required, value, placeholder, maxlength: String(most), autocomplete: "off", spellcheck: "false" });
  return input(label, path, node, () => node.value || undefined, but);
}

/** What a thing is called. */
export const named = (label = "Name", but = {}) => words(label, "name", { required: true, most: 63, argument: true, ...but });

/** A secret: neither the command line nor the call that is shown has it. */
export function secret(label, path, { required = false, autocomplete = "new-password", ...but } = {}) {
  const node = element("input", { type: "password", required, autocomplete });
  return input(label, path, node, () => node.value || undefined, { words: () => [], veil: "…", ...but });
}

/** A whole number. */
export function count(label, path, { required = false, value = "", min = "0", max, placeholder = "", ...but } = {}) {
  const node = element("input", { type: "number", inputmode: "numeric", required, value: value ?? "", min, max, placeholder });
  return input(label, path, node, () => (node.value === "" ? undefined : Number(node.value)), { none: 0, ...but });
}

/** One of `options`: [value, label, word for the command line]. An empty value says nothing. */
export function choice(label, path, options, { value = options[0]?.[0] ?? "", required = false, ...but } = {}) {
  const node = select(options, value, null, { required });
  const word = (chosen) => options.find(([each]) => each === chosen)?.[2] ?? chosen;
  const flag = but.flag ?? flagOf(path);
  return input(label, path, node, () => node.value || undefined,
    { words: (chosen) => (but.argument ? [word(chosen)] : flag ? [flag, word(chosen)] : []), ...but });
}

/** Yes or no. `always`: no is said, too, by `--no-…`. */
export function tick(label, path, { value = false, always = false, ...but } = {}) {
  const node = element("input", { type: "checkbox", checked: value });
  return input(label, path, node, () => node.checked || (always ? false : undefined),
    { words: (said) => [said ? flagOf(path) : `--no-${flagOf(path).slice(2)}`], ...but });
}

/** Several, with commas or spaces between them. */
export function several(label, path, { required = false, value = "", placeholder = "", flag, ...but } = {}) {
  const node = element("input", { required, value, placeholder, autocomplete: "off", spellcheck: "false" });
  const read = () => {
    const found = node.value.split(/[\s,]+/).filter(Boolean);
    return found.length ? found : undefined;
  };
  return input(label, path, node, read, { words: (each) => (each.length ? each : [""]).flatMap((one) => [flag ?? flagOf(path).replace(/s$/, ""), one]), ...but });
}

/** Several lines. */
export function text(label, path, { rows = "4", value = "", required = false, ...but } = {}) {
  const node = element("textarea", { rows, required, spellcheck: "false", autocomplete: "off" });
  node.defaultValue = value;
  return input(label, path, node, () => node.value || undefined, but);
}

/** A text in PEM, pasted or of a file. It is not shown in the call beneath, and on the command line it is a file's. A `veiled` one is a key: it is not seen either. */
export function pem(label, path, { required = false, veiled = false, most = 65536, ...but } = {}) {
  const node = element("textarea", { rows: "4", required, maxlength: String(most), spellcheck: "false", autocomplete: "off", class: veiled ? "veiled" : null, placeholder: `-----BEGIN ${veiled ? "PRIVATE KEY" : "CERTIFICATE"}-----` });
  const file = element("input", { type: "file", accept: ".pem,.crt,.cer,.key", "aria-label": `${label}, of a file`, async onchange() {
    const [chosen] = file.files;
    if (!chosen) return;
    const small = chosen.size <= most;
    node.value = small ? await chosen.text() : "";
    file.value = "";
    fill(made.node.querySelector(".wrong"), small ? null : `${chosen.name} is too large for that`);
    node.dispatchEvent(new Event("input", { bubbles: true }));
  } });
  const flag = flagOf(path);
  const made = input(label, path, node, () => node.value || undefined, { veil: "…", words: () => [flag, `@${flag.slice(2)}.pem`], ...but });
  node.after(file);
  return made;
}

/** Of many, those that are ticked: [[value, label], …], at first those of `value`. */
export function ticks(legend, path, options, { flag = flagOf(path).replace(/s$/, ""), hint = "", spoken = (each) => each, value: first = [] } = {}) {
  const made = options.map(([value, label]) => [value, element("input", { type: "checkbox", checked: first.includes(value) }), label]);
  return { path, argument: false, sent: true,
    read: () => {
      const found = made.filter(([, node]) => node.checked).map(([value]) => value);
      return found.length ? found : undefined;
    },
    words: (each, said) => each.flatMap((one) => [flag, spoken(one, said)]),
    node: element("fieldset", { class: "field", "data-path": path }, element("legend", {}, legend), hint ? element("p", { class: "hint" }, hint) : null,
      element("div", { class: "row" }, ...made.map(([, node, label]) => field(label, node))), element("p", { class: "wrong" })) };
}

function put(into, path, value) {
  const names = path.split(".");
  let here = into;
  for (const name of names.slice(0, -1)) here = here[name] ??= {};
  here[names[names.length - 1]] = value;
}

/** A form of such inputs. `path` and `cli` (its first words) may be functions of what was said, by name; `fixed` is sent besides what is typed;
 * `when(said)`: whether it may be sent. With `changes`, only what is another than at first is sent. `shape(body, said)` is for what differs from what is typed, `tail` ends
 * the command. Null for whom may not send it. */
export function form(label, { method = "POST", path, cli, fields = [], about = "", fixed = {}, expects, shape = (body) => body, done, danger = false, tail = [], changes = false, when = () => true }) {
  const of = (what, said) => (typeof what === "function" ? what(said) : what);

  function ask() {
    const said = {};
    const body = structuredClone(fixed);
    const shown = structuredClone(fixed);
    const argued = [];
    const rest = [];
    for (const each of fields) {
      let value = each.read();
      if (changes && each.sent && JSON.stringify(value) === JSON.stringify(each.first)) continue;
      if (changes) value ??= each.none;
      if (value === undefined) continue;
      said[each.path] = value;
      if (each.sent) {
        put(body, each.path, value);
        put(shown, each.path, each.veil ?? value);
      }
      (each.argument ? argued : rest).push(...each.words(value, said));
    }
    const none = method === "DELETE";
    return { said, method, path: of(path, said), expects, body: none ? undefined : shape(body, said), shown: none ? undefined : shape(shown, said),
      cli: [[...of(cli, said), ...argued, ...rest, ...tail]] };
  }

  const rows = fields.length ? element("div", { class: "row" }, ...fields.map((each) => each.node)) : null;
  const ready = () => {
    const { said, body } = ask();
    return when(said) && (!changes || Object.keys(body).length > 0);
  };
  return folded(label, [about ? element("p", {}, about) : null, rows], { ask, done, danger, ready });
}

/** The zones, of which one need not be chosen where there is only one. */
export const zoneChoice = (zones) => choice("Zone", "zone", [["", zones.length > 1 ? "choose" : "the only one"], ...zones.map((each) => [each.name, each.name])]);

/** Things by id, which the command line calls by name. */
export const byName = (found, text_ = (each) => each.name) => found.map((each) => [each.id, text_(each), each.name]);
