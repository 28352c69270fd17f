// Holds the state of the rocking-curve page and passes it to the modules that draw it.

import { headline, learnClasses, setClasses } from "./classes.js";
import { drawCounts } from "./counts.js";
import { words as explained } from "./explanation.js";
import { ScansInProgress } from "./scans_in_progress.js";
import { drawHeader } from "./header.js";
import { drawMap } from "./map.js";
import { drawRocking } from "./rocking.js";
import * as server from "./server.js";
import { drawSlices } from "./slices.js";
import { drawSummary } from "./summary.js";
import { RunTable } from "./table.js";
import { figure } from "./format.js";

const KEPT = 500;
const STATUS_EVERY_MS = 2000;
const $ = (selector) => document.querySelector(selector);

const results = new Map();
const view = { selected: null, kind: "all", words: "", connected: false, status: null, slices: null, rocking: null, why: null };
const canvases = [...document.querySelectorAll("canvas[data-slice]")];
const table = new RunTable($("#runs"), $("#scroll"), (uid) => choose(uid, { byHand: true }));

const inProgress = new ScansInProgress($("#in-progress"));

const newestFirst = () => [...results.values()].sort((a, b) => b.finished_at - a.finished_at);

function matches(result) {
  if (view.kind !== "all" && headline(result) !== view.kind) return false;
  if (!view.words) return true;
  const hay = `${result.sample ?? ""} ${result.scan_id ?? ""} ${result.run_uid}`.toLowerCase();
  return hay.includes(view.words);
}

function applyFilter() {
  let shown = 0;
  for (const result of results.values()) {
    const visible = matches(result);
    table.filter(result.run_uid, visible);
    shown += visible ? 1 : 0;
  }
  $("#empty").hidden = shown > 0;
  $("#empty").textContent = results.size
    ? "No run matches the filter."
    : "No runs yet. The first verdict will appear here.";
}

function drawOverview() {
  const ordered = newestFirst();
  drawCounts($("#counts"), ordered, view.kind, (name) => {
    view.kind = name;
    applyFilter();
    drawOverview();
  });
  drawMap($("#map"), ordered.filter(matches), view.selected, (uid) => choose(uid, { byHand: true }));
}

function drawArrays() {
  const peak = drawSlices(canvases, $("#colorbar"), view.slices, view.why?.log_odds_drop ?? null);
  const voxel = view.slices?.voxel;
  $("#slices-note").textContent =
    peak == null
      ? "no model input stored for this run"
      : `axes ${voxel ? `10⁻³ Å⁻¹, voxel ${figure(voxel)} Å⁻¹` : "in voxels"}, peak ${figure(peak)} counts`;
  drawRocking($("#rocking"), view.rocking);
}

let overviewDue = false;
function drawSoon() {
  if (overviewDue) return;
  overviewDue = true;
  requestAnimationFrame(() => {
    overviewDue = false;
    applyFilter();
    drawOverview();
  });
}

async function choose(uid, { byHand = false } = {}) {
  if (!uid || !results.has(uid)) return;
  if (byHand) $("#follow").checked = uid === newestFirst()[0].run_uid && $("#follow").checked;
  view.selected = uid;
  table.select(uid, { reveal: true });
  drawSummary($("#summary"), results.get(uid));
  drawSoon();
  const [slices, rocking] = await Promise.allSettled([server.slices(uid), server.rocking(uid)]);
  if (view.selected !== uid) return; // another run has been chosen in the meantime
  view.slices = slices.value ?? null;
  view.rocking = rocking.value ?? null;
  showWhy(null);
  drawArrays();
}

function showWhy(found, note = found ? explained(found) : "") {
  view.why = found;
  const answered = Object.keys(results.get(view.selected)?.verdict.probabilities ?? {}).length > 0;
  $("#why").disabled = !answered;
  $("#why").setAttribute("aria-pressed", String(Boolean(note)));
  $("#why-note").textContent = note;
  $("#why-note").hidden = !note;
}

/** Toggle the explanation over the slices. */
async function toggleWhy() {
  if ($("#why").disabled) return;
  const uid = view.selected;
  if ($("#why").getAttribute("aria-pressed") === "true") {
    showWhy(null);
    drawArrays();
    return;
  }
  $("#follow").checked = false; // stay on the run being explained
  showWhy(null, "Hiding each part of the pattern in turn; this takes a few seconds …");
  let found;
  try {
    found = await server.explanation(uid);
  } catch {
    found = { problem: "The service is not responding." };
  }
  // Another run has been chosen in the meantime, or the button pressed again.
  if (view.selected !== uid || $("#why").getAttribute("aria-pressed") !== "true") return;
  showWhy(found);
  drawArrays();
}

function take(result, fresh) {
  inProgress.end(result.run_uid);
  learnClasses(result);
  const known = results.get(result.run_uid);
  if (known && known.revision >= result.revision) return;
  results.set(result.run_uid, result);
  table.put(result, fresh);
  if (results.size > KEPT) {
    const oldest = newestFirst().at(-1).run_uid;
    results.delete(oldest);
    table.drop(oldest);
  }
  const newest = fresh && newestFirst()[0].run_uid === result.run_uid;
  if (($("#follow").checked && newest && matches(result)) || view.selected === result.run_uid) choose(result.run_uid);
}

function showProvisional(provisional) {
  learnClasses(provisional);
  inProgress.put(provisional);
}

async function readAll() {
  let list;
  try {
    setClasses(await server.classes());
    for (const result of results.values()) learnClasses(result);
    list = await server.latest(KEPT);
  } catch {
    return pollStatus(); // the stream reconnects on its own, and the list is then read again
  }
  for (const result of [...list].reverse()) take(result, false);
  for (const provisional of (await server.provisionals().catch(() => null)) ?? []) {
    if (!results.has(provisional.run_uid)) showProvisional(provisional);
  }
  drawSoon();
  if (!view.selected || $("#follow").checked) choose(newestFirst().find(matches)?.run_uid);
}

async function restart() {
  results.clear();
  table.clear();
  inProgress.clear();
  view.selected = null;
  await readAll();
}

async function pollStatus() {
  try {
    view.status = await server.status();
    view.connected = true;
  } catch {
    view.connected = false;
  }
  drawHeader($("#status"), view.status, view.connected);
  const reasons = view.connected ? (view.status?.reasons ?? []) : ["The service does not answer. Rows below are from before."];
  $("#notice").hidden = reasons.length === 0;
  $("#notice").textContent = reasons.join(" · ");
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("braggwatch-theme", document.documentElement.dataset.theme);
  drawArrays();
}

const KEYS = {
  j: () => choose(table.neighbour(1), { byHand: true }),
  ArrowDown: () => choose(table.neighbour(1), { byHand: true }),
  k: () => choose(table.neighbour(-1), { byHand: true }),
  ArrowUp: () => choose(table.neighbour(-1), { byHand: true }),
  f: () => $("#follow").click(),
  t: toggleTheme,
  w: toggleWhy,
  "/": () => $("#search").focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement && event.target.type === "search") {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

$("#search").addEventListener("input", (event) => {
  view.words = event.target.value.trim().toLowerCase();
  drawSoon();
});
$("#follow").addEventListener("change", (event) => {
  if (event.target.checked) choose(newestFirst().find(matches)?.run_uid);
});
$("#theme").addEventListener("click", toggleTheme);
$("#why").addEventListener("click", toggleWhy);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawArrays);
new ResizeObserver(() => {
  drawArrays();
  drawSoon();
}).observe($(".detail"));

drawSummary($("#summary"), null);
server.follow({
  onResult: (result) => {
    take(result, true);
    drawSoon();
  },
  onProvisional: (provisional) => results.has(provisional.run_uid) || showProvisional(provisional),
  onReset: restart,
  // Read the list whenever the stream (re)opens: what came before it did is not sent again.
  onConnection: (open) => (open ? readAll() : pollStatus()),
});
pollStatus();
setInterval(pollStatus, STATUS_EVERY_MS);
