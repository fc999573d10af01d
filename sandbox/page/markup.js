// A message's HTML as nodes. Only what is listed here comes through; everything else becomes its plain text.

import { word } from "./words.js";

const ALLOWED = {
  B: "b", STRONG: "b", H1: "b", H2: "b", H3: "b", I: "i", EM: "i", BLOCKQUOTE: "i", CODE: "code", PRE: "pre", BR: "br", A: "a",
};
const NEVER = new Set(["SCRIPT", "STYLE", "TEMPLATE", "IFRAME", "NOSCRIPT"]);

// The parser's document is inert: nothing in it runs or loads.
export function markup(html) {
  return copied(new DOMParser().parseFromString(html, "text/html").body);
}

function copied(source) {
  const result = document.createDocumentFragment();
  for (const node of source.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) result.append(node.data);
    else if (node.nodeType === Node.ELEMENT_NODE && !NEVER.has(node.tagName)) result.append(element(node));
  }
  return result;
}

function element(node) {
  const name = ALLOWED[node.tagName];
  const inside = copied(node);
  if (node.tagName === "LI") inside.prepend("• ");
  if (name === undefined) return inside;
  const kept = document.createElement(name);
  if (name === "a") {
    const href = node.getAttribute("href") ?? "";
    if (!/^https?:\/\//i.test(href)) return inside;
    Object.assign(kept, { href, target: "_blank", rel: "noopener noreferrer" });
  }
  if (name === "pre") Object.assign(kept, { tabIndex: 0, role: "group", ariaLabel: word("code") }); // a long line is scrolled, by keyboard too
  kept.append(inside);
  return kept;
}
