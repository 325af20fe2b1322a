// The review: what is shown, where the reviewer is, and what the keys do.

import { alone, card, mark, verdictText } from "./cards.js";
import { button, element } from "./element.js";
import { Filters, STATES, stateOf } from "./filters.js";
import { Relabel } from "./relabel.js";
import { Saver } from "./saver.js";

const PAGE = 60; // cards
const AHEAD = 4; // pictures fetched before they are asked for
const get = (id) => document.getElementById(id);

history.replaceState(null, "", location.pathname); // takes the token out of the address; the cookie has it
const answer = await fetch("variants.json");
if (!answer.ok) {
  get("trouble").hidden = false;
  get("trouble").textContent = await answer.text();
  throw new Error("no variants");
}
const review = await answer.json();
const variants = review.variants.map((variant, number) => ({ ...variant, number }));
const withSource = review.data !== "";
const filters = new Filters(variants, get("fields"), () => select());
const relabel = new Relabel(get("relabel"), review.classes);
const saver = new Saver(review.manifest, tellSaved, tellRefused);
const acts = { open: (variant) => show("single", list.indexOf(variant)), decide };
let list = [];
let at = 0;
let view = "grid";
let ahead = [];

// What is shown

function select() {
  list = filters.list();
  at = 0;
  draw();
}

function show(wanted, position = at) {
  view = wanted;
  at = Math.max(0, Math.min(position, list.length - 1));
  draw();
}

function draw() {
  const current = list[at];
  get("empty").hidden = list.length > 0;
  get("grid").hidden = view !== "grid" || !current;
  get("single").hidden = view !== "single" || !current;
  get("grid-view").setAttribute("aria-pressed", String(view === "grid"));
  get("single-view").setAttribute("aria-pressed", String(view === "single"));
  if (view === "grid") drawGrid();
  else if (current) {
    alone(get("single"), current, withSource, acts);
    ahead = list.slice(at + 1, at + 1 + AHEAD).flatMap((variant) => [`variants/${variant.number}`, ...(withSource ? [`sources/${variant.number}`] : [])])
      .map((address) => Object.assign(new Image(), { src: address }));
  }
  tellWhere();
  tellStates();
}

let page = [];
let scrolling = 0;

function drawGrid() {
  const first = at - (at % PAGE);
  const wanted = list.slice(first, first + PAGE);
  if (wanted.length !== page.length || wanted.some((variant, index) => variant !== page[index])) {
    page = wanted;
    get("grid").replaceChildren(...page.map((variant) => card(variant, withSource, acts)));
    scrollTo({ top: 0 });
  }
  page.forEach((variant, index) => mark(get("grid").children[index], variant));
  here();
}

function here() {
  for (const old of get("grid").querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
  get("grid").children[at % PAGE]?.setAttribute("aria-current", "true");
  cancelAnimationFrame(scrolling); // a key held down scrolls once a frame
  scrolling = requestAnimationFrame(() => get("grid").children[at % PAGE]?.scrollIntoView({ block: "nearest" }));
}

function tellWhere() {
  const first = at - (at % PAGE);
  const last = Math.min(first + PAGE, list.length);
  const of = `of ${list.length.toLocaleString("en")}`;
  get("where").textContent = !list.length ? "" : view === "grid" ? `${first + 1}–${last} ${of}` : `${at + 1} ${of}`;
  get("back").disabled = view === "grid" ? first === 0 : at === 0;
  get("on").disabled = view === "grid" ? first + PAGE >= list.length : at >= list.length - 1;
}

function tellStates() {
  const counts = { all: variants.length, open: 0, accept: 0, reject: 0, relabel: 0 };
  for (const variant of variants) counts[stateOf(variant)] += 1;
  for (const each of get("states").children) {
    each.setAttribute("aria-pressed", String(!filters.sample && each.dataset.name === filters.state));
    each.lastChild.textContent = counts[each.dataset.name].toLocaleString("en");
  }
  for (const each of get("bar").children) each.style.width = `${(100 * counts[each.className]) / variants.length}%`;
  get("sample").setAttribute("aria-pressed", String(filters.sample > 0));
}

function tellSaved(count, trouble) {
  const saved = get("saved");
  saved.textContent = count ? `${count} not saved yet` : "All saved";
  saved.classList.toggle("waiting", count > 0);
  get("trouble").hidden = !trouble;
  get("trouble").textContent = trouble && `${count} ${count === 1 ? "decision is" : "decisions are"} not saved yet: ${trouble}. This page then goes on by itself.`;
  if (!count) tellShare();
}

function tellRefused(text) {
  get("trouble").hidden = false;
  get("trouble").textContent = text;
}

let asked = 0;

async function tellShare() {
  const mine = ++asked;
  const found = await fetch(`share.json?size=${size()}`).then((answer) => answer.json()).catch(() => null);
  if (found && mine === asked) get("statement").textContent = found.statement;
}

const size = () => Math.max(1, Math.min(Math.floor(Number(get("size").value)) || review.sample, variants.length));

// What the reviewer does

function decide(variant, verdict) {
  if (list[at] !== variant) at = Math.max(0, list.indexOf(variant));
  if (verdict === "relabel") relabel.ask(variant, (label) => put(variant, "relabel", label));
  else put(variant, verdict, null);
}

function put(variant, verdict, label) {
  variant.decision = { verdict, label };
  saver.decide({ path: variant.path, decision: verdict, label });
  if (at < list.length - 1) at += 1;
  draw();
}

async function undo() {
  const undone = await saver.undo();
  if (!undone) return;
  const variant = variants.find((each) => each.path === undone.path);
  variant.decision = undone.decision;
  const position = list.indexOf(variant);
  if (position >= 0) at = position;
  draw();
  get("saved").textContent = `Undone: ${variant.label}, ${verdictText(variant).toLowerCase()} again`;
}

function move(step) {
  show(view, at + step);
}

function turn(direction) {
  const step = view === "grid" ? PAGE : 1;
  show(view, (view === "grid" ? at - (at % PAGE) : at) + direction * step);
}

const columns = () => getComputedStyle(get("grid")).gridTemplateColumns.split(" ").length;

const KEYS = {
  a: () => list[at] && decide(list[at], "accept"),
  r: () => list[at] && decide(list[at], "reject"),
  l: () => list[at] && decide(list[at], "relabel"),
  u: undo,
  g: () => show(view === "grid" ? "single" : "grid"),
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
  ArrowDown: () => view === "grid" && move(columns()),
  ArrowUp: () => view === "grid" && move(-columns()),
  PageDown: () => turn(1),
  PageUp: () => turn(-1),
  Home: () => show(view, 0),
  End: () => show(view, list.length - 1),
  Escape: () => show("grid"),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || get("relabel").open) return;
  if (event.target.closest("input, select, textarea")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isOnButton = event.target.closest("button, summary, a");
  if (key === "Enter" && !isOnButton && view === "grid") show("single");
  else if (Object.hasOwn(KEYS, key)) KEYS[key]();
  else return;
  event.preventDefault();
});

// The page, once

get("folder").textContent = review.folder;
document.title = `Review of ${review.folder}`;
get("note").textContent = review.note;
get("note").hidden = !review.note;
get("size").value = review.sample;
get("size").max = variants.length;
get("size").addEventListener("change", () => {
  get("size").value = size();
  if (filters.sample) sampled();
  tellShare();
});
get("states").append(...Object.entries(STATES).map(([name, title]) => {
  const made = button(title, { "data-name": name }, () => {
    Object.assign(filters, { state: name, sample: 0 });
    select();
  });
  made.append(" ", element("span", { class: "count" }));
  return made;
}));
get("clear").addEventListener("click", () => {
  filters.clear();
  select();
});

function sampled() {
  filters.clear();
  filters.sample = size();
  select();
  const open = list.findIndex((variant) => !variant.decision);
  show("single", Math.max(0, open));
}

get("sample").addEventListener("click", sampled);
get("grid-view").addEventListener("click", () => show("grid"));
get("single-view").addEventListener("click", () => show("single"));
get("undo").addEventListener("click", undo);
get("back").addEventListener("click", () => turn(-1));
get("on").addEventListener("click", () => turn(1));
get("filters").open = matchMedia("(min-width: 60rem)").matches;
get("grid").classList.toggle("paired", withSource);
select();
show("grid", Math.max(0, list.findIndex((variant) => !variant.decision)));
tellSaved(0, "");
