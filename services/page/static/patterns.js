// The live electron diffraction page: particles, P(space group), newest pattern with spots, next zone axes.

import { drawHeader } from "./header.js";
import { drawOdds, groupClass } from "./odds.js";
import { drawPattern } from "./pattern.js";
import * as server from "./server.js";

const KEPT = 200;
const STATUS_EVERY_MS = 2000;
const DETAIL_EVERY_MS = 250;
const $ = (selector) => document.querySelector(selector);

const particles = new Map();
const cards = new Map();
const view = { selected: null, groups: [], picture: null, history: null, connected: false, status: null, wanted: false, busy: false };

const keyOf = (state) => `${state.run_uid}\n${state.particle}`;
function percent(p) {
  if (p > 0.995) return "> 99 %";
  return p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`;
}
const bracket = (zone) => `[${zone.join(" ")}]`;
const ASIDE = {
  blank: "blank", saturated: "saturated", not_finite: "not finite", shape: "wrong shape", calibration: "no calibration",
  too_few_spots: "too few spots", rings: "rings", no_friedel_symmetry: "no Friedel symmetry", off_zone: "off zone",
  off_lattice: "off one lattice", no_known_zone: "no cubic zone matches", unlike_training: "unlike the training data",
  unreadable: "not readable", limit: "over the limit", no_model: "no model", error: "error",
};

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child != null));
  return node;
}

function best(crystal) {
  if (!crystal.patterns) return null;
  return Object.entries(crystal.product).reduce((a, b) => (b[1] > a[1] ? b : a), ["", -1]);
}

/** Space groups in the order of the model's table, which sets their colours. */
function learnGroups(state) {
  const names = Object.keys(state.crystal.product);
  if (names.length && names.join() !== view.groups.join()) {
    view.groups = names;
    $("#legend").replaceChildren(...names.map((name, n) => make("span", groupClass(n), make("i"), name)));
  }
}

function bar(crystal) {
  const node = make("div", crystal.patterns ? "odds-bar" : "odds-bar none");
  view.groups.forEach((name, n) => {
    const p = crystal.product[name] ?? 0;
    const part = make("i", groupClass(n), p > 0.13 ? name : "");
    part.style.width = `${100 * p}%`;
    part.title = `${name}: ${percent(p)}`;
    node.append(part);
  });
  return node;
}

function card(state) {
  const found = best(state.crystal);
  const aside = Object.values(state.set_aside).reduce((a, b) => a + b, 0);
  const button = make(
    "button", "",
    make("div", "particle-head", make("b", "", state.particle), make("small", "", found ? `${found[0]} · ${percent(found[1])}` : "no result yet")),
    bar(state.crystal),
    make(
      "div", "particle-foot",
      make("span", "", `${state.patterns} patterns`), make("span", "", `${state.crystal.visits} visits`),
      aside ? make("span", "", `${aside} set aside`) : null,
      make("span", state.final ? "" : "live-dot", state.final ? "ended" : "● live"),
      state.scan_id == null ? null : make("span", "", `scan ${state.scan_id}`),
    ),
  );
  button.type = "button";
  button.dataset.particle = state.particle;
  button.setAttribute("aria-pressed", String(keyOf(state) === view.selected));
  button.addEventListener("click", () => choose(keyOf(state), { byHand: true }));
  return make("li", "", button);
}

function drawList() {
  const ordered = [...particles.values()].sort((a, b) => b.last.judged_at - a.last.judged_at).slice(0, KEPT);
  $("#empty").hidden = ordered.length > 0;
  // Rows keep their place while patterns arrive: a list that jumps can't be read or clicked.
  for (const state of ordered.reverse()) {
    const key = keyOf(state);
    const fresh = card(state);
    if (cards.has(key)) cards.get(key).replaceWith(fresh);
    else $("#particles").prepend(fresh);
    cards.set(key, fresh);
  }
}

function facts(state) {
  const parts = [state.final ? "run ended" : "running"];
  if (state.sample) parts.push(state.sample);
  if (state.scan_id != null) parts.push(`scan ${state.scan_id}`);
  const { model } = state.last;
  if (model) parts.push(`${model.name}/${model.version}, ${model.runtime}`);
  return parts;
}

function drawVerdict(state) {
  const found = best(state.crystal);
  const index = found ? view.groups.indexOf(found[0]) : -1;
  const big = make("div", `big-group ${found ? groupClass(index) : ""}`, found ? found[0] : "–", " ", make("small", "", found ? percent(found[1]) : "no usable pattern"));
  const words = make(
    "div", "verdict-words", make("b", "", state.particle),
    make("span", "", `${state.crystal.patterns} usable of ${state.patterns} patterns, ${state.crystal.visits} zone visits`),
    make("span", "", facts(state).join(" · ")),
  );
  const each = make("div", "each-group");
  each.title = "Bar: product over visits; tick: mean";
  view.groups.forEach((name, n) => {
    const product = make("u");
    product.style.width = `${100 * (state.crystal.product[name] ?? 0)}%`;
    const mean = make("s");
    mean.style.left = `calc(${100 * (state.crystal.mean[name] ?? 0)}% - 1px)`;
    each.append(make("span", "", name), make("i", groupClass(n), product, mean), make("span", "", percent(state.crystal.product[name] ?? 0)));
  });
  $("#verdict").replaceChildren(big, words, each);
}

function drawWords(last) {
  const node = $("#pattern-words");
  const parts = [`pattern ${last.seq_num}`];
  if (last.stated_zone) parts.push(`stated zone ${bracket(last.stated_zone)}`);
  if (last.spots) parts.push(`${last.spots} spots`);
  if (last.cell_ratio != null) parts.push(`cell ${last.cell_ratio.toFixed(3)}, ${last.cell_angle_deg.toFixed(1)}°`);
  if (last.largest_spacing_nm != null) parts.push(`d ${last.largest_spacing_nm.toFixed(4)} nm`);
  const head = make("b", last.set_aside ? "refused" : "", last.set_aside ? `${ASIDE[last.set_aside] ?? last.set_aside}` : (last.label ?? last.outcome.replaceAll("_", " ")));
  const why = last.reason ? ` ${last.reason}.` : last.members.length ? ` ${last.members.slice(0, 4).join(", ")}.` : "";
  node.replaceChildren(head, make("span", "why", why), make("span", "facts", parts.join(" · ")));
  node.title = last.reason ?? "";
}

function drawDetail() {
  const state = particles.get(view.selected);
  if (!state) return;
  drawVerdict(state);
  drawWords(state.last);
  const worth = state.next_zones.filter(([, bits]) => bits >= 0.005);
  $("#zones").replaceChildren(
    ...worth.map(([zone, bits]) => make("li", "", make("b", "", bracket(zone)), " ", make("span", "", `${bits.toFixed(2)} bit`))),
    ...(worth.length ? [] : [make("li", "wide", state.crystal.patterns ? "No zone axis would add 0.01 bit or more." : "Any zone axis.")]),
  );
  const aside = Object.entries(state.set_aside);
  $("#aside").replaceChildren(...(aside.length ? aside.map(([why, n]) => make("li", "", make("b", "", String(n)), ` ${ASIDE[why] ?? why}`)) : [make("li", "", "none")]));
  if (view.picture) drawPattern($("#pattern"), view.picture, { rings: $("#rings").checked, isAside: state.last.set_aside != null });
  $("#pattern-note").textContent = view.picture ? `event ${view.picture.seq}, ${view.picture.scale ? `${view.picture.scale.toPrecision(3)} 1/nm per pixel` : "scale unknown"}` : "";
  drawOdds($("#odds"), view.history, view.groups);
}

/** Fetch picture and history of the selected particle: one request at a time, and again if it changed meanwhile. */
async function refreshDetail() {
  view.wanted = true;
  if (view.busy) return;
  view.busy = true;
  while (view.wanted && view.selected) {
    view.wanted = false;
    const key = view.selected;
    const [uid, name] = key.split("\n");
    try {
      const [picture, history] = await Promise.all([server.patternPicture(uid, name), server.oddsHistory(uid, name)]);
      if (key === view.selected) Object.assign(view, { picture, history });
    } catch {
      // The header says that the service is not responding; keep what is shown.
    }
    drawDetail();
    await new Promise((done) => setTimeout(done, DETAIL_EVERY_MS));
  }
  view.busy = false;
}

function choose(key, { byHand = false } = {}) {
  if (!key) return;
  if (byHand) $("#follow").checked = false;
  const changed = key !== view.selected;
  view.selected = key;
  if (changed) {
    Object.assign(view, { picture: null, history: null });
    for (const [shown, node] of cards) node.firstChild.setAttribute("aria-pressed", String(shown === key));
  }
  refreshDetail();
}

let drawing = false;
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawList();
    drawDetail();
  });
}

function take(state) {
  learnGroups(state);
  const key = keyOf(state);
  particles.set(key, state);
  if (particles.size > KEPT) {
    const [oldest] = [...particles.entries()].reduce((a, b) => (b[1].last.judged_at < a[1].last.judged_at ? b : a));
    particles.delete(oldest);
    cards.get(oldest)?.remove();
    cards.delete(oldest);
  }
  if (!view.selected || $("#follow").checked || key === view.selected) choose($("#follow").checked || !view.selected ? key : view.selected);
  drawSoon();
}

async function readAll() {
  for (const state of ((await server.particles(KEPT)) ?? []).reverse()) take(state);
}

async function pollStatus() {
  try {
    view.status = await server.status();
    view.connected = true;
  } catch {
    view.connected = false;
  }
  drawHeader($("#status"), view.status, view.connected);
  const reasons = view.connected ? [...(view.status?.reasons ?? [])] : ["The service is not responding. The data shown are out of date."];
  const state = particles.get(view.selected);
  if (state?.last.set_aside === "no_model") reasons.push(state.last.reason);
  $("#notice").hidden = reasons.length === 0;
  $("#notice").textContent = reasons.join(" · ");
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("braggwatch-theme", document.documentElement.dataset.theme);
}

$("#theme").addEventListener("click", toggleTheme);
$("#rings").addEventListener("change", drawDetail);
$("#follow").addEventListener("change", drawSoon);
document.addEventListener("keydown", (event) => {
  if (event.key === "t" && !event.ctrlKey && !event.metaKey && !event.altKey) toggleTheme();
});
new ResizeObserver(drawSoon).observe($(".now"));

server.followParticles({
  onParticle: take,
  onReset: readAll,
  onConnection: (open) => (open ? readAll() : pollStatus()),
});
pollStatus();
setInterval(pollStatus, STATUS_EVERY_MS);
