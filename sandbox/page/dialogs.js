// What opens above the page: an enlarged picture, Discord's modals, the drawer.

import { element } from "./element.js";

const STOPS = "a[href], button, input, select, textarea, [tabindex='0']";

// Closes by Escape and by its ✕; Tab goes round inside; the focus returns to where it was. `beside`: a click beside it closes it too.
export function prepare(dialog, beside) {
  dialog.addEventListener("keydown", (event) => event.key === "Tab" && goRound(dialog, event));
  dialog.addEventListener("click", (event) => beside && event.target === dialog && dialog.close());
  dialog.querySelector(".close")?.addEventListener("click", () => dialog.close());
}

function goRound(dialog, event) {
  const stops = [...dialog.querySelectorAll(STOPS)].filter((one) => !one.disabled && one.checkVisibility());
  const [first, last] = [stops[0], stops.at(-1)];
  const [edge, other] = event.shiftKey ? [first, last] : [last, first];
  if (document.activeElement !== edge && document.activeElement !== dialog) return;
  event.preventDefault();
  other.focus();
}

export function showPicture(src, alt) {
  const dialog = document.getElementById("enlarged");
  const picture = dialog.querySelector("img");
  Object.assign(picture, { src, alt });
  picture.onclick = () => dialog.close();
  dialog.showModal();
}

// `send(values)` submits the form; what it throws is shown, and the form stays open.
export function openModal(modal, send) {
  const dialog = document.getElementById("modal");
  const problem = dialog.querySelector(".problem");
  dialog.querySelector("h2").textContent = modal.title;
  dialog.querySelector(".fields").replaceChildren(...modal.fields.map(field));
  problem.textContent = "";
  dialog.querySelector(".cancel").onclick = () => dialog.close();
  const form = dialog.querySelector("form");
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await send(Object.fromEntries(new FormData(form)));
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  if (!dialog.open) dialog.showModal();
}

function field(asked) {
  const label = element("label");
  label.append(element("span", { textContent: asked.required ? `${asked.label} *` : asked.label }), input(asked));
  if (asked.hint) label.append(element("small", { textContent: asked.hint }));
  return label;
}

function input(asked) {
  if (asked.kind === "choice") {
    const nothing = asked.required && asked.default ? [] : [["", "…"]];
    const select = element("select");
    select.append(...[...nothing, ...asked.choices].map(([value, text]) => new Option(text, value)));
    return Object.assign(select, { name: asked.name, required: asked.required, value: asked.default });
  }
  const box = element(asked.long ? "textarea" : "input");
  return Object.assign(box, { name: asked.name, required: asked.required, maxLength: asked.max_length, value: asked.default, dir: "auto" });
}
