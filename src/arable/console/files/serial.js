// A machine's serial console: what it says is shown as text, and keys go to it.

import { call, consoleOf, isOpen } from "./api.js";
import { button, element, fill, status } from "./element.js";
import { equivalent } from "./equivalent.js";
import { link } from "./lists.js";
import { keyOf, Screen } from "./screen.js";

const LEAVE = "\x1d"; // Ctrl-], as on the command line
const ENDED = 1000;

export async function serial(page, _who, _look, id) {
  const machine = await call("GET", `/v1/machines/${id}`);
  const told = element("div", {});
  const screen = element("pre", { class: "screen", tabindex: "0", role: "textbox", "aria-multiline": "true", "aria-label": `Console of ${machine.name}`, onkeydown: pressed, onpaste: pasted });
  const again = button("Open it again", open, { class: "do", hidden: true });
  const line = element("input", { autocomplete: "off", spellcheck: "false", "aria-label": "A line to send", placeholder: "A line to send" });
  const keys = [["Ctrl-C", "\x03"], ["Ctrl-D", "\x04"], ["Tab", "\t"], ["Esc", "\x1b"]].map(([text, said]) => button(text, () => send(said), { class: "small", "aria-label": `Send ${text}` }));
  const typed = element("form", { class: "line", "aria-label": "Send a line", onsubmit(event) {
    event.preventDefault();
    send(`${line.value}\r`);
    line.value = "";
  } }, element("p", { class: "acts" }, line, element("button", { type: "submit" }, "Send"), ...keys));
  const same = equivalent();
  same.show({ method: "POST", path: `/v1/machines/${id}/console`, cli: [["arable", "machine", "console", machine.name]] });
  const back = link(`#/machines/${id}`, `Back to ${machine.name}`);
  fill(page, element("h1", { tabindex: "-1" }, `Console of ${machine.name}`), told, element("p", { class: "acts" }, again), screen,
    element("p", { class: "hint" }, "Keys go to the machine while the screen has the focus; Ctrl-] lets go of it. Ctrl-Shift-C copies, Ctrl-Shift-V pastes."), typed, same.node, element("p", {}, back));

  const lines = new Screen();
  const encoder = new TextEncoder();
  let socket = null;
  let due = false;
  let left = false;

  function draw() {
    due = false;
    const down = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
    const [before, at, behind] = lines.show();
    fill(screen, before, element("span", { class: "cursor" }, at), behind);
    if (down) screen.scrollTop = screen.scrollHeight;
  }

  function soon() {
    if (!due) requestAnimationFrame(draw);
    due = true;
  }

  async function open() {
    again.hidden = true;
    fill(told, status("Opening…"));
    let given;
    try {
      given = await call("POST", `/v1/machines/${id}/console`);
    } catch (error) {
      again.hidden = false;
      return void fill(told, status(error.message, "wrong"));
    }
    if (left) return;
    const decoder = new TextDecoder();
    const mine = socket = consoleOf(given.ticket);
    mine.onopen = () => {
      fill(told, status("Connected."));
      screen.focus();
    };
    mine.onmessage = ({ data }) => {
      lines.write(decoder.decode(data, { stream: true }));
      soon();
    };
    mine.onclose = ({ code, reason }) => {
      if (mine !== socket) return;
      socket = null;
      again.hidden = false;
      fill(told, status(code === ENDED ? "The console has ended." : `The console is closed: ${reason || "the connection was lost"}.`, code === ENDED ? "status" : "wrong"));
    };
  }

  function send(text) {
    if (isOpen(socket)) socket.send(encoder.encode(text));
  }

  function pressed(event) {
    const said = keyOf(event);
    if (said === null) return;
    event.preventDefault();
    if (said === LEAVE) back.focus();
    else send(said);
  }

  function pasted(event) {
    event.preventDefault();
    send(event.clipboardData.getData("text").replaceAll(/\r?\n/g, "\r"));
  }

  draw();
  open();
  return { look() {}, close() {
    const mine = socket;
    left = true;
    socket = null;
    mine?.close();
  } };
}
