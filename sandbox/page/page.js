// The chat page: two panes, one for each platform, that do what a person's app does, the fault panel and the payments panel.

import { CheckoutPanel } from "./checkouts.js";
import { prepare } from "./dialogs.js";
import { FaultPanel } from "./faults.js";
import { NAMES, Pane } from "./pane.js";
import { switchLanguage, translate, word } from "./words.js";

const NARROW = matchMedia("(max-width: 900px)"); // as in page.css: there the panes are tabs

function show(tab) {
  document.querySelector("main").dataset.shown = tab.dataset.tab;
  for (const other of document.querySelectorAll("[data-tab]")) {
    other.ariaSelected = String(other === tab);
    other.tabIndex = other === tab ? 0 : -1;
  }
  for (const pane of panes) pane.toEnd(); // nothing scrolls while it is out of sight
}

function onTabKey(event) {
  if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
  const tabs = [...document.querySelectorAll("[data-tab]")];
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const place = step === undefined ? (event.key === "Home" ? 0 : -1) : (tabs.indexOf(event.target) + step) % tabs.length;
  event.preventDefault();
  tabs.at(place).focus();
  show(tabs.at(place));
}

function arrange() {
  for (const platform of Object.keys(NAMES)) {
    const pane = document.getElementById(platform);
    if (NARROW.matches) pane.setAttribute("role", "tabpanel");
    else pane.removeAttribute("role");
  }
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", onTabKey);
}
NARROW.addEventListener("change", arrange);
arrange();
prepare(document.getElementById("enlarged"), true);
prepare(document.getElementById("modal"), false);
document.getElementById("language").addEventListener("click", switchLanguage);

const panes = Object.keys(NAMES).map((platform) => new Pane(platform));
const panel = new FaultPanel(document.getElementById("open-faults"), document.getElementById("faults"));
new CheckoutPanel(document.getElementById("open-checkouts"), document.getElementById("checkouts"));
translate(document);

// What no one has caught is told too: nothing fails in silence.
const tell = (problem) => panes[0].toast(word("broken", problem), "error");
addEventListener("error", (event) => event.message && tell(event.message));
addEventListener("unhandledrejection", (event) => tell(event.reason?.message ?? event.reason));

for (const pane of panes) pane.tried(() => pane.start());
panes[0].tried(() => panel.load());
