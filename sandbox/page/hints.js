// What an empty chat proposes: lines that a button types, and keys that the sandbox knows.

import { element } from "./element.js";
import { word } from "./words.js";

const VENDORS = { stability: ["Stability AI", "sk-demo-"], openai: ["OpenAI", "sk-proj-demo-"] };

// Keys of this page alone: one that somebody has lent already would be refused as a double.
const KEYS = Object.entries(VENDORS).map(([id, [vendor, prefix]]) => ({ id, vendor, key: prefix + random() }));

// `type(line)` puts a line into the composer, `say(text, kind)` shows a toast. A key is lent in private alone.
export function hints(inPrivate, type, say) {
  const lines = [["/start", "hintStart"], ...(inPrivate ? [["/lend", "hintLend"]] : []), [`/imagine ${word("hintPrompt")}`, "hintImagine"]];
  const buttons = lines.map(([line, about]) => {
    const button = element("button", { type: "button", className: "hint" });
    button.append(element("code", { textContent: line }), element("span", { textContent: word(about) }));
    button.addEventListener("click", () => type(line));
    return button;
  });
  const title = element("p", { textContent: `${word("noMessages")} ${word("tryThis")}` });
  return [title, ...buttons, ...(inPrivate ? [demoKeys(say)] : [])];
}

function demoKeys(say) {
  const whole = element("div", { className: "demo-keys" });
  whole.append(element("p", { textContent: word("hintKey") }), ...KEYS.map((one) => demoKey(one, say)));
  return whole;
}

function demoKey({ id, vendor, key }, say) {
  const shown = element("code", { textContent: key });
  const copy = element("button", { type: "button", textContent: word("copy"), ariaLabel: word("copyKey", vendor) });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(key);
      say(word("copied"));
    } catch {
      getSelection().selectAllChildren(shown);
      say(word("notCopied"), "alert");
    }
  });
  const line = element("div", { className: "demo-key" });
  line.dataset.vendor = id;
  line.append(element("span", { textContent: vendor }), shown, copy);
  return line;
}

function random() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
