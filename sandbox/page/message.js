// One message as its platform shows it.

import { showPicture } from "./dialogs.js";
import { element } from "./element.js";
import { markup } from "./markup.js";
import { language, word } from "./words.js";

const PRESS_MS = 3000;

// `view`: the platform, `me` who looks, `press(action)` for buttons, `grown(height)` once a picture has taken its place, `lost()` if it cannot.
export function drawn(message, view) {
  const { name, bot, id } = message.from;
  const item = element("div", { className: "message" });
  Object.assign(item.dataset, { id: message.id, author: id, ephemeral: message.ephemeral });
  item.classList.toggle("mine", id === view.me);
  item.classList.toggle("bot", bot);
  item.classList.toggle("ephemeral", message.ephemeral);
  if (message.used) item.dataset.used = message.id;
  const face = element("span", { className: "face", textContent: [...name][0], ariaHidden: "true" });
  const body = element("div", { className: "body" });
  if (message.used) body.append(element("div", { className: "used", textContent: word("used", ...message.used) }));
  body.append(bubble(message, view), ...message.rows.map((keys) => row(keys, view)));
  item.append(face, body);
  return item;
}

function bubble(message, view) {
  const { name, bot } = message.from;
  const author = element("div", { className: "author", textContent: name });
  if (bot) author.append(element("span", { className: "badge", textContent: "APP" }));
  const pictures = element("div", { className: "pictures" });
  pictures.append(...message.pictures.map((url, place) => picture(url, name, message.veiled[place], view)));
  const text = element("div", { className: "text", dir: "auto" });
  if (message.thinking) {
    text.classList.add("thinking");
    text.textContent = word("thinking", name);
  } else text.append(markup(message.html));
  const time = new Date(message.at).toLocaleTimeString(language(), { hour: "2-digit", minute: "2-digit" });
  const meta = element("span", { className: "meta", textContent: message.edited ? word("edited", time) : time });
  const parts = view.platform === "telegram" ? [pictures, text] : [text, pictures];
  const whole = element("div", { className: "bubble" });
  whole.append(author, ...parts.filter((part) => part.hasChildNodes()), meta);
  if (message.ephemeral) whole.append(element("div", { className: "only-you", textContent: word("onlyYou") }));
  return whole;
}

// A spoiler is uncovered by the first press and enlarged by the next.
function picture(url, name, veiled, view) {
  const image = element("img", { src: here(url), alt: word("pictureFrom", name) });
  image.addEventListener("error", () => view.lost());
  image.addEventListener("load", () => view.grown(image.clientHeight));
  const button = element("button", { type: "button", className: "picture", title: word("enlarge") });
  button.append(image);
  button.classList.toggle("veiled", veiled);
  if (veiled) Object.assign(button, { title: "", ariaLabel: word("veiled", name) }).append(element("span", { className: "veil", textContent: word("spoiler") }));
  button.addEventListener("click", () => {
    if (!button.classList.contains("veiled")) return showPicture(image.src, image.alt);
    button.classList.remove("veiled");
    Object.assign(button, { title: word("enlarge"), ariaLabel: null });
    button.querySelector(".veil").remove();
  });
  return button;
}

// The sandbox may be reached under another name than the one it gives: a picture is always on the server of this page.
function here(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

function row(keys, view) {
  const whole = element("div", { className: "row" });
  whole.append(...keys.map((shown) => key(shown, view)));
  return whole;
}

function key({ label, action, url, style }, view) {
  if (url) {
    const link = element("a", { className: "key link", textContent: label, target: "_blank", rel: "noopener noreferrer" });
    if (/^https?:\/\//i.test(url)) link.href = url;
    return link;
  }
  const button = element("button", { type: "button", className: `key ${style}`, textContent: label });
  button.addEventListener("click", () => {
    button.classList.add("busy");
    setTimeout(() => button.classList.remove("busy"), PRESS_MS);
    view.press(action);
  });
  return button;
}
