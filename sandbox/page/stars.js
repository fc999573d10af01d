// Telegram's pay sheet: what an invoice asks for, and what the person has. Only who agrees presses Pay.

import { prepare } from "./dialogs.js";
import { element } from "./element.js";
import { get } from "./server.js";
import { language } from "./words.js";

const PAY = "⭐";
const WORDS = {
  have: ["You have ⭐ {0}.", "你有 ⭐ {0}。"],
  pay: ["Pay ⭐ {0}", "支付 ⭐ {0}"],
  cancel: ["Cancel", "取消"],
};

// Whether a press on a button of `message` is meant: at once, but for the Pay button of an invoice, which asks first.
export async function meant(message, action, person) {
  if (action !== PAY || !message.invoice || message.invoice.paid) return true;
  const { stars } = await get("/hands/telegram/stars", { person });
  const dialog = sheet(message.invoice, stars);
  prepare(dialog, true);
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed));
  dialog.remove();
  return dialog.returnValue === "pay";
}

function sheet({ title, description, amount }, stars) {
  const form = element("form", { method: "dialog" });
  const actions = element("div", { className: "actions" });
  actions.append(
    element("button", { value: "", className: "cancel", textContent: said("cancel") }),
    element("button", { value: "pay", className: "submit", textContent: said("pay", amount), autofocus: true }),
  );
  form.append(
    element("h2", { textContent: title, dir: "auto" }),
    element("p", { textContent: description, dir: "auto" }),
    element("p", { textContent: said("have", stars) }),
    actions,
  );
  const dialog = element("dialog", { className: "modal", ariaLabel: title });
  dialog.append(form);
  return dialog;
}

function said(key, value) {
  return WORDS[key][language() === "zh" ? 1 : 0].replace("{0}", value);
}
