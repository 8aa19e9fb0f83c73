// For operators: what asks for somebody, what did, and who is told of it.

import { list } from "./api.js";
import { element, moment, state } from "./element.js";
import { choice, count, form, named, secret, several, words } from "./forms.js";
import { listed, living, once, part } from "./lists.js";
import { may } from "./may.js";

const MOST = 50;

/** Alerts, with a button where nobody looks after one yet. */
export const alertTable = (found, acts, caption, empty) => listed(["Severity", "What", "Since", "Until", "Said", ""], found.map((each) => [
  element("span", { class: each.severity === "critical" ? "bad" : "between" }, each.severity), `${each.kind}: ${each.name}`, moment(each.since), moment(each.until), each.text,
  each.acknowledged_at || each.state === "ended" ? each.acknowledged_by
    : acts.small("I look after it", `I look after ${each.kind} of ${each.name}`, "POST", `/v1/alerts/${each.id}/acknowledge`)]), caption, empty);

export async function alerts(page, _who, look) {
  return living(page, look, {
    title: "Alerts",
    async read() {
      const [open, ended, routes] = await Promise.all([list("/v1/alerts", { state: "open" }), list("/v1/alerts", { state: "ended" }, MOST), list("/v1/alert-routes")]);
      return { open, ended: ended.slice(0, MOST), routes };
    },
    show: ({ open, ended, routes }, acts) => [
      part("Open", alertTable(open, acts, "Open alerts", "Nothing asks for anybody.")),
      part("Who is told", listed(["Name", "How", "Where", "Of what", "State", "Told last", ""], routes.map((each) => [each.name, each.kind, each.target, each.least === "critical" ? "critical alone" : "all",
        element("span", {}, !each.enabled ? state("disabled") : each.failing_since ? state("failed") : state("ready"), each.told ? ` ${each.told}` : "", each.waiting ? `, ${each.waiting} waiting` : ""), moment(each.delivered_at) || "never",
        element("span", { class: "acts" }, acts.small("Test", `Send a test to ${each.name}`, "POST", `/v1/alert-routes/${each.id}/test`),
          acts.small(each.enabled ? "Disable" : "Enable", `${each.enabled ? "Disable" : "Enable"} ${each.name}`, "PATCH", `/v1/alert-routes/${each.id}`, { enabled: !each.enabled }, { expects: each.generation }),
          acts.sure("Delete", `Delete the receiver ${each.name}`, "DELETE", `/v1/alert-routes/${each.id}`, undefined, { expects: each.generation }))]),
      "Receivers of alerts", `Nobody is told of alerts but who looks here.${may("/v1/alert-routes") ? " Make a receiver: a mailbox, or a web address." : ""}`)),
      part("Ended", alertTable(ended, acts, `Alerts that ended, the newest ${MOST} at most`, "There was none."))],
    forms: (_found, acts) => [
      form("Tell by mail", { path: "/v1/alert-routes", cli: ["arable", "alert-route", "create"], done: acts.follow, fields: [named(), least(), words("Mail server", "mail.server", { required: true }),
        count("Port", "mail.port", { min: "1", max: "65535", placeholder: "by its security" }), choice("Security", "mail.security", ["starttls", "tls", "none"].map((each) => [each, each])), words("User there", "mail.user"),
        secret("Password there", "mail.password", { autocomplete: "off", hint: "On the command line: --ask-password." }), words("Sender", "mail.sender", { required: true }), several("Recipients", "mail.recipients", { required: true })] }),
      form("Tell a web address", { path: "/v1/alert-routes", cli: ["arable", "alert-route", "create"], fields: [named(), least(), words("Address", "webhook.url", { required: true, most: 2000, hint: "By TLS, but on the same machine." })],
        done(answer) {
          acts.follow(null);
          if (answer.secret) acts.tell(once(`Secret of ${answer.name}`, "Its notices are signed with this. It is shown this once.", answer.secret));
        } })],
  });
}

const least = () => choice("Of what", "least", [["warning", "warnings and worse"], ["critical", "critical alone"]]);
