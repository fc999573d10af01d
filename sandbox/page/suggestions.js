// The list of suggestions at a composer: a listbox whose options are pointed at while the focus stays in the text.

import { element } from "./element.js";
import { word } from "./words.js";

export class Suggestions {
  // `text` is the composer, `count` a status for screen readers; `take(suggestion)` puts one into the text.
  constructor(text, list, count, take) {
    Object.assign(this, { text, list, count, take, found: [], picked: -1 });
    text.setAttribute("aria-controls", list.id);
  }

  show(found) {
    this.found = found;
    this.list.hidden = found.length === 0;
    this.count.textContent = found.length ? word("found", found.length) : "";
    this.list.replaceChildren(...found.map((suggestion, place) => this.option(suggestion, place)));
    this.point(-1);
  }

  option(suggestion, place) {
    const item = element("li", { id: `${this.list.id}-${place}`, role: "option" });
    item.append(element("b", { textContent: suggestion.label }), element("span", { textContent: suggestion.hint }));
    item.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the composer keeps the focus
      this.take(suggestion);
    });
    return item;
  }

  point(place) {
    this.picked = place;
    [...this.list.children].forEach((item, at) => {
      item.classList.toggle("picked", at === place);
      item.ariaSelected = String(at === place);
    });
    const item = this.list.children[place];
    if (item) {
      this.text.setAttribute("aria-activedescendant", item.id);
      item.scrollIntoView({ block: "nearest" });
    } else this.text.removeAttribute("aria-activedescendant");
  }

  // Whether the key was for the list.
  onKey(event) {
    const last = this.found.length - 1;
    if (last < 0) return false;
    if (event.key === "ArrowDown") this.point(this.picked >= last ? 0 : this.picked + 1);
    else if (event.key === "ArrowUp") this.point(this.picked <= 0 ? last : this.picked - 1);
    else if (event.key === "Escape") this.show([]);
    else if (event.key === "Tab" && !event.shiftKey) this.take(this.found[Math.max(this.picked, 0)]);
    else if (event.key === "Enter" && !event.shiftKey && this.picked >= 0) this.take(this.found[this.picked]);
    else return false;
    event.preventDefault();
    return true;
  }
}
