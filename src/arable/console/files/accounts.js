// For operators and domain administrators: the tree of domains, and the accounts in it.

import { list } from "./api.js";
import { element, moment, state } from "./element.js";
import { byName, choice, form, named, secret, words } from "./forms.js";
import { link, living } from "./lists.js";

const MOST = 1000;
const NAME = /^[a-z0-9][a-z0-9-]*$/;

export async function accounts(page, who, look) {
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", "aria-label": "Find in accounts", placeholder: "Find", oninput: () => look() });
  return living(page, look, {
    title: "Accounts",
    lead: [element("p", {}, find)],
    async read() {
      const said = find.value.toLowerCase();
      const [domains, found] = await Promise.all([list("/v1/domains"), list("/v1/accounts", {}, MOST)]);
      const more = found.length >= MOST;
      const exact = more && NAME.test(said) ? await list("/v1/accounts", { name: said }) : [];
      return { domains, accounts: [...found, ...exact.filter((each) => !found.some((one) => one.id === each.id))], words: said, more };
    },
    show: ({ domains, accounts: found, words: said, more }, acts) => {
      const ids = new Set(domains.map((each) => each.id));
      const wanted = found.filter((each) => each.name.includes(said));
      const below = (parent) => domains.filter((each) => each.parent === parent);
      const full = (each) => wanted.some((one) => one.domain === each.id) || below(each.id).some(full) || each.path.toLowerCase().includes(said);
      const branch = (each) => element("li", {}, element("strong", {}, each.name), " ", each.path === each.name ? null : element("span", { class: "hint" }, each.path), " ",
        each.parent && !below(each.id).length && !found.some((one) => one.domain === each.id) ? acts.sure("Delete", `Delete the domain ${each.path}`, "DELETE", `/v1/domains/${each.id}`) : null,
        element("ul", {}, ...wanted.filter((one) => one.domain === each.id).map((one) => element("li", {}, link(`#/accounts/${one.id}`, one.name), one.enabled ? null : element("span", {}, " ", state("suspended")), " ",
          element("span", { class: "hint" }, `since ${moment(one.created_at)}${one.federated.length ? `, may be asked for from ${one.federated.join(", ")}` : ""}`))), ...below(each.id).filter(full).map(branch)));
      const tops = domains.filter((each) => !ids.has(each.parent)).filter(full);
      return [tops.length ? element("ul", { class: "domains" }, ...tops.map(branch)) : element("p", {}, "There is none of that name."),
        more ? element("p", { class: "hint" }, `These are of the first ${MOST}; another one is found by its whole name.`) : null];
    },
    offers: ({ domains }) => domains.map((each) => each.id),
    forms({ domains }, acts) {
      const place = (path, label) => choice(label, path, byName(domains, (each) => each.path), { value: domains.find((each) => each.id === who.domain)?.id });
      return [form("Make an account", { path: "/v1/accounts", cli: ["arable", "account", "create"], fields: [named("Name of the account"), place("domain", "Domain"),
        words("Its first user", "user.name", { most: 63, hint: "Left empty: none yet." }), secret("Their password", "user.password", { hint: "On the command line: --ask-password." })],
      shape: (body) => (body.user?.name ? body : { ...body, user: undefined }),
      done(answer) {
        acts.follow(null);
        location.assign(`#/accounts/${answer.id}`);
      } }),
      form("Make a domain", { path: "/v1/domains", cli: ["arable", "domain", "create"], fields: [named("Name of the domain"), place("parent", "Below")], done: acts.follow })];
    },
  });
}
