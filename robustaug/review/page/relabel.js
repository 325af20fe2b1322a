// The choice of a new label: type, or click.

import { button, element } from "./element.js";

const SHOWN = 60;

export class Relabel {
  #choices = [];
  #chosen = 0;

  constructor(dialog, classes) {
    Object.assign(this, { dialog, classes });
    this.input = dialog.querySelector("input");
    this.list = dialog.querySelector("ul");
    this.input.addEventListener("input", () => this.#draw());
    dialog.addEventListener("keydown", (event) => this.#key(event));
  }

  // take(label): a class, or null for "not decided yet".
  ask(variant, take) {
    if (this.dialog.open) return;
    Object.assign(this, { variant, take });
    this.input.value = "";
    this.#draw();
    this.dialog.showModal();
    this.input.focus();
  }

  #draw() {
    const typed = this.input.value.trim().toLowerCase();
    const others = this.classes.filter((name) => name !== this.variant.label);
    const at = (name) => name.toLowerCase().indexOf(typed);
    const rank = (name) => (name.toLowerCase() === typed ? -1 : at(name));
    const found = others.filter((name) => at(name) >= 0).sort((a, b) => (typed ? rank(a) - rank(b) : 0));
    this.#choices = typed ? found.slice(0, SHOWN) : [null, ...found.slice(0, SHOWN)];
    this.#chosen = 0;
    this.list.replaceChildren(...this.#choices.map((name, index) =>
      element("li", {}, button(name ?? "Mark it, leave the new label open", { class: name === null ? "later" : "" }, () => this.#choose(index)))));
    if (!this.#choices.length) this.list.append(element("li", { class: "none" }, "No such class."));
    this.#show();
  }

  #show() {
    [...this.list.querySelectorAll("button")].forEach((each, index) => each.classList.toggle("chosen", index === this.#chosen));
    this.list.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    if (event.key === "Enter" && event.target === this.input && !event.repeat) {
      event.preventDefault();
      this.#choose(this.#chosen);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const count = this.#choices.length || 1;
      this.#chosen = (this.#chosen + (event.key === "ArrowDown" ? 1 : count - 1)) % count;
      this.#show();
    }
  }

  #choose(index) {
    if (index >= this.#choices.length) return;
    const label = this.#choices[index];
    document.activeElement.blur(); // at once: the browser itself takes a moment, and the next key would go nowhere
    this.dialog.close();
    this.take(label);
  }
}
