// One platform as one person sees it. Everything goes through /hands/{platform}.

import { completions } from "./completion.js";
import { openModal } from "./dialogs.js";
import { element } from "./element.js";
import { hints } from "./hints.js";
import { drawn } from "./message.js";
import { showRoles } from "./roles.js";
import { base64, get, post } from "./server.js";
import { meant } from "./stars.js";
import { Suggestions } from "./suggestions.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

const SETTLED_MS = 300;

export const NAMES = { telegram: "Telegram", discord: "Discord" };

export class Pane {
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
    const list = this.find(".suggestions");
    list.id = `${platform}-suggestions`;
    this.suggestions = new Suggestions(this.text, list, this.find(".composer .count"), (suggestion) => this.type(suggestion.text));
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  async get(path, query = {}) {
    return get(`/hands/${this.platform}/${path}`, query);
  }

  async post(path, body) {
    return post(`/hands/${this.platform}/${path}`, body);
  }

  // What goes wrong is told to the person: a mistake of theirs, and a sandbox that does not answer.
  async tried(work) {
    try {
      return await work();
    } catch (error) {
      this.toast(error.message, "error");
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
    this.text.addEventListener("focus", () => this.tried(() => this.onFocus()));
    this.text.addEventListener("blur", () => this.suggestions.show([]));
    this.text.addEventListener("paste", (event) => this.attach(event.clipboardData.files[0]));
    this.find(".attach input").addEventListener("change", (event) => {
      this.attach(event.target.files[0]);
      event.target.value = "";
    });
    this.find(".attached button").addEventListener("click", () => {
      this.attach(null);
      this.text.focus();
    });
    document.addEventListener("words", () => this.reword());
  }

  async start() {
    this.people = await this.get("people");
    const kept = localStorage.getItem(`${this.platform}-person`);
    const chosen = this.people.find((person) => person.id === kept) ?? this.people[0];
    this.showPeople();
    this.find(".person").value = chosen.id;
    this.become(chosen.id);
  }

  showPeople() {
    const options = this.people.map((person) => new Option(person.admin ? word("admin", person.name) : person.name, person.id));
    this.find(".person").replaceChildren(...options);
  }

  // The page's language has changed.
  reword() {
    this.showPeople();
    if (!this.person) return;
    this.find(".person").value = this.person.id;
    this.status(this.link);
    this.showChats();
    this.suggestions.show([]);
    this.tried(() => this.open(this.chat));
  }

  become(id) {
    this.person = this.people.find((person) => person.id === id);
    localStorage.setItem(`${this.platform}-person`, id);
    this.unread.clear();
    this.chat = undefined;
    for (const shown of [this.log, this.find(".chats")]) shown.replaceChildren(); // they are another person's
    this.find(".hints").hidden = true;
    this.tried(() => showRoles(this));
    this.stream?.close();
    this.status("connecting");
    this.stream = new EventSource(`/hands/${this.platform}/stream?${new URLSearchParams({ person: id })}`);
    this.stream.onopen = () => {
      this.status("");
      this.tried(() => this.refresh());
    };
    this.stream.onerror = ({ target }) => {
      const gone = target.readyState === EventSource.CLOSED; // it was refused: the browser does not try again
      this.status(gone ? "gone" : "reconnecting");
      if (gone) this.toast(word("noStream"), "error");
    };
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
    this.chat ??= chats[0]?.id; // what is typed as soon as the chats are there has somewhere to go
    this.showChats();
  }

  async loadCommands() {
    this.commands = await this.get("commands", { language: this.person.language ?? "" });
  }

  async open(chat) {
    if (chat === undefined) return;
    this.chat = chat;
    this.unread.delete(chat);
    this.showChats();
    this.log.ariaBusy = "true"; // what was said before is no news
    try {
      await this.load(chat);
    } finally {
      setTimeout(() => (this.log.ariaBusy = "false"), SETTLED_MS);
    }
  }

  // What changes while the answer is under way is newer than the answer: then it is asked for again.
  async load(chat) {
    const { id } = this.person;
    let messages;
    let seen;
    do {
      seen = this.changes;
      messages = await this.get("messages", { person: id, chat });
      if (chat !== this.chat || id !== this.person.id) return;
    } while (seen !== this.changes);
    this.log.replaceChildren(...messages.map((message) => this.drawn(message)));
    this.regroup();
    this.find(".hints").hidden = true; // those of another chat may be there
    this.showHints();
    this.toEnd();
  }

  showHints() {
    const { hidden } = this.find(".hints");
    const empty = this.log.childElementCount === 0;
    if (empty && hidden) {
      const kind = this.chats.find((chat) => chat.id === this.chat)?.kind;
      this.find(".hints").replaceChildren(...hints(kind === "private", (line) => this.type(line), (text, how) => this.toast(text, how)));
    }
    this.find(".hints").hidden = !empty;
  }

  showChats() {
    const items = this.chats.map((chat) => {
      const button = element("button", { type: "button", className: `chat ${chat.kind}`, textContent: chat.title });
      button.setAttribute("aria-current", String(chat.id === this.chat));
      const unread = this.unread.has(chat.id);
      button.classList.toggle("unread", unread);
      if (unread) button.setAttribute("aria-label", word("unread", chat.title));
      button.addEventListener("click", () => this.tried(() => this.open(chat.id)));
      const item = element("li");
      item.append(button);
      return item;
    });
    this.find(".chats").replaceChildren(...items);
    this.find(".title").textContent = this.chats.find((chat) => chat.id === this.chat)?.title ?? "";
  }

  onNews(news) {
    if (news.toast) this.toast(news.toast, news.alert ? "alert" : "");
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
    this.showHints();
    if (atEnd || (message && !old && message.from.id === this.person.id)) this.toEnd();
  }

  // Messages of one author that follow each other stand together, but what others see apart from what they do not; a command's answer begins anew.
  regroup() {
    for (const item of this.log.children) {
      const before = item.previousElementSibling?.dataset;
      item.classList.toggle("follows", !item.dataset.used && before?.author === item.dataset.author && before.ephemeral === item.dataset.ephemeral);
    }
  }

  drawn(message) {
    return drawn(message, {
      platform: this.platform,
      me: this.person.id,
      press: (action) => this.tried(() => this.press(message, action)),
      grown: (height) => this.atEnd(height) && this.toEnd(),
      lost: () => this.toast(word("noPicture"), "error"),
    });
  }

  async press(message, action) {
    const person = this.person.id;
    if (await meant(message, action, person)) await this.post("press", { person, chat: message.chat, message: message.id, action });
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

  // What has been typed before the newest commands were there is looked at once more.
  async onFocus() {
    await this.loadCommands();
    if (this.text.value && this.suggestions.found.length === 0 && document.activeElement === this.text) await this.onInput();
  }

  async onInput() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 160)}px`;
    const typed = this.text.value;
    const ask = (command, option, part) =>
      this.get("autocomplete", { person: this.person.id, chat: this.chat, command, option, typed: part });
    const found = await this.tried(() => completions(typed, this.commands, this.platform, this.person.language, ask));
    if (typed === this.text.value) this.suggestions.show(found ?? []);
  }

  // Puts a line into the composer, as if it had been typed.
  type(line) {
    this.text.value = line;
    this.text.focus();
    this.onInput();
  }

  onKey(event) {
    if (event.isComposing || this.suggestions.onKey(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.find(".composer").requestSubmit();
    }
  }

  // How the connection is, by its word; empty when all is well.
  status(link) {
    this.link = link;
    this.find(".link").textContent = link && word(link);
  }

  // Beside a pane that is out of sight a toast would be, too.
  toast(text, kind = "") {
    const seen = this.root.checkVisibility();
    const place = seen ? this.find(".toasts") : document.querySelector(`.pane:not(#${this.platform}) .toasts`);
    toast(place, seen ? text : `${NAMES[this.platform]}: ${text}`, kind);
  }
}
