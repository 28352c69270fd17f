// Draws the newest diffraction pattern in the magma colour map, with a ring around each spot found.

import { COLORMAP } from "./colormap.js";

const RING = "rgba(120, 230, 255, 0.95)";
const FAINT = "rgba(120, 230, 255, 0.55)";

export function drawPattern(canvas, picture, { rings, isAside }) {
  const { rows, columns, values, spots, centre } = picture;
  const stage = canvas.parentElement;
  const side = Math.max(64, Math.min(stage.clientWidth / columns, stage.clientHeight / rows) * columns);
  const ratio = window.devicePixelRatio || 1;
  const zoom = (side * ratio) / columns;
  canvas.width = Math.round(columns * zoom);
  canvas.height = Math.round(rows * zoom);
  canvas.style.width = `${canvas.width / ratio}px`;
  canvas.style.height = `${canvas.height / ratio}px`;

  const buffer = document.createElement("canvas");
  buffer.width = columns;
  buffer.height = rows;
  const inner = buffer.getContext("2d");
  const pixels = inner.createImageData(columns, rows);
  for (let i = 0; i < values.length; i += 1) {
    const at = 3 * values[i];
    pixels.data[4 * i] = COLORMAP[at];
    pixels.data[4 * i + 1] = COLORMAP[at + 1];
    pixels.data[4 * i + 2] = COLORMAP[at + 2];
    pixels.data[4 * i + 3] = 255;
  }
  inner.putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(buffer, 0, 0, canvas.width, canvas.height);
  canvas.dataset.seq = picture.seq;
  canvas.dataset.spots = spots.length;
  if (!rings) return;

  // Coordinates refer to pixel centres.
  const place = (x) => (x + 0.5) * zoom;
  context.lineWidth = 1.3 * ratio;
  for (const [x, y, intensity] of spots) {
    context.strokeStyle = isAside ? FAINT : RING;
    context.globalAlpha = 0.45 + 0.55 * Math.sqrt(intensity);
    context.beginPath();
    context.arc(place(x), place(y), (3.2 + 2.2 * Math.sqrt(intensity)) * zoom, 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
  if (!centre) return;
  const [x, y] = centre.map(place);
  const arm = 7 * zoom;
  context.strokeStyle = "#ffffff";
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  context.moveTo(x, y - arm);
  context.lineTo(x, y + arm);
  context.stroke();
}
