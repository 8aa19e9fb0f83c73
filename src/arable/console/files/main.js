// The frame: signing in and out, the way from page to page, the tree, the search, and the log of what happens.

import { account } from "./account.js";
import { accounts } from "./accounts.js";
import { alerts } from "./alerts.js";
import { call, list, onEnd, signedIn, signIn, signOut } from "./api.js";
import { balancer } from "./balancer.js";
import { bills } from "./bills.js";
import { blueprint } from "./blueprint.js";
import { blueprints } from "./blueprints.js";
import { control } from "./control.js";
import { dataCentre } from "./data_centre.js";
import { deploy } from "./deploy.js";
import { button, element, field, fill, moment, state, status } from "./element.js";
import { farm } from "./farm.js";
import { farms } from "./farms.js";
import { grid } from "./grid.js";
import { gridBills } from "./grid_bills.js";
import { groups } from "./groups.js";
import { host } from "./host.js";
import { hosts } from "./hosts.js";
import { image } from "./image.js";
import { images } from "./images.js";
import * as live from "./live.js";
import { machine } from "./machine.js";
import { machines } from "./machines.js";
import { know, may } from "./may.js";
import { forget } from "./names.js";
import { network } from "./network.js";
import { networks } from "./networks.js";
import { offerings } from "./offerings.js";
import { order } from "./order.js";
import { orders } from "./orders.js";
import { own } from "./own.js";
import { plan } from "./plan.js";
import { plans } from "./plans.js";
import { pool } from "./pool.js";
import { pools } from "./pools.js";
import { prices } from "./prices.js";
import { showProblem } from "./problems.js";
import { provision } from "./provision.js";
import { region } from "./region.js";
import { regions } from "./regions.js";
import { serial } from "./serial.js";
import { settings } from "./settings.js";
import { snapshots } from "./snapshots.js";
import { volumes } from "./volumes.js";
import { vpns } from "./vpns.js";
import { zone } from "./zone.js";
import { zones } from "./zones.js";

const PAGES = [
  [/^#\/farms$/, "Farms", farms],
  [/^#\/farms\/(farm-[0-9a-z]+)$/, "Farm", farm],
  [/^#\/farms\/(farm-[0-9a-z]+)\/document$/, "Document", provision, "farm:write"],
  [/^#\/provision$/, "Provision a farm", provision, "farm:write"],
  [/^#\/blueprints$/, "Blueprints", blueprints],
  [/^#\/blueprints\/(blueprint-[0-9a-z]+)$/, "Blueprint", blueprint],
  [/^#\/machines$/, "Machines", machines],
  [/^#\/machines\/(machine-[0-9a-z]+)$/, "Machine", machine],
  [/^#\/machines\/(machine-[0-9a-z]+)\/console$/, "Console", serial],
  [/^#\/images$/, "Images", images],
  [/^#\/images\/(image-[0-9a-z]+)$/, "Image", image],
  [/^#\/networks$/, "Networks", networks],
  [/^#\/networks\/(network-[0-9a-z]+)$/, "Network", network],
  [/^#\/balancers\/(balancer-[0-9a-z]+)$/, "Balancer", balancer],
  [/^#\/groups$/, "Groups", groups],
  [/^#\/volumes$/, "Volumes", volumes],
  [/^#\/snapshots$/, "Snapshots", snapshots],
  [/^#\/vpns$/, "VPNs", vpns],
  [/^#\/orders$/, "Orders", orders],
  [/^#\/orders\/(order-[0-9a-z]+)$/, "Order", order],
  [/^#\/plans$/, "Plans", plans],
  [/^#\/plans\/(plan-[0-9a-z]+)$/, "Plan", plan],
  [/^#\/bills$/, "Bills", bills],
  [/^#\/keys$/, "Keys and password", own],
  [/^#\/deploy$/, "Deploy machines", deploy, "machine:write"],
  [/^#\/data-centre$/, "Data centre", dataCentre],
  [/^#\/zones$/, "Zones", zones],
  [/^#\/zones\/(zone-[0-9a-z]+)$/, "Zone", zone],
  [/^#\/hosts$/, "Hosts", hosts],
  [/^#\/pools$/, "Storage pools", pools],
  [/^#\/pools\/(pool-[0-9a-z]+)$/, "Storage pool", pool],
  [/^#\/hosts\/(host-[0-9a-z]+)$/, "Host", host],
  [/^#\/control$/, "Control plane", control],
  [/^#\/regions$/, "Regions", regions],
  [/^#\/regions\/(region-[0-9a-z]+)$/, "Region", region],
  [/^#\/grid$/, "Grid", grid, "infra:read"],
  [/^#\/grid-bills$/, "Bills of all regions", gridBills, "infra:read"],
  [/^#\/alerts$/, "Alerts", alerts],
  [/^#\/accounts$/, "Accounts", accounts],
  [/^#\/accounts\/(account-[0-9a-z]+)$/, "Account", account],
  [/^#\/offerings$/, "Offerings", offerings],
  [/^#\/prices$/, "Prices", prices],
  [/^#\/settings$/, "Settings", settings],
];
// What stands above all pages: for everybody, and for whom it concerns, as permissions say.
const USUAL = [["farms", "Farms"], ["provision", "Provision", "farm:write"], ["blueprints", "Blueprints"], ["machines", "Machines"], ["images", "Images"], ["networks", "Networks"], ["vpns", "VPNs"], ["volumes", "Volumes"],
  ["snapshots", "Snapshots"], ["groups", "Groups"], ["orders", "Orders"], ["plans", "Plans"], ["bills", "Bills"], ["keys", "Keys and password"]];
const OPERATING = [["data-centre", "Data centre", "infra:read"], ["zones", "Zones", "infra:read"], ["hosts", "Hosts", "infra:read"], ["pools", "Storage pools", "infra:read"], ["control", "Control plane", "infra:read"], ["regions", "Regions", "infra:read"], ["alerts", "Alerts", "infra:read"], ["accounts", "Accounts", "account:write"],
  ["offerings", "Offerings", "catalogue:write"], ["prices", "Prices", "billing:write"], ["settings", "Settings", "infra:read"]];
// At the grid manager there are regions and its own operators, and none of what a region has.
const MANAGING = [["regions", "Regions"], ["grid", "Grid", "infra:read"], ["grid-bills", "Bills of all regions", "infra:read"], ["accounts", "Accounts", "account:write"], ["settings", "Settings", "infra:read"], ["keys", "Keys and password"]];
const TASKS = 20;
const EVENTS = 30;

let who = null;
const managing = () => who.served_by === "grid";
const home = () => (managing() ? "#/regions" : "#/farms");
let frame = null;
let leave = () => {};
let turn = 0;

function signInPage(why = "") {
  const name = element("input", { name: "username", autocomplete: "username", required: true, maxlength: "63", spellcheck: "false" });
  const password = element("input", { type: "password", name: "password", autocomplete: "current-password", required: true });
  const summary = element("div", {}, why ? status(why) : null);
  const go = element("button", { type: "submit" }, "Sign in");
  const form = element("form", { class: "sign-in", "aria-label": "Sign in", async onsubmit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      await signIn(name.value, password.value);
      await enter();
    } catch (error) {
      showProblem(form, summary, error);
      password.value = "";
      password.focus();
    } finally {
      go.disabled = false;
    }
  } }, element("h1", {}, "Arable"), summary, field("Name", name, { path: "name" }), field("Password", password, { path: "password" }),
  element("p", { class: "acts" }, go));
  document.title = "Sign in - Arable";
  fill(document.body, element("main", {}, form));
  name.focus();
}

onEnd((why) => {
  leave();
  live.end();
  forget();
  turn += 1;
  who = frame = null;
  know(null);
  signInPage(why);
});

async function enter() {
  who = await call("GET", "/v1/whoami");
  know(who);
  const ways = (pages) => pages.filter(([, , needed]) => !needed || may(needed)).map(([at, text]) => element("a", { href: `#/${at}` }, text));
  const usual = ways(managing() ? MANAGING : USUAL);
  const operating = managing() ? [] : ways(OPERATING);
  const find = element("input", { type: "search", "aria-label": "Find in the tree", placeholder: "Find", autocomplete: "off", oninput: filtered });
  frame = { main: element("main", { id: "main" }), tree: element("div", {}), log: element("ol", { class: "log" }), tasks: element("ul", { class: "log" }), find };
  fill(document.body,
    button("To the content", () => frame.main.querySelector("h1")?.focus(), { class: "skip" }),
    element("header", {}, element("a", { class: "brand", href: home() }, managing() ? "Arable grid" : "Arable"),
      element("nav", { "aria-label": "Pages" }, ...usual, element("a", { href: "/docs" }, "API")),
      element("span", { class: "who" }, `${who.name} of ${who.account_name}`),
      button("Sign out", () => signOut().catch(() => {})),
      operating.length ? element("nav", { class: "operating", "aria-label": "For operators" }, ...operating) : null),
    element("div", { class: managing() ? "body whole" : "body" },
      managing() ? null : element("nav", { class: "tree", "aria-label": "Farms and tiers" }, find, frame.tree),
      frame.main),
    element("footer", { "aria-label": "What happens" },
      element("details", { open: true }, element("summary", {}, "Tasks and events"),
        element("div", { class: "logs" }, element("section", { "aria-label": "Tasks" }, frame.tasks), element("section", { "aria-label": "Events" }, frame.log)))));
  live.begin(who.account);
  await go();
}

async function go() {
  if (!who) return;
  leave();
  const now = (turn += 1);
  const found = PAGES.map(([pattern, ...rest]) => [pattern.exec(location.hash), ...rest]).find(([match]) => match);
  if (!found || (managing() && !MANAGING.some(([at]) => location.hash.split("/")[1] === at))) return void location.replace(home());
  const [match, title, show, needed] = found;
  document.title = `${title} - Arable`;
  for (const each of document.querySelectorAll("header nav a")) {
    if (`${location.hash}/`.startsWith(`${each.getAttribute("href")}/`)) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  const page = element("div", {});
  fill(frame.main, page);
  if (needed && !may(needed)) return void fill(page, element("h1", { tabindex: "-1" }, title), element("p", {}, `Your role, ${who.role}, may not do this: it takes the permission ${needed}.`));
  fill(page, status("Loading…"));
  page.setAttribute("aria-busy", "true");
  let shown = null;
  const look = () => live.look();
  const unwatch = live.watch(async () => {
    if (shown && now === turn) await shown.look();
  });
  const untree = live.watch(around);
  leave = () => {
    unwatch();
    untree();
    shown?.close?.();
  };
  live.look();
  try {
    const made = await show(page, who, look, match[1]);
    if (now !== turn) return void made.close?.();
    shown = made;
    page.querySelector("h1")?.focus();
    await shown.look();
  } catch (error) {
    if (now === turn) fill(page, element("h1", { tabindex: "-1" }, title), status(error.message, "wrong"));
  } finally {
    page.removeAttribute("aria-busy");
  }
}

/** Tree and log. */
async function around() {
  const here = frame;
  if (!here) return;
  const [found, tasks] = await Promise.all([managing() ? [] : list("/v1/farms", { account: who.account }),
    call("GET", "/v1/operations", { query: { account: who.account, limit: TASKS } })]);
  if (here !== frame) return;
  fill(here.tree, element("ul", {}, ...found.map((each) => element("li", { "data-words": [each.name, ...each.tiers.map((tier) => tier.name)].join(" ") },
    element("a", { href: `#/farms/${each.id}` }, each.name),
    element("ul", {}, ...each.tiers.map((tier) => element("li", {}, `${tier.name} ${tier.serving}/${tier.count}`)))))));
  filtered();
  fill(here.tasks, ...tasks.items.map((each) => element("li", {}, state(each.state), ` ${each.kind} `,
    each.state === "running" && each.total ? `${each.total - each.pending} of ${each.total} ` : "",
    each.error ? each.error.detail : each.steps.length ? each.steps[each.steps.length - 1].text : "",
    element("time", {}, ` ${moment(each.changed_at)}`))));
  fill(here.log, ...live.events.slice(0, EVENTS).map((each) => element("li", {},
    element("time", {}, new Date(each.at).toLocaleTimeString()), ` ${each.kind}: ${each.text}`)));
}

function filtered() {
  const words = frame.find.value.toLowerCase().split(" ");
  for (const item of frame.tree.querySelectorAll("li[data-words]")) item.hidden = !words.every((word) => item.dataset.words.includes(word));
}

window.addEventListener("hashchange", go);
if (signedIn()) enter().catch((error) => { if (signedIn() || !document.querySelector("form")) signInPage(error.message); });
else signInPage();
