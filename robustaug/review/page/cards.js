// How a variant looks: a card in the grid, and alone.

import { button, element } from "./element.js";

const VERDICTS = { accept: ["✓", "Accept", "a"], reject: ["✕", "Reject", "r"], relabel: ["✎", "Relabel", "l"] };
const SMALL = 200; // px: below it, pixels are shown as they are

function picture(address, text) {
  const frame = element("span", { class: "picture" });
  const image = element("img", { alt: text, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth < SMALL));
  image.addEventListener("error", () => frame.replaceChildren(element("span", { class: "missing" }, "not found")));
  image.src = address;
  frame.append(image);
  return frame;
}

const words = (text) => text.replaceAll("_", " ");

const techniques = (variant) => words(variant.techniques.join(" + "));

const name = (variant) => variant.path.slice(variant.path.lastIndexOf("/") + 1);

function pair(variant, withSource) {
  const shown = [picture(`variants/${variant.number}`, `Variant ${name(variant)}`)];
  if (withSource) shown.unshift(picture(`sources/${variant.number}`, `Original ${variant.source}`));
  return shown;
}

export function verdictText({ decision }) {
  if (!decision) return "Undecided";
  if (decision.verdict === "relabel") return decision.label === null ? "New label open" : `→ ${decision.label}`;
  return decision.verdict === "accept" ? "Accepted" : "Rejected";
}

// The look of a card or of the single view after a decision.
export function mark(shown, variant) {
  if (shown.marked === variant.decision) return;
  shown.marked = variant.decision;
  shown.dataset.state = variant.decision?.verdict ?? "open";
  shown.querySelector(".verdict").textContent = verdictText(variant);
  for (const each of shown.querySelectorAll("button[data-verdict]")) {
    each.setAttribute("aria-pressed", String(each.dataset.verdict === variant.decision?.verdict));
  }
}

function verdictButtons(decide, wide) {
  return Object.entries(VERDICTS).map(([verdict, [sign, word, key]]) => {
    const made = button("", { "data-verdict": verdict, title: `${word} (${key})`, "aria-pressed": "false" }, () => decide(verdict));
    if (wide) made.append(element("span", { "aria-hidden": "true" }, sign), ` ${word} `, element("kbd", { "aria-hidden": "true" }, key.toUpperCase()));
    else made.append(element("span", { "aria-hidden": "true" }, sign), element("span", { class: "hidden" }, word));
    return made;
  });
}

export function card(variant, withSource, { open, decide }) {
  const pictures = button("", { class: "pictures", tabindex: "-1", "aria-label": `Look at ${name(variant)}` }, () => open(variant));
  pictures.append(...pair(variant, withSource));
  const made = element("li", { class: "card" }, pictures,
    element("p", { class: "label" }, element("strong", {}, variant.label), element("span", { class: "verdict" })),
    element("p", { class: "technique", title: techniques(variant) }, techniques(variant)),
    element("div", { class: "verdicts" }, ...verdictButtons((verdict) => decide(variant, verdict), false)));
  mark(made, variant);
  return made;
}

const FACTS = { kind: "Kind", techniques: "Technique", strength: "Strength", probability: "Probability of its label", path: "File", source: "Original" };

export function alone(shown, variant, withSource, { decide }) {
  const [first, second] = pair(variant, withSource);
  const figure = (content, text) => element("figure", {}, content, element("figcaption", {}, text));
  const figures = second ? [figure(first, "Original"), figure(second, "Variant")] : [figure(first, "Variant")];
  const rows = Object.entries(FACTS).filter(([fact]) => variant[fact] !== null).map(([fact, title]) => [title, fact === "techniques" ? techniques(variant) : variant[fact]]);
  const facts = [...rows, ...variant.facts].map(([title, text]) => element("div", {}, element("dt", {}, words(title)), element("dd", {}, String(text))));
  const focused = shown.contains(document.activeElement) ? document.activeElement.dataset.verdict : null;
  shown.replaceChildren(
    element("p", { class: "label" }, element("strong", {}, variant.label), element("span", { class: "verdict" })),
    element("div", { class: `figures${second ? " two" : ""}` }, ...figures),
    element("div", { class: "verdicts wide" }, ...verdictButtons((verdict) => decide(variant, verdict), true)),
    element("dl", { class: "facts" }, ...facts));
  shown.marked = undefined; // all of it is new
  mark(shown, variant);
  if (focused) shown.querySelector(`[data-verdict="${focused}"]`).focus({ preventScroll: true });
}
