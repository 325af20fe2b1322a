// Which variants are shown, and in which order.

import { element } from "./element.js";

export const STATES = { all: "All", open: "Undecided", accept: "Accepted", reject: "Rejected", relabel: "To relabel" };

export const stateOf = (variant) => variant.decision?.verdict ?? "open";

const FACETS = { label: "Class", kind: "Kind", techniques: "Technique" };
const RANGES = { strength: "Strength", probability: "Probability of its label" };
const ORDERS = {
  path: ["By name", () => 0],
  place: ["Random", (a, b) => a.place - b.place],
  probability: ["Least certain label first", (a, b) => (a.probability ?? 2) - (b.probability ?? 2)],
  strength: ["Strongest first", (a, b) => (b.strength ?? -1) - (a.strength ?? -1)],
};

export class Filters {
  state = "all";
  sample = 0; // so many of the random order, or all

  constructor(variants, container, changed) {
    Object.assign(this, { variants, container, changed });
    this.clear();
  }

  clear() {
    this.state = "all";
    this.sample = 0;
    this.chosen = {};
    this.ranges = {};
    this.order = "path";
    this.#draw();
  }

  // Those that match, in order.
  list() {
    const matching = this.variants.filter((variant) => this.#matches(variant));
    const order = this.sample ? "place" : this.order;
    return matching.sort((a, b) => ORDERS[order][1](a, b) || a.number - b.number);
  }

  #matches(variant) {
    if (this.sample && variant.place >= this.sample) return false;
    if (this.state !== "all" && stateOf(variant) !== this.state) return false;
    for (const [name, value] of Object.entries(this.chosen)) if (![variant[name]].flat().includes(value)) return false;
    for (const [name, { low, high }] of Object.entries(this.ranges)) {
      if (low === null && high === null) continue;
      const value = variant[name];
      if (value === null || (low !== null && value < low) || (high !== null && value > high)) return false;
    }
    return true;
  }

  #draw() {
    const fields = [];
    for (const [name, title] of Object.entries(FACETS)) {
      const counts = new Map();
      // A variant of several techniques counts for each.
      for (const value of this.variants.flatMap((variant) => variant[name])) counts.set(value, (counts.get(value) ?? 0) + 1);
      if (counts.size < 2) continue;
      const names = [...counts.keys()].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
      const all = element("option", { value: "" }, "all");
      const options = names.map((each, index) => element("option", { value: String(index + 1) }, `${each.replaceAll("_", " ")} (${counts.get(each)})`));
      const select = this.#select(name, [all, ...options], (value) => {
        delete this.chosen[name];
        if (value) this.chosen[name] = names[Number(value) - 1];
      });
      fields.push(element("div", { class: "field" }, element("label", { for: `by-${name}` }, title), select));
    }
    for (const [name, title] of Object.entries(RANGES)) {
      const values = this.variants.map((variant) => variant[name]).filter((value) => value !== null);
      if (new Set(values).size < 2) continue;
      const [low, high] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
      this.ranges[name] = { low: null, high: null };
      const ends = { low: ["from", low], high: ["to", high] };
      const inputs = Object.entries(ends).map(([end, [word, value]]) => {
        const input = element("input", { type: "number", step: "any", placeholder: Number(value.toPrecision(3)), "aria-label": `${title} ${word}` });
        input.addEventListener("input", () => {
          this.ranges[name][end] = input.value === "" ? null : Number(input.value);
          this.changed();
        });
        return input;
      });
      fields.push(element("div", { class: "field", role: "group", "aria-label": title }, title, element("span", { class: "range" }, inputs[0], "to", inputs[1])));
    }
    const orders = Object.keys(ORDERS).filter((name) => !(name in RANGES) || name in this.ranges);
    const order = this.#select("order", orders.map((name) => element("option", { value: name }, ORDERS[name][0])), (value) => (this.order = value));
    fields.push(element("div", { class: "field" }, element("label", { for: "by-order" }, "Order"), order));
    this.container.replaceChildren(...fields);
  }

  #select(name, options, take) {
    const select = element("select", { id: `by-${name}` }, ...options);
    let byPointer = false; // then the keyboard goes back to the variants
    select.addEventListener("pointerdown", () => (byPointer = true));
    select.addEventListener("keydown", () => (byPointer = false));
    select.addEventListener("change", () => {
      take(select.value);
      this.changed();
      if (byPointer) select.blur();
    });
    return select;
  }
}
