// Verdicts at the sample motor positions: colour and shape show the class, opacity the confidence, and a ring marks
// runs unlike the training data.

import { asFarAs, headline, kind, mark, namedClass, svg } from "./classes.js";
import { labelled, relativeOod } from "./format.js";

const BOX = { left: 44, right: 14, top: 12, bottom: 32 };

const placed = (result) => result.position.x != null && result.position.y != null;

function limits(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = (high - low) * 0.06 || Math.abs(high) * 1e-3 || 1;
  return [low - pad, high + pad];
}

function title(result) {
  const confidence = result.verdict.confidence == null ? "" : `, confidence ${result.verdict.confidence.toFixed(2)}`;
  const words = asFarAs(result);
  return `scan ${result.scan_id ?? "?"}: ${kind(headline(result)).name}${words ? `, ${words}` : ""}${confidence}`;
}

export function drawMap(node, results, selected, onSelect) {
  node.replaceChildren();
  const width = node.clientWidth;
  const height = node.clientHeight;
  node.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const shown = results.filter(placed);
  if (!shown.length) {
    node.append(svg("text", { x: width / 2, y: height / 2, class: "none" }, "no sample positions"));
    return;
  }
  const [xLow, xHigh] = limits(shown.map((r) => r.position.x));
  const [yLow, yHigh] = limits(shown.map((r) => r.position.y));
  const px = (x) => BOX.left + ((x - xLow) / (xHigh - xLow)) * (width - BOX.left - BOX.right);
  const py = (y) => height - BOX.bottom - ((y - yLow) / (yHigh - yLow)) * (height - BOX.top - BOX.bottom);
  for (const [x, words] of labelled(xLow, xHigh, 4)) {
    node.append(svg("line", { x1: px(x), x2: px(x), y1: BOX.top, y2: height - BOX.bottom, class: "grid" }));
    node.append(svg("text", { x: px(x), y: height - BOX.bottom + 14, class: "tick middle" }, words));
  }
  for (const [y, words] of labelled(yLow, yHigh, 4)) {
    node.append(svg("line", { x1: BOX.left, x2: width - BOX.right, y1: py(y), y2: py(y), class: "grid" }));
    node.append(svg("text", { x: BOX.left - 5, y: py(y) + 4, class: "tick end" }, words));
  }
  node.append(svg("text", { x: width - BOX.right, y: height - 4, class: "axis end" }, "sample x →, motor units"));
  node.append(svg("text", { x: 2, y: height - 4, class: "axis" }, "sample y ↑"));

  const scale = shown.length > 150 ? 0.6 : shown.length > 40 ? 0.75 : 0.95;
  // Oldest first, so that the newest is on top where positions repeat.
  for (const result of [...shown].reverse()) {
    const { verdict } = result;
    const strange = verdict.outcome === "out_of_distribution" || relativeOod(verdict) > 1;
    const group = svg("g", {
      transform: `translate(${px(result.position.x).toFixed(1)} ${py(result.position.y).toFixed(1)})`,
      class: "spot",
    });
    const shape = mark(namedClass(result) ?? headline(result));
    shape.setAttribute("transform", `scale(${scale}) translate(-8 -8)`);
    if (namedClass(result)) shape.setAttribute("opacity", (0.25 + 0.75 * (verdict.confidence ?? 0)).toFixed(2));
    group.append(shape);
    if (strange) group.append(svg("circle", { r: 8.5 * scale, class: "ring" }));
    if (result.run_uid === selected) group.append(svg("rect", { x: -11, y: -11, width: 22, height: 22, rx: 4, class: "chosen" }));
    group.append(svg("title", {}, title(result)));
    group.addEventListener("click", () => onSelect(result.run_uid));
    node.append(group);
  }
}
