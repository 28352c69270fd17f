// The live table: one row per run, newest first, updated in place when a revision arrives.

import { asFarAs, excludedRegion, kind, headline, look, probabilities, tag } from "./classes.js";
import { NONE, completeness, dateTime, figure, percent, relativeOod, time } from "./format.js";

function cell(className, content, title) {
  const td = document.createElement("td");
  if (className) td.className = className;
  td.append(content);
  if (title) td.title = title;
  return td;
}

function probabilityBar(result) {
  const shown = probabilities(result);
  if (!shown.length) return NONE;
  const box = document.createElement("div");
  box.className = result.verdict.label ? "prob" : "prob aside";
  const bar = document.createElement("div");
  bar.className = "prob-bar";
  const numbers = document.createElement("div");
  numbers.className = "prob-numbers";
  const best = Math.max(...shown.map(([, p]) => p));
  for (const [name, p] of shown) {
    const part = document.createElement("i");
    part.className = look(name);
    part.style.width = `${(p * 100).toFixed(2)}%`;
    bar.append(part);
    const number = document.createElement("span");
    number.className = p === best ? "best" : "";
    number.textContent = `${kind(name).letter} ${percent(p)}`;
    number.title = `${name}: ${(p * 100).toFixed(2)} %`;
    numbers.append(number);
  }
  box.append(bar, numbers);
  return box;
}

function frames(result) {
  const fraction = completeness(result);
  if (fraction == null) return [`${result.frames_received}`, "expected number unknown"];
  const words = `${result.frames_received} of ${result.frames_expected} frames`;
  return [fraction >= 1 ? `${result.frames_received}` : `${result.frames_received}/${result.frames_expected}`, words];
}

function verdictAndReason(result) {
  const box = document.createElement("div");
  box.append(tag(result));
  const words = asFarAs(result);
  if (words) {
    const limit = document.createElement("small");
    limit.className = "limits";
    limit.textContent = words;
    limit.title = [result.burgers?.statement, excludedRegion(result)].filter(Boolean).join("; ");
    box.append(limit);
  }
  const reason = result.verdict.reason ?? (result.quality?.flags ?? []).join("; ");
  if (reason) {
    const why = document.createElement("small");
    why.className = "reason";
    why.textContent = reason;
    why.title = reason;
    box.append(why);
  }
  return box;
}

function fill(row, result) {
  const { verdict } = result;
  const ood = relativeOod(verdict);
  const [frameWords, frameTitle] = frames(result);
  const wrong = result.truth && verdict.label && result.truth !== verdict.label;
  row.replaceChildren(
    cell("time", time(result.finished_at), dateTime(result.finished_at)),
    cell("num", result.scan_id == null ? NONE : `${result.scan_id}`),
    cell("sample", result.sample ?? NONE, result.sample ?? ""),
    cell("uid", result.run_uid.slice(0, 8), result.run_uid),
    cell("verdict", verdictAndReason(result)),
    cell("probability", probabilityBar(result)),
    cell("num", verdict.confidence == null ? NONE : verdict.confidence.toFixed(2)),
    cell(`num ${completeness(result) < 1 ? "alert" : ""}`, frameWords, frameTitle),
    cell(`num ${ood > 1 ? "alert" : ""}`, ood == null ? NONE : ood.toFixed(2), ood == null ? "" : `score ${figure(verdict.ood_score)}, threshold ${figure(verdict.ood_threshold)}`),
    cell(`truth ${wrong ? "alert" : ""}`, result.truth ? `${wrong ? "≠ " : ""}${result.truth}` : "", "simulated truth"),
  );
}

export class RunTable {
  constructor(table, scroll, onSelect) {
    this.table = table;
    this.body = table.tBodies[0];
    this.scroll = scroll;
    this.rows = new Map();
    this.selected = null;
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) onSelect(row.dataset.uid);
    });
  }

  /** Add or update the row of a run; rows are ordered by the time of the verdict. */
  put(result, fresh) {
    let row = this.rows.get(result.run_uid);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.uid = result.run_uid;
      row.dataset.at = result.finished_at;
      row.tabIndex = -1;
      this.rows.set(result.run_uid, row);
      let before = this.body.firstElementChild;
      while (before && Number(before.dataset.at) > result.finished_at) before = before.nextElementSibling;
      this.body.insertBefore(row, before);
    }
    row.dataset.kind = headline(result);
    fill(row, result);
    if (result.truth) this.table.classList.add("has-truth");
    if (fresh) {
      row.classList.add("fresh");
      row.addEventListener("animationend", () => row.classList.remove("fresh"), { once: true });
    }
  }

  drop(uid) {
    this.rows.get(uid)?.remove();
    this.rows.delete(uid);
  }

  clear() {
    this.body.replaceChildren();
    this.rows.clear();
    this.selected = null;
  }

  filter(uid, shown) {
    this.rows.get(uid).hidden = !shown;
  }

  select(uid, { reveal }) {
    if (this.selected) {
      this.rows.get(this.selected)?.classList.remove("selected");
      this.rows.get(this.selected)?.removeAttribute("aria-selected");
    }
    this.selected = uid;
    const row = this.rows.get(uid);
    row?.classList.add("selected");
    row?.setAttribute("aria-selected", "true");
    if (reveal) row?.scrollIntoView({ block: "nearest" });
  }

  /** The uid `step` visible rows below the selection (above where negative), or null at the end. */
  neighbour(step) {
    const visible = [...this.body.rows].filter((row) => !row.hidden);
    if (!visible.length) return null;
    const at = visible.findIndex((row) => row.dataset.uid === this.selected);
    const next = at < 0 ? 0 : at + step;
    return visible[next]?.dataset.uid ?? null;
  }
}
