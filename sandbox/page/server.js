// Calls of the sandbox: JSON there and back. What goes wrong is thrown with words for the person.

import { word } from "./words.js";

export async function get(path, query = {}) {
  return read(`${path}?${new URLSearchParams(query)}`);
}

export async function post(path, body) {
  return read(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

async function read(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Error(word("unreachable"));
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? word("refused", response.status));
  return body;
}

// The bytes of a picture, as the sandbox takes them.
export async function base64(file) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  return url.slice(url.indexOf(",") + 1);
}
