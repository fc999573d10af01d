// Short notes above a chat: what the platform shows as a toast, and what went wrong.

import { element } from "./element.js";
import { word } from "./words.js";

const SHORT_MS = 5000;
const LONG_MS = 12_000;

// `kind`: "" for a toast of the platform, "alert" for one that has to be noticed, "error" for something that went wrong.
export function toast(place, text, kind = "") {
  const shown = element("div", { className: `toast ${kind}` });
  const close = element("button", { type: "button", className: "close", ariaLabel: word("close") });
  close.addEventListener("click", () => shown.remove());
  shown.append(element("span", { textContent: text, dir: "auto" }), close);
  place.append(shown);
  leave(shown, kind ? LONG_MS : SHORT_MS);
}

// Nobody loses what they are just reading.
function leave(shown, after) {
  setTimeout(() => (shown.matches(":hover, :focus-within") ? leave(shown, SHORT_MS) : shown.remove()), after);
}
