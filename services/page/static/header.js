// The page header: state of the service, lag, lost documents, inference engine and model.

import { figure, seconds } from "./format.js";

function chip(name, value, { level = "", title = "" } = {}) {
  const node = document.createElement("span");
  node.className = `chip ${level}`;
  node.title = title;
  const label = document.createElement("b");
  label.textContent = name;
  node.append(label, value);
  return node;
}

const STATES = {
  ready: ["Live", "good", "●"],
  degraded: ["Degraded", "warn", "◐"],
  starting: ["Starting", "warn", "○"],
  not_ready: ["Not ready", "bad", "▲"],
  stopping: ["Stopping", "warn", "○"],
  unresponsive: ["Stalled", "bad", "▲"],
};

export function drawHeader(node, status, connected) {
  const parts = [];
  if (!connected || !status) {
    parts.push(chip("▲ Disconnected", "", { level: "state bad", title: "The service is not responding; retrying." }));
  } else {
    const [word, level, sign] = STATES[status.state] ?? [status.state, "warn", "○"];
    parts.push(chip(`${sign} ${word}`, "", { level: `state ${level}`, title: status.reasons.join("\n") }));
  }
  if (status) {
    const age = status.last_document_age_s;
    parts.push(chip("last document", age == null ? "none yet" : `${seconds(age)} ago`));
    parts.push(chip("lag", seconds(status.lag_s), { title: "Stop document to verdict, last run" }));
    parts.push(chip("lost", figure(status.lost_documents, 6), { level: status.lost_documents > 0 ? "warn" : "", title: "Documents lost in transit" }));
    parts.push(chip("open", figure(status.runs_open, 6), { title: "Runs being assembled" }));
    if (status.runs_unrecorded > 0) {
      parts.push(chip("no record", figure(status.runs_unrecorded, 6), { level: "warn", title: `Runs that ended without a record; the newest: ${status.newest_unrecorded}` }));
    }
    parts.push(chip("engine", status.runtime ?? "–", { level: status.state === "degraded" ? "warn" : "" }));
    if (status.model_id) {
      parts.push(chip("model", `${status.model_id} · ${status.model_sha256.slice(0, 8)}`, { title: `sha256 ${status.model_sha256}` }));
    }
  }
  node.replaceChildren(...parts);
}
