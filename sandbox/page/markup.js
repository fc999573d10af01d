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
    if (node.nodeType === Node.TEXT_NODE) result.append(...(source.closest?.("a, code, pre") ? [node.data] : linked(node.data)));
    else if (node.nodeType === Node.ELEMENT_NODE && !NEVER.has(node.tagName)) result.append(element(node));
  }
  return result;
}

// Both platforms make links of the addresses in a text.
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]*[^\s<>"'.,;:!?)\]，。；：！？）])/i).map((part, place) => (place % 2 ? anchor(part, part) : part));
}

function anchor(href, inside) {
  const link = document.createElement("a");
  Object.assign(link, { href, target: "_blank", rel: "noopener noreferrer" });
  link.append(inside);
  return link;
}

function element(node) {
  const name = ALLOWED[node.tagName];
  const inside = copied(node);
  if (node.tagName === "LI") inside.prepend("• ");
  if (name === undefined) return inside;
  if (name === "a") {
    const href = node.getAttribute("href") ?? "";
    return /^https?:\/\//i.test(href) ? anchor(href, inside) : inside;
  }
  const kept = document.createElement(name);
  if (name === "pre") Object.assign(kept, { tabIndex: 0, role: "group", ariaLabel: word("code") }); // a long line is scrolled, by keyboard too
  kept.append(inside);
  return kept;
}
