// P(space group) after each pattern: stacked bands from the product rule, with the mean rule as dashed lines.

import { svg } from "./classes.js";
import { labelled } from "./format.js";

const BOX = { left: 34, right: 12, top: 6, bottom: 30 };
const NAMED_FROM = 0.16;

export const groupClass = (index) => `g${index >= 0 && index < 5 ? index : 5}`;

export function drawOdds(node, history, groups) {
  node.replaceChildren();
  const width = node.clientWidth;
  const height = node.clientHeight;
  if (!width || !height) return;
  node.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const count = history?.number.length ?? 0;
  if (!count || !groups.length) {
    node.append(svg("text", { x: width / 2, y: height / 2, class: "none" }, "no patterns yet"));
    return;
  }
  const [first, last] = [history.number[0], history.number[count - 1]];
  const px = (n) => BOX.left + ((n - first) / Math.max(1, last - first)) * (width - BOX.left - BOX.right);
  const py = (p) => height - BOX.bottom - p * (height - BOX.top - BOX.bottom);
  // A single pattern would be a point: draw it across the whole plot.
  const xs = count > 1 ? history.number.map(px) : [BOX.left, width - BOX.right];
  const at = (values, i) => values[Math.min(i, count - 1)];

  const below = xs.map(() => 0);
  const belowMean = xs.map(() => 0);
  groups.forEach((name, n) => {
    const low = [...below];
    xs.forEach((_, i) => (below[i] += at(history.product[name] ?? [], i) ?? 0));
    xs.forEach((_, i) => (belowMean[i] += at(history.mean[name] ?? [], i) ?? 0));
    const up = xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${py(below[i]).toFixed(1)}`).join("");
    const down = xs.map((x, i) => `L${x.toFixed(1)} ${py(low[i]).toFixed(1)}`).reverse().join("");
    const band = svg("path", { d: `${up}${down}Z`, class: `band ${groupClass(n)}` });
    band.append(svg("title", {}, name));
    node.append(band);
    const end = xs.length - 1;
    if (below[end] - low[end] > NAMED_FROM) {
      node.append(svg("text", { x: width - BOX.right - 22, y: py((below[end] + low[end]) / 2) + 5, class: "name" }, name));
    }
    if (n < groups.length - 1) {
      const line = xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${py(belowMean[i]).toFixed(1)}`).join("");
      node.append(svg("path", { d: line, class: "mean" }));
    }
  });
  // Draw the dashes above all bands.
  node.append(...node.querySelectorAll(".mean"));
  history.usable.forEach((usable, i) => {
    if (!usable) node.append(svg("rect", { x: px(history.number[i]) - 1, y: py(0) + 1, width: 2, height: 4, class: "missed" }));
  });
  for (const p of [0, 0.5, 1]) node.append(svg("text", { x: BOX.left - 5, y: py(p) + 4, class: "tick end" }, `${100 * p}`));
  for (const [n, words] of labelled(first, Math.max(last, first + 1), 5)) {
    if (Number.isInteger(n)) node.append(svg("text", { x: px(n), y: height - BOX.bottom + 17, class: "tick middle" }, words));
  }
  node.append(svg("text", { x: width - BOX.right, y: height - 2, class: "axis end" }, "pattern of the run →"));
  node.append(svg("text", { x: 2, y: height - 2, class: "axis" }, "%"));
}
