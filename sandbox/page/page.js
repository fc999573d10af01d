// The chat page: two panes, one for each platform, that do what a person's app does. Everything goes through /hands/{platform}.

import { completions } from "./completion.js";
import { openModal } from "./dialogs.js";
import { drawn, element } from "./message.js";

const TOAST_MS = 5000;
const NAMES = { telegram: "Telegram", discord: "Discord" };

class Pane {
  constructor(platform) {
    this.platform = platform;
    this.root = document.getElementById(platform);
    this.root.append(document.getElementById("pane").content.cloneNode(true));
    this.find("h2").textContent = NAMES[platform];
    this.log = this.find(".log");
    this.text = this.find("textarea");
    this.people = [];
    this.chats = [];
    this.commands = [];
    this.unread = new Set();
    this.changes = 0;
    this.picture = null;
    this.picked = -1;
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  async get(path, query = {}) {
    return read(await fetch(`/hands/${this.platform}/${path}?${new URLSearchParams(query)}`));
  }

  async post(path, body) {
    const headers = { "Content-Type": "application/json" };
    return read(await fetch(`/hands/${this.platform}/${path}`, { method: "POST", headers, body: JSON.stringify(body) }));
  }

  // A mistake of the person is told to them, as an app would.
  async tried(work) {
    try {
      return await work();
    } catch (error) {
      this.toast(error.message);
      return undefined;
    }
  }

  listen() {
    this.find(".person").addEventListener("change", (event) => this.tried(() => this.become(event.target.value)));
    this.find(".composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.tried(() => this.say());
    });
    this.text.addEventListener("keydown", (event) => this.onKey(event));
    this.text.addEventListener("input", () => this.onInput());
    this.text.addEventListener("focus", () => this.tried(() => this.loadCommands()));
    this.text.addEventListener("blur", () => this.suggest([]));
    this.text.addEventListener("paste", (event) => this.attach(event.clipboardData.files[0]));
    this.find(".attach input").addEventListener("change", (event) => {
      this.attach(event.target.files[0]);
      event.target.value = "";
    });
    this.find(".attached button").addEventListener("click", () => this.attach(null));
  }

  async start() {
    this.people = await this.get("people");
    const kept = localStorage.getItem(`${this.platform}-person`);
    const chosen = this.people.find((person) => person.id === kept) ?? this.people[0];
    this.find(".person").replaceChildren(
      ...this.people.map((person) => new Option(person.admin ? `${person.name} (admin)` : person.name, person.id)),
    );
    this.find(".person").value = chosen.id;
    this.become(chosen.id);
  }

  become(id) {
    this.person = this.people.find((person) => person.id === id);
    localStorage.setItem(`${this.platform}-person`, id);
    this.unread.clear();
    this.chat = undefined;
    this.log.replaceChildren();
    this.stream?.close();
    this.status("connecting…");
    this.stream = new EventSource(`/hands/${this.platform}/stream?${new URLSearchParams({ person: id })}`);
    this.stream.onopen = () => {
      this.status("");
      this.tried(() => this.refresh());
    };
    this.stream.onerror = () => this.status("reconnecting…");
    this.stream.onmessage = (event) => this.onNews(JSON.parse(event.data));
  }

  // Also after the sandbox has been started anew: then other chats may be there.
  async refresh() {
    const { id } = this.person;
    await Promise.all([this.loadChats(), this.loadCommands()]);
    if (id !== this.person.id) return;
    const chat = this.chats.find((one) => one.id === this.chat) ?? this.chats[0];
    await this.open(chat?.id);
  }

  async loadChats() {
    const { id } = this.person;
    const chats = await this.get("chats", { person: id });
    if (id !== this.person.id) return;
    this.chats = chats;
    this.showChats();
  }

  async loadCommands() {
    this.commands = await this.get("commands", { language: this.person.language ?? "" });
  }

  // What changes while the answer is under way is newer than the answer: then it is asked for again.
  async open(chat) {
    if (chat === undefined) return;
    const { id } = this.person;
    this.chat = chat;
    this.unread.delete(chat);
    this.showChats();
    let messages;
    let seen;
    do {
      seen = this.changes;
      messages = await this.get("messages", { person: id, chat });
      if (chat !== this.chat || id !== this.person.id) return;
    } while (seen !== this.changes);
    this.log.replaceChildren(...messages.map((message) => this.drawn(message)));
    this.regroup();
    this.toEnd();
  }

  showChats() {
    const items = this.chats.map((chat) => {
      const button = element("button", { type: "button", className: `chat ${chat.kind}`, textContent: chat.title });
      button.setAttribute("aria-current", String(chat.id === this.chat));
      button.classList.toggle("unread", this.unread.has(chat.id));
      button.addEventListener("click", () => this.tried(() => this.open(chat.id)));
      const item = element("li");
      item.append(button);
      return item;
    });
    this.find(".chats").replaceChildren(...items);
    this.find(".title").textContent = this.chats.find((chat) => chat.id === this.chat)?.title ?? "";
  }

  onNews(news) {
    if (news.toast) this.toast(news.toast, news.alert);
    if (news.modal) openModal(news.modal, (values) => this.post("submit", { person: this.person.id, modal: news.modal.id, values }));
    if (!news.message && !news.deleted) return;
    this.changes += 1;
    if (!this.chats.some((chat) => chat.id === news.chat)) this.tried(() => this.loadChats());
    if (news.chat === this.chat) this.show(news);
    else if (news.message?.from.bot) {
      this.unread.add(news.chat);
      this.showChats();
    }
  }

  show({ message, deleted }) {
    const atEnd = this.atEnd();
    const id = message?.id ?? deleted;
    const old = [...this.log.children].find((item) => item.dataset.id === id);
    if (deleted) old?.remove();
    else if (old) old.replaceWith(this.drawn(message));
    else this.log.append(this.drawn(message));
    this.regroup();
    if (atEnd || (message && !old && message.from.id === this.person.id)) this.toEnd();
  }

  // Messages of one author that follow each other stand together, but what others see apart from what they do not.
  regroup() {
    for (const item of this.log.children) {
      const before = item.previousElementSibling?.dataset;
      item.classList.toggle("follows", before?.author === item.dataset.author && before.ephemeral === item.dataset.ephemeral);
    }
  }

  drawn(message) {
    return drawn(message, {
      platform: this.platform,
      me: this.person.id,
      press: (action) =>
        this.tried(() => this.post("press", { person: this.person.id, chat: message.chat, message: message.id, action })),
      grown: (height) => this.atEnd(height) && this.toEnd(),
    });
  }

  atEnd(slack = 0) {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < slack + 80;
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  async say() {
    const text = this.text.value.trim();
    if ((!text && !this.picture) || !this.chat) return;
    const body = { person: this.person.id, chat: this.chat, text };
    if (this.picture) body.picture = await base64(this.picture);
    await this.post("say", body);
    this.text.value = "";
    this.attach(null);
    this.onInput();
  }

  attach(file) {
    if (file === undefined) return;
    this.picture = file;
    const shown = this.find(".attached");
    URL.revokeObjectURL(shown.querySelector("img").src);
    shown.hidden = file === null;
    if (file) shown.querySelector("img").src = URL.createObjectURL(file);
  }

  // Completion

  async onInput() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 160)}px`;
    const typed = this.text.value;
    const ask = (command, option, part) =>
      this.get("autocomplete", { person: this.person.id, chat: this.chat, command, option, typed: part });
    const found = await this.tried(() => completions(typed, this.commands, this.platform, this.person.language, ask));
    if (typed === this.text.value) this.suggest(found ?? []);
  }

  suggest(found) {
    this.found = found;
    this.picked = -1;
    const list = this.find(".suggestions");
    list.hidden = found.length === 0;
    list.replaceChildren(
      ...found.map((suggestion) => {
        const item = element("li");
        item.append(element("b", { textContent: suggestion.label }), element("span", { textContent: suggestion.hint }));
        item.addEventListener("mousedown", (event) => {
          event.preventDefault(); // the composer keeps the focus
          this.take(suggestion);
        });
        return item;
      }),
    );
  }

  take(suggestion) {
    this.text.value = suggestion.text;
    this.onInput();
  }

  onKey(event) {
    if (event.isComposing) return;
    const count = this.found?.length ?? 0;
    if (event.key === "Tab" && count && !event.shiftKey) {
      event.preventDefault();
      this.take(this.found[Math.max(this.picked, 0)]);
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && count) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.picked = this.picked < 0 && step < 0 ? count - 1 : (this.picked + step + count) % count;
      [...this.find(".suggestions").children].forEach((item, place) => item.classList.toggle("picked", place === this.picked));
      this.find(".picked").scrollIntoView({ block: "nearest" });
    } else if (event.key === "Escape") this.suggest([]);
    else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (this.picked >= 0) this.take(this.found[this.picked]);
      else this.find(".composer").requestSubmit();
    }
  }

  status(text) {
    this.find(".link").textContent = text;
  }

  toast(text, alert = false) {
    const toast = element("div", { className: alert ? "toast alert" : "toast", textContent: text, dir: "auto" });
    toast.addEventListener("click", () => toast.remove());
    this.find(".toasts").append(toast);
    setTimeout(() => toast.remove(), alert ? 2 * TOAST_MS : TOAST_MS);
  }
}

async function read(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `The sandbox answered ${response.status}`);
  return body;
}

async function base64(file) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  return url.slice(url.indexOf(",") + 1);
}

for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => {
    document.querySelector("main").dataset.shown = tab.dataset.tab;
    for (const other of document.querySelectorAll("[data-tab]")) other.setAttribute("aria-selected", String(other === tab));
  });
}
for (const platform of Object.keys(NAMES)) {
  const pane = new Pane(platform);
  pane.tried(() => pane.start());
}
