// The summary panel of the selected run.

import { asFarAs, excludedRegion, tag, trainingNote } from "./classes.js";
import { NONE, completeness, dateTime, figure, percent, relativeOod, seconds } from "./format.js";

function fact(list, name, value, title) {
  const group = document.createElement("div");
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = name;
  dd.textContent = value;
  if (title) group.title = title;
  group.append(dt, dd);
  list.append(group);
}

function text(element, className, content) {
  const node = document.createElement(element);
  node.className = className;
  node.textContent = content;
  return node;
}

function link(words, href) {
  const node = text("a", "quiet", words);
  node.href = href;
  return node;
}

export function drawSummary(node, result) {
  if (!result) {
    node.replaceChildren(text("p", "hint", "Select a run. Keys: j/k or arrows: next/previous, f: follow newest, /: filter, w: explain the verdict, t: light/dark."));
    return;
  }
  const { verdict, quality } = result;
  const head = document.createElement("div");
  head.className = "summary-head";
  const title = text("h2", "", `Scan ${result.scan_id ?? NONE}`);
  head.append(tag(result), title, text("span", "muted", result.sample ?? ""));
  const uid = text("code", "fulluid", result.run_uid);

  const facts = document.createElement("dl");
  const fraction = completeness(result);
  const ood = relativeOod(verdict);
  fact(facts, "Confidence", verdict.confidence == null ? NONE : verdict.confidence.toFixed(3));
  fact(facts, "Can't rule out", verdict.prediction_set.join(", ") || NONE, "Class-conditional conformal set");
  fact(facts, "OOD / threshold", ood == null ? NONE : figure(ood, 3), "Above 1: unlike the training data");
  fact(facts, "Frames", fraction == null ? `${result.frames_received}` : `${result.frames_received} of ${result.frames_expected} (${percent(fraction)} %)`);
  fact(facts, "Size L", quality?.size_nm == null ? NONE : `${figure(quality.size_nm)} nm${quality.scale_valid ? "" : " ?"}`);
  fact(facts, "Voxel", quality ? `${figure(quality.voxel_size_inv_A)} 1/Å` : NONE);
  fact(facts, "d", quality ? `${figure(quality.d_spacing_A, 5)} Å` : NONE, quality?.d_deviation == null ? "" : `${figure(quality.d_deviation * 100)} % from the stated reflection`);
  fact(facts, "Geometry", quality?.geometry?.verdict ?? NONE, quality?.geometry?.statement ?? "");
  fact(facts, "Peak", quality ? `${figure(quality.peak_counts)} counts` : NONE);
  fact(facts, "Coverage", quality ? `${percent(quality.coverage)} %` : NONE, "Fraction of the model input that was measured");
  fact(facts, "Latency", seconds(result.latency_s), "From the last document to the verdict");

  const parts = [head, uid];
  const words = asFarAs(result);
  if (words) parts.push(text("p", "limits", `${verdict.label}, ${words}`));
  if (result.burgers) parts.push(text("p", "excludes", result.burgers.statement));
  const note = trainingNote(result);
  if (note) parts.push(text("p", "flags", note));
  const region = excludedRegion(result);
  if (region) parts.push(text("p", "excludes", region));
  if (verdict.prior) parts.push(text("p", "excludes", `weighted by the site's prior: ${Object.entries(verdict.prior).map(([name, share]) => `${name} ${figure(share, 2)}`).join(", ")}`));
  if (verdict.reason) parts.push(text("p", "why", verdict.reason));
  if (quality?.flags.length) parts.push(text("p", "flags", quality.flags.join("; ")));
  parts.push(facts);
  const foot = document.createElement("div");
  foot.className = "foot";
  const model = verdict.model ? `${verdict.model.name}/${verdict.model.version}` : "no model ran";
  const path = `/runs/${encodeURIComponent(result.run_uid)}`;
  foot.append(text("span", "muted", `${dateTime(result.finished_at)} · rev. ${result.revision} · ${model}`));
  if (quality && !quality.invalid_reason) foot.append(link("NPZ", `${path}/model-input.npz`));
  foot.append(link("JSON", path));
  parts.push(foot);
  node.replaceChildren(...parts);
}
