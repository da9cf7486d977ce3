// Calls the service's API.

import { statusText } from "./words.js";

const base = new URL("api/v1/", document.baseURI);
const tokenKey = "zigate-ota-token";

export const address = (path) => new URL(path, base);

// Refused is the error of a call that was refused; its message is a sentence for a person.
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error || statusText(body?.status) || `The service answered with status ${status}.`);
    this.status = status;
    this.body = body;
  }
}

export const token = {
  get: () => sessionStorage.getItem(tokenKey) ?? "",
  set: (value) => (value ? sessionStorage.setItem(tokenKey, value) : sessionStorage.removeItem(tokenKey)),
};

// call asks for something and returns the answer, or throws a Refused.
export async function call(method, path, { json, body, type } = {}) {
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (json !== undefined) {
    body = JSON.stringify(json);
    type = "application/json";
  }
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(address(path), { method, headers, body });
  } catch {
    throw new Refused(0, { error: "The service does not answer. Is it running, and the network up?" });
  }
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    // The answer is not from the service but, for example, from a proxy.
  }
  if (!response.ok || answer === null) throw new Refused(response.ok ? 502 : response.status, answer);
  return answer;
}

export const access = () => call("GET", "access");

// request asks for an operation. The answer may be one with status inProgress; the final one comes as an event then.
export const request = (operation, body, wait = 4) => call("POST", `request/${operation}?wait=${wait}`, { json: body });
