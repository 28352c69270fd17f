// Rocking curve: summed counts of each frame against the scanned angle.

import { svg } from "./classes.js";
import { labelled } from "./format.js";

const BOX = { left: 44, right: 10, top: 10, bottom: 32 };

export function drawRocking(node, curve) {
  node.replaceChildren();
  const width = node.clientWidth;
  const height = node.clientHeight;
  node.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const points = (curve?.counts ?? []).map((y, i) => [curve.x[i], y]).filter(([x, y]) => x != null && y != null);
  if (!points.length) {
    node.append(svg("text", { x: width / 2, y: height / 2, class: "none" }, "not stored for this run"));
    return;
  }
  points.sort((a, b) => a[0] - b[0]);
  const xs = points.map(([x]) => x);
  const [xLow, xHigh] = [xs[0], xs[xs.length - 1]];
  const yHigh = Math.max(...points.map(([, y]) => y), 1e-12) * 1.05;
  const px = (x) => BOX.left + ((x - xLow) / (xHigh - xLow || 1)) * (width - BOX.left - BOX.right);
  const py = (y) => height - BOX.bottom - (y / yHigh) * (height - BOX.top - BOX.bottom);

  for (const [y, words] of labelled(0, yHigh, 3)) {
    node.append(svg("line", { x1: BOX.left, x2: width - BOX.right, y1: py(y), y2: py(y), class: "grid" }));
    node.append(svg("text", { x: BOX.left - 5, y: py(y) + 4, class: "tick end" }, words));
  }
  for (const [x, words] of labelled(xLow, xHigh, 3)) {
    node.append(svg("text", { x: px(x), y: height - BOX.bottom + 14, class: "tick middle" }, words));
  }
  node.append(svg("text", { x: width - BOX.right, y: height - 4, class: "axis end" }, `${curve.x_label} →`));
  node.append(svg("text", { x: 2, y: height - 4, class: "axis" }, "counts ↑"));

  const path = points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
  node.append(svg("path", { d: `${path}L${px(xHigh)} ${py(0)}L${px(xLow)} ${py(0)}Z`, class: "area" }));
  node.append(svg("path", { d: path, class: "curve" }));
  for (const [x, y] of points) node.append(svg("circle", { cx: px(x), cy: py(y), r: 1.6, class: "point" }));
}
