// The list of scans in progress: the newest provisional verdict on each, until its final record arrives.

import { asFarAs, tag } from "./classes.js";

function item(provisional) {
  const { verdict, frames_received: received, frames_expected: expected } = provisional;
  const line = document.createElement("li");
  line.dataset.uid = provisional.run_uid;
  line.dataset.at = provisional.made_at;
  const progress = document.createElement("progress");
  progress.max = expected;
  progress.value = received;
  progress.title = `${received} of ${expected}frames at this verdict`;
  const what = document.createElement("span");
  what.textContent = [`scan ${provisional.scan_id ?? provisional.run_uid.slice(0, 8)}`, provisional.sample].filter(Boolean).join(", ");
  const words = document.createElement("small");
  const sure = verdict.confidence == null ? "" : `${verdict.confidence.toFixed(2)} `;
  words.textContent = `${sure}so far, ${Math.round((100 * received) / expected)} % of the frames`;
  words.title = [asFarAs(provisional), verdict.reason].filter(Boolean).join("; ");
  line.append(tag(provisional), what, words, progress);
  return line;
}

export class ScansInProgress {
  constructor(list) {
    this.list = list;
    this.items = new Map();
  }

  /** Show a provisional verdict unless a newer one is shown: the list and the event stream may arrive out of order. */
  put(provisional) {
    const shown = this.items.get(provisional.run_uid);
    if (shown && Number(shown.dataset.at) >= provisional.made_at) return;
    const line = item(provisional);
    shown?.remove();
    this.items.set(provisional.run_uid, line);
    this.list.append(line);
    this.list.hidden = false;
  }

  end(uid) {
    this.items.get(uid)?.remove();
    this.items.delete(uid);
    this.list.hidden = this.items.size === 0;
  }

  clear() {
    for (const uid of [...this.items.keys()]) this.end(uid);
  }
}
