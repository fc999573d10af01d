// The fault panel: what the image providers and the chat platforms do wrong, as the person who plays wants it.

import { prepare } from "./dialogs.js";
import { element } from "./element.js";
import { get, post } from "./server.js";
import { word } from "./words.js";

const PATH = "/hands/faults";
const NAMES = { stability: "Stability AI", openai: "OpenAI", telegram: "Telegram", discord: "Discord" };
const REFRESH_MS = 2000;
const LONGEST = 3600;
const FLOOD_SECONDS = 5;
const LENGTHS = { slow: "latency", rate_limited: "retryAfter" }; // the modes that take seconds, and what these are

export class FaultPanel {
  constructor(button, dialog) {
    Object.assign(this, { button, dialog, asked: 0 });
    this.problem = dialog.querySelector(".problem");
    prepare(dialog, true);
    button.addEventListener("click", () => this.open());
    dialog.addEventListener("close", () => clearInterval(this.timer));
    dialog.querySelector(".calm").addEventListener("click", () => this.calm());
    document.addEventListener("words", () => this.state && this.build());
  }

  // Also what another page or a test has switched is shown. An answer that a later one has overtaken is not.
  async load() {
    const asked = (this.asked += 1);
    const state = await get(PATH);
    if (asked === this.asked) this.show(state);
  }

  open() {
    this.dialog.showModal();
    this.refresh();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
  }

  refresh() {
    return this.load().then(
      () => this.problem.textContent === word("unreachable") && this.say(""),
      (error) => this.say(error.message),
    );
  }

  say(problem) {
    if (this.problem.textContent !== problem) this.problem.textContent = problem;
  }

  async set(...bodies) {
    this.say("");
    try {
      for (const body of bodies) {
        this.asked += 1;
        this.show(await post(PATH, body));
      }
    } catch (error) {
      this.say(error.message);
      await this.refresh();
    }
  }

  calm() {
    const { providers, platforms } = this.state;
    return this.set(...providers.map(({ id }) => ({ provider: id, mode: "normal" })), ...platforms.map(({ id }) => ({ platform: id, flood: false })));
  }

  show(state) {
    const first = this.state === undefined;
    this.state = state;
    if (first) this.build();
    else this.update();
  }

  build() {
    const find = (selector) => this.dialog.querySelector(selector);
    find(".providers").replaceChildren(...this.state.providers.map((provider) => this.provider(provider)));
    find(".platforms").replaceChildren(...this.state.platforms.map((platform) => this.platform(platform)));
    this.update();
  }

  provider({ id }) {
    const modes = element("select", { className: "mode" });
    modes.append(...[...this.state.modes, "other"].map((mode) => new Option(word(mode), mode)));
    modes.lastChild.disabled = true; // it is shown, and cannot be chosen
    const seconds = number("seconds");
    modes.addEventListener("change", () => this.set({ provider: id, mode: modes.value }));
    seconds.addEventListener("change", () => seconds.reportValidity() && this.set({ provider: id, mode: modes.value, seconds: seconds.valueAsNumber }));
    const whole = element("section", { className: "switches" });
    whole.dataset.id = id;
    const length = labelled("", seconds);
    length.classList.add("length");
    whole.append(labelled(word("behaviour", NAMES[id] ?? id), modes), length, element("p", { className: "calls" }), element("ul", { className: "keys" }));
    return whole;
  }

  platform({ id }) {
    const flood = element("input", { type: "checkbox", className: "flood" });
    const seconds = number("seconds");
    seconds.step = "1";
    seconds.value = FLOOD_SECONDS;
    const set = () => seconds.reportValidity() && this.set({ platform: id, flood: flood.checked, seconds: seconds.valueAsNumber });
    flood.addEventListener("change", set);
    seconds.addEventListener("change", () => flood.checked && set());
    const line = element("label", { className: "line" });
    line.append(flood, element("span", { textContent: word("flood", NAMES[id] ?? id) }));
    const whole = element("section", { className: "switches" });
    whole.dataset.id = id;
    whole.append(line, labelled(word("retryAfter"), seconds));
    return whole;
  }

  // What somebody is just changing is left alone.
  update() {
    for (const provider of this.state.providers) this.updateProvider(provider);
    for (const { id, flood } of this.state.platforms) {
      const whole = this.dialog.querySelector(`[data-id="${id}"]`);
      whole.querySelector(".flood").checked = flood !== null;
      if (flood !== null) put(whole.querySelector(".seconds"), flood);
    }
    const on = this.state.providers.filter(({ mode }) => mode !== "normal").length + this.state.platforms.filter(({ flood }) => flood !== null).length;
    this.button.classList.toggle("on", on > 0);
    this.button.querySelector(".count").textContent = on || "";
    this.button.setAttribute("aria-label", on ? word("faultsOn", on) : word("faults"));
  }

  updateProvider({ id, mode, latency, retry_after: retryAfter, calls, keys }) {
    const whole = this.dialog.querySelector(`[data-id="${id}"]`);
    put(whole.querySelector(".mode"), mode);
    const length = whole.querySelector(".length");
    length.hidden = !(mode in LENGTHS);
    if (!length.hidden) {
      length.querySelector("span").textContent = word(LENGTHS[mode]);
      put(length.querySelector("input"), mode === "slow" ? latency : retryAfter);
    }
    whole.querySelector(".calls").textContent = word("calls", calls);
    whole.querySelector(".keys").replaceChildren(...(keys.length ? keys.map(key) : [element("li", { textContent: word("noKeys") })]));
  }
}

function put(control, value) {
  if (control !== document.activeElement || control.tagName === "SELECT") control.value = value;
}

function key({ key: text, credits, own_faults: own }) {
  const line = element("li");
  const left = word("balance", credits.toLocaleString("en", { maximumFractionDigits: 2 }));
  line.append(element("code", { textContent: text }), element("span", { className: "left", textContent: own ? `${left}, ${word("ownFaults")}` : left }));
  return line;
}

function number(name) {
  return element("input", { type: "number", className: name, min: "1", max: String(LONGEST), step: "any", required: true });
}

function labelled(text, control) {
  const label = element("label");
  label.append(element("span", { textContent: text }), control);
  return label;
}
