// SHA-256 of what comes piece by piece. The browser's own takes a whole file at once, and only where the page came by TLS.

const ROUND = new Int32Array(64);
const FIRST = new Int32Array(8);

// The first 32 bits of the fractions of the primes' cube and square roots. Reckoned as whole numbers: floats are not exact enough.
function root(prime, power) {
  const scaled = BigInt(prime) << BigInt(32 * power);
  let low = 0n;
  let high = 1n << 40n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(power) <= scaled) low = middle;
    else high = middle;
  }
  return Number(BigInt.asIntN(32, low));
}

for (let found = 0, each = 2; found < 64; each += 1) {
  let prime = true;
  for (let by = 2; by * by <= each; by += 1) if (each % by === 0) prime = false;
  if (!prime) continue;
  if (found < 8) FIRST[found] = root(each, 2);
  ROUND[found] = root(each, 3);
  found += 1;
}

export class Sha256 {
  #state = FIRST.slice();
  #words = new Int32Array(64);
  #rest = new Uint8Array(64);
  #kept = 0;
  #length = 0;

  add(bytes) {
    this.#length += bytes.length;
    let at = 0;
    if (this.#kept) {
      at = Math.min(64 - this.#kept, bytes.length);
      this.#rest.set(bytes.subarray(0, at), this.#kept);
      this.#kept += at;
      if (this.#kept < 64) return;
      this.#block(this.#rest, 0);
      this.#kept = 0;
    }
    for (; at + 64 <= bytes.length; at += 64) this.#block(bytes, at);
    this.#rest.set(bytes.subarray(at));
    this.#kept = bytes.length - at;
  }

  /** In hexadecimal. Nothing can be added afterwards. */
  end() {
    const tail = new Uint8Array(((this.#kept + 8) >> 6 << 6) + 64 - this.#kept);
    tail[0] = 0x80;
    new DataView(tail.buffer).setBigUint64(tail.length - 8, BigInt(this.#length) * 8n);
    this.add(tail);
    return [...this.#state].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #block(bytes, from) {
    const w = this.#words;
    for (let i = 0; i < 16; i += 1) {
      const at = from + i * 4;
      w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
    }
    for (let i = 16; i < 64; i += 1) {
      const x = w[i - 15];
      const y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0;
    }
    let [a, b, c, d, e, f, g, h] = this.#state;
    for (let i = 0; i < 64; i += 1) {
      const one = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i] | 0;
      const two = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + ((a & b) ^ (a & c) ^ (b & c)) | 0;
      h = g;
      g = f;
      f = e;
      e = d + one | 0;
      d = c;
      c = b;
      b = a;
      a = one + two | 0;
    }
    const now = [a, b, c, d, e, f, g, h];
    for (let i = 0; i < 8; i += 1) this.#state[i] = this.#state[i] + now[i] | 0;
  }
}

/** Of a file; `tell(bytes)` hears how far it is. */
export async function digest(file, tell, signal) {
  const sum = new Sha256();
  const reader = file.stream().getReader();
  for (let read = 0; ;) {
    signal.throwIfAborted();
    const { done, value } = await reader.read();
    if (done) return sum.end();
    sum.add(value);
    tell(read += value.length);
  }
}
