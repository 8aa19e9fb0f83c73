// What is one's own: the password, API keys, sessions, and the keys by which machines let one in.

import { list } from "./api.js";
import { element, moment } from "./element.js";
import { count, form, named, secret, text, ticks } from "./forms.js";
import { facts, link, listed, living, once, part } from "./lists.js";

export async function own(page, who, look) {
  return living(page, look, {
    title: "Keys and password",
    async read() {
      const [keys, sessions, ssh] = await Promise.all([list("/v1/keys"), list("/v1/sessions"), list("/v1/ssh-keys", { account: who.account }).catch(() => [])]);
      return { keys, sessions, ssh };
    },
    show: ({ keys, sessions, ssh }, acts) => [
      facts([["User", who.name], ["Account", element("span", {}, link(`#/accounts/${who.account}`, who.account_name), `, in ${who.path}`)], ["Role", who.role]]),
      part("API keys", listed(["Name", "May", "Counts until", "Used last", "Made", ""], keys.map((each) => [each.name, scopes(each.scopes), moment(each.expires_at) || "for ever", moment(each.used_at) || "never", moment(each.created_at),
        acts.sure("Delete", `Delete the key ${each.name}`, "DELETE", `/v1/keys/${each.id}`)]), "API keys of one's own, for programs", "There is none. A program of yours needs one.")),
      part("SSH keys", listed(["Name", "Kind", "Fingerprint", "Made", ""], ssh.map((each) => [each.name, `${each.kind}, ${each.bits} bits`, element("code", {}, each.fingerprint), moment(each.created_at),
        acts.sure("Delete", `Delete the SSH key ${each.name}`, "DELETE", `/v1/ssh-keys/${each.id}`)]), "SSH keys of the account, by which machines let their owners in", "There is none. New machines can be given one.")),
      part("Sessions", listed(["Signed in", "Counts until", ""], sessions.map((each) => [moment(each.created_at), moment(each.expires_at),
        each.id === who.via ? "this one" : acts.sure("End", `End the session of ${moment(each.created_at)}`, "DELETE", `/v1/sessions/${each.id}`)]), "Where one is signed in", ""))],
    forms: (_found, acts) => formsOf(who, acts),
  });
}

const scopes = (all) => element("details", {}, element("summary", {}, `${all.length} permissions`), all.join(", "));

function formsOf(who, acts) {
  const shown = (title, about, text_) => acts.tell(once(title, about, text_));
  return [
    form("Change the password", { path: `/v1/users/${who.user}/password`, cli: ["arable", "user", "change-password"],
      fields: [secret("Old password", "old", { required: true, autocomplete: "current-password" }), secret("New password", "new", { required: true })], about: "At least ten characters. Where else you are signed in, you are signed out.",
      done: () => acts.tell(element("p", { role: "status" }, "The password is changed.")) }),
    form("Make an API key", { path: "/v1/keys", cli: ["arable", "key", "create"], fields: [named("What it is for"), count("Counts for days", "expires_in_days", { min: "1", max: "3650", placeholder: "365" }),
      ticks("May", "scopes", who.permissions.map((each) => [each, each]), { hint: "None ticked: all that you may." })],
    done(answer) {
      acts.follow(null);
      if (answer.secret) shown(`Key ${answer.name}`, "Give it to your program as its bearer token. It is shown this once.", answer.secret);
    } }),
    form("Import an SSH key", { path: "/v1/ssh-keys/import", cli: ["arable", "ssh-key", "import"], done: acts.follow,
      fields: [named(), text("Public key", "public_key", { required: true, rows: "3", hint: "One line, as ssh-keygen writes it into a file .pub." })] }),
    form("Make a pair of SSH keys", { path: "/v1/ssh-keys", cli: ["arable", "ssh-key", "create"], fields: [named()], done(answer) {
      acts.follow(null);
      if (answer.private_key) shown(`Private key ${answer.name}`, "Save it as a file that only you may read. It is shown this once, and kept nowhere.", answer.private_key);
    } })];
}
