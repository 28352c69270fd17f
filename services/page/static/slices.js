// Three central slices through the model input on one logarithmic colour scale, with axes in 10⁻³ 1/Å.

import { COLORMAP } from "./colormap.js";
import { drawOver } from "./explanation.js";
import { labelled } from "./format.js";

const AXES = ["q∥", "q⊥1", "q⊥2"];
// Plane k is the cut at the centre of axis k; these are the axes of its rows and columns.
const PLANES = [[1, 2], [0, 2], [0, 1]];
const MARGIN = { right: 2, top: 18, bottom: 20 };
const LABELS_WIDTH = 28; // only the first plane has tick labels on its rows: all three share one scale

function prepared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  context.font = `11px ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.strokeStyle = style.color;
  context.lineWidth = 1;
  return { context, width, height };
}

function image(values, rows, columns, highest) {
  const buffer = document.createElement("canvas");
  buffer.width = columns;
  buffer.height = rows;
  const context = buffer.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  const scale = highest > 0 ? 255 / highest : 0;
  for (let r = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1) {
      const level = Math.max(0, Math.min(255, Math.round(values[r * columns + c] * scale)));
      const at = ((rows - 1 - r) * columns + c) * 4; // the first row has the lowest q and goes to the bottom
      pixels.data[at] = COLORMAP[level * 3];
      pixels.data[at + 1] = COLORMAP[level * 3 + 1];
      pixels.data[at + 2] = COLORMAP[level * 3 + 2];
      pixels.data[at + 3] = 255;
    }
  }
  context.putImageData(pixels, 0, 0);
  return buffer;
}

const leftOf = (plane) => (plane === 0 ? LABELS_WIDTH : 4);

function drawPlane(canvas, values, size, voxel, highest, plane, side, map) {
  const { context } = prepared(canvas);
  const x0 = leftOf(plane);
  const y0 = MARGIN.top;
  context.imageSmoothingEnabled = false;
  context.filter = map ? "grayscale(1)" : "none";
  context.drawImage(image(values, size, size, highest), x0, y0, side, side);
  context.filter = "none";
  if (map) drawOver(context, map, plane, x0, y0, side);
  context.strokeRect(x0 - 0.5, y0 - 0.5, side + 1, side + 1);

  // The centre voxel (size / 2) is q = 0; axes show 10⁻³ 1/Å, or voxels where the size is unknown.
  const unit = voxel ? voxel * 1e3 : 1;
  const [low, high] = [-(size / 2 + 0.5) * unit, (size / 2 - 0.5) * unit];
  const at = (value) => ((value - low) / (high - low)) * side;
  context.textBaseline = "top";
  context.textAlign = "center";
  for (const [value, words] of labelled(low, high, 4)) {
    context.fillRect(x0 + at(value) - 0.5, y0 + side, 1, 3);
    context.fillText(words, x0 + at(value), y0 + side + 5);
  }
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const [value, words] of labelled(low, high, 4)) {
    context.fillRect(x0 - 3, y0 + side - at(value) - 0.5, 3, 1);
    if (plane === 0) context.fillText(words, x0 - 5, y0 + side - at(value));
  }
  const [row, column] = PLANES[plane];
  context.font = context.font.replace("11px", "600 12px");
  context.textAlign = "left";
  context.textBaseline = "bottom";
  context.fillText(`${AXES[row]} ↑`, x0, y0 - 3);
  context.textAlign = "right";
  context.fillText(`${AXES[column]} →`, x0 + side, y0 - 3);
}

function drawColorbar(canvas, highest, side) {
  const { context } = prepared(canvas);
  const y0 = MARGIN.top;
  for (let y = 0; y < side; y += 1) {
    const level = Math.round(255 * (1 - y / (side - 1)));
    context.fillStyle = `rgb(${COLORMAP[level * 3]} ${COLORMAP[level * 3 + 1]} ${COLORMAP[level * 3 + 2]})`;
    context.fillRect(2, y0 + y, 12, 1.5);
  }
  context.fillStyle = getComputedStyle(canvas).color;
  context.strokeRect(1.5, y0 - 0.5, 13, side + 1);
  context.textAlign = "left";
  context.textBaseline = "middle";
  const peak = 10 ** highest - 1;
  const marks = [0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6].filter((counts) => counts <= peak);
  for (const counts of marks) {
    const y = y0 + side * (1 - Math.log10(1 + counts) / (highest || 1));
    context.fillRect(14, y - 0.5, 3, 1);
    context.fillText(counts >= 1e4 ? `10${"⁴⁵⁶"[Math.log10(counts) - 4]}` : `${counts}`, 19, y);
  }
  context.textBaseline = "bottom";
  context.fillText("counts", 2, y0 - 3);
}

/**
 * Draw all three planes and the colour bar; returns the highest count shown, or null if there is no data.
 * With `map`, (8, 8, 8) nested lists, the slices are drawn in grey with the map over them.
 */
export function drawSlices(canvases, colorbar, data, map = null) {
  const side = Math.floor(Math.min(...canvases.map((canvas, plane) => canvas.clientWidth - leftOf(plane) - MARGIN.right)));
  for (const canvas of [...canvases, colorbar]) canvas.style.height = `${side + MARGIN.top + MARGIN.bottom}px`;
  if (!data) {
    for (const canvas of [...canvases, colorbar]) prepared(canvas);
    return null;
  }
  const size = data.shape[1];
  const highest = data.values.reduce((most, value) => Math.max(most, value), 0);
  canvases.forEach((canvas, plane) => {
    const values = data.values.subarray(plane * size * size, (plane + 1) * size * size);
    drawPlane(canvas, values, size, data.voxel, highest, plane, side, map);
  });
  drawColorbar(colorbar, highest, side);
  return 10 ** highest - 1;
}
