// Requests to the server of this page.

const AT_ONCE = 3;  // requests: the server computes one, and lets two wait
const PATIENCE = [200, 400, 800, 1600];  // milliseconds to wait while the server is busy
export const client = Array.from(crypto.getRandomValues(new Uint8Array(12)), byte => byte.toString(16).padStart(2, "0")).join("");

/** An answer that is a refusal: what is wrong, what to do, and the status. */
export class Refused extends Error {
  constructor(status, {error, hint}) {
    super(error || `The server answered ${status}.`);
    this.status = status;
    this.hint = hint || "";
  }
}

/** An address of this server; what is undefined or null is left out. */
export function address(path, query = {}) {
  const parts = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return parts.length ? `${path}?${new URLSearchParams(parts)}` : path;
}

let running = 0;
const waiting = [];
function begin() {
  if (running >= AT_ONCE) return new Promise(resolve => waiting.push(resolve));
  running += 1;
  return undefined;
}
function end() {
  const next = waiting.shift();
  if (next) next();
  else running -= 1;
}

/**
 * The answer to a request. Rejects with Refused, with an AbortError where `signal` was given and fired, and with a
 * TypeError where the server is gone.
 */
export async function ask(path, query, {method = "GET", body, signal} = {}) {
  const headers = {"X-Zse": "1", "X-Zse-Client": client};
  await begin();
  try {
    for (const wait of [...PATIENCE, null]) {
      signal?.throwIfAborted();
      const answer = await fetch(address(path, query), {method, body, headers, signal, redirect: "error"});
      if (answer.ok) return answer;
      const refusal = await answer.json().catch(() => ({}));
      if (answer.status !== 429 || wait === null) throw new Refused(answer.status, refusal);
      await new Promise(resolve => setTimeout(resolve, wait));
    }
  } finally {
    end();
  }
}

export const isAborted = error => error.name === "AbortError";
export const isSuperseded = error => error instanceof Refused && error.status === 409;
