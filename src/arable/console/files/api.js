// The public API, as any program may use it: a bearer token, JSON, RFC 9457 problems, server-sent events.
// The token is kept for this tab alone and goes by a header that no other page can have the browser send: there are no cookies.

const KEPT = "arable-session";
let ended = () => {};

/** What the API refused, in its own words. `fields` say what is wrong with which field. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.kind = String(problem.type || "").split(":").pop();
    this.fields = (problem.errors || []).map((each) => [String(each.field), String(each.reason)]);
    this.request = String(problem.instance || "").split(":").pop();
  }
}

export const signedIn = () => sessionStorage.getItem(KEPT) !== null;

/** Whom to tell that the session does not count any more. */
export function onEnd(tell) {
  ended = tell;
}

function over(why) {
  sessionStorage.removeItem(KEPT);
  ended(why);
}

function headers(more) {
  const token = sessionStorage.getItem(KEPT);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function target(path, query = {}) {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) if (each !== null && each !== undefined && each !== "") said.append(key, each);
  }
  return path + (said.size ? `?${said}` : "");
}

const HOW = { credentials: "omit", redirect: "error", cache: "no-store", referrerPolicy: "no-referrer" };

/** One call. Raises `Refused`, and `Error` where nobody answers. */
export async function call(method, path, { query, body, expects, key, signal } = {}) {
  const said = body === undefined ? {} : { "Content-Type": "application/json" };
  if (expects !== undefined) said["If-Match"] = `"${expects}"`;
  if (key) said["Idempotency-Key"] = key;
  let answer;
  try {
    answer = await fetch(target(path, query),
      { ...HOW, method, headers: headers(said), body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server can't be reached");
  }
  const found = told(await answer.text(), answer.status);
  if (answer.ok) return found;
  if (answer.status === 401 && signedIn() && path !== "/v1/sessions") over("Your session has ended. Please sign in again.");
  throw new Refused(answer.status, found || {});
}

function told(text, status) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    throw new Error(`what answered (${status}) is not Arable`);
  }
}

const STRIDE = 64 << 20;
const TRIES = 60;

/** A file, until all of it is there: in strides, each a call of its own; after any trouble the server is asked where to go on.
 * `tell(bytes)` hears how far it is, `again(error)` what went wrong before another try. */
export async function upload(ask, file, tell, again, signal) {
  let failed = 0;
  let best = 0;
  let made = null;
  while (!made?.complete) {
    try {
      if (signal.aborted) throw new DOMException("", "AbortError");
      const path = made && `/v1/image-uploads/${made.id}`;
      if (!made) made = await call("POST", "/v1/image-uploads", { body: { ...ask, bytes: file.size }, signal });
      else if (failed) made = await call("GET", path, { signal });
      if (made.offset > best) failed = 0;
      best = Math.max(best, made.offset);
      tell(made.offset);
      if (!made.complete) made = await sent(`/v1/image-uploads/${made.id}`, made.offset, file.slice(made.offset, made.offset + STRIDE), tell, signal);
      failed = 0;
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) throw new DOMException("", "AbortError");
      failed += 1;
      if (!passing(error) || failed >= TRIES) {
        if (made && error instanceof Refused) await call("DELETE", `/v1/image-uploads/${made.id}`).catch(() => null); // it shall not count any more
        throw error;
      }
      again(error);
      await new Promise((go) => { setTimeout(go, Math.min(500 * 2 ** failed, 10000) * (0.2 + 0.8 * Math.random())); });
    }
  }
  return made;
}

const passing = (error) => !(error instanceof Refused) || error.status === 429 || error.status >= 502 || ["in-use", "wrong-offset"].includes(error.kind);

/** One stride. By XMLHttpRequest, since `fetch` does not say how far it is. */
function sent(path, offset, piece, tell, signal) {
  return new Promise((done, failed) => {
    const asks = new XMLHttpRequest();
    asks.open("PATCH", path);
    const said = { "Content-Type": "application/partial-upload", "Upload-Offset": String(offset) };
    for (const [name, value] of Object.entries(headers(said))) asks.setRequestHeader(name, value);
    const stop = () => asks.abort();
    asks.upload.onprogress = (event) => tell(offset + event.loaded);
    asks.onerror = () => failed(new Error("the connection broke"));
    asks.onabort = () => failed(new DOMException("", "AbortError"));
    asks.onloadend = () => signal.removeEventListener("abort", stop);
    asks.onload = () => {
      try {
        const answer = told(asks.responseText, asks.status);
        if (asks.status < 300) return done(answer);
        if (asks.status === 401) over("Your session has ended. Please sign in again.");
        throw new Refused(asks.status, answer || {});
      } catch (error) {
        return failed(error);
      }
    };
    signal.addEventListener("abort", stop);
    asks.send(piece);
  });
}

/** A machine's serial console, by the ticket for it: bytes both ways. */
export function consoleOf(ticket) {
  const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v1/console/${ticket}`);
  socket.binaryType = "arraybuffer";
  return socket;
}

export const isOpen = (socket) => socket?.readyState === WebSocket.OPEN;

/** A list's pages one after the other, at most so many things. */
export async function list(path, query = {}, most = 1000) {
  const found = [];
  let after = null;
  do {
    const page = await call("GET", path, { query: { limit: Math.min(200, most), ...query, after } });
    found.push(...page.items);
    after = page.next;
  } while (after && found.length < most);
  return found;
}

/** So that a call that is sent twice is done once. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}

export async function signIn(name, password) {
  sessionStorage.removeItem(KEPT);
  const made = await call("POST", "/v1/sessions", { body: { name, password } });
  sessionStorage.setItem(KEPT, made.token);
}

/** Ends the session at the server, too, so that its token is worth nothing from then on. */
export async function signOut() {
  try {
    await call("DELETE", "/v1/sessions/current");
  } finally {
    over("");
  }
}

/** Events as they happen, until `signal`. After an interruption it goes on from the last one. `tell(null)`: look for yourself. */
export async function follow(query, tell, signal) {
  let last = "";
  for (let pause = 1; !signal.aborted; pause = Math.min(pause * 2, 30)) {
    try {
      const said = headers(last ? { "Last-Event-ID": last } : {});
      const answer = await fetch(target("/v1/events/stream", query), { ...HOW, headers: said, signal });
      if (answer.status === 401) return over("Your session has ended. Please sign in again.");
      if (!answer.ok) throw new Error(String(answer.status));
      tell(null);
      pause = 1;
      for await (const block of blocks(answer.body.getReader())) {
        const lines = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
        if (lines.id) last = lines.id;
        if (lines.data) tell(JSON.parse(lines.data));
      }
    } catch {
      if (signal.aborted) return undefined;
      tell(null);
    }
    await new Promise((go) => { setTimeout(go, 1000 * pause * (0.5 + Math.random())); });
  }
  return undefined;
}

async function* blocks(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop();
    yield* parts;
  }
}
