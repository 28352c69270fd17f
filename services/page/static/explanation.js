// Draws an occlusion map over the slices: which blocks of the pattern the verdict depends on.

// Okabe and Ito's vermilion and blue, as in the pictures that the command line writes.
const FOR = [213, 94, 0];
const AGAINST = [0, 114, 178];
const STRONGEST = 0.85;

/** The map in the plane through the centre of one axis: the mean of the two layers of blocks that meet there. */
function plane(map, axis) {
  const n = map.length;
  const [low, high] = [n / 2 - 1, n / 2];
  const at = [(r, c, k) => map[k][r][c], (r, c, k) => map[r][k][c], (r, c, k) => map[r][c][k]][axis];
  const rows = [];
  for (let r = 0; r < n; r += 1) {
    const row = [];
    for (let c = 0; c < n; c += 1) row.push((at(r, c, low) + at(r, c, high)) / 2);
    rows.push(row);
  }
  return rows;
}

/** Lay one plane of a map over a drawn slice of `side` pixels at (x0, y0); the strongest block is the most opaque. */
export function drawOver(context, map, axis, x0, y0, side) {
  const strongest = Math.max(...map.flat(2).map(Math.abs)) || 1;
  const values = plane(map, axis);
  const n = values.length;
  const buffer = document.createElement("canvas");
  buffer.width = n;
  buffer.height = n;
  const inner = buffer.getContext("2d");
  const pixels = inner.createImageData(n, n);
  values.forEach((row, r) =>
    row.forEach((value, c) => {
      const at = ((n - 1 - r) * n + c) * 4; // the first row is the lowest q: it goes to the bottom
      pixels.data.set(value > 0 ? FOR : AGAINST, at);
      pixels.data[at + 3] = Math.round(255 * STRONGEST * Math.min(1, Math.abs(value) / strongest));
    }),
  );
  inner.putImageData(pixels, 0, 0);
  context.save();
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.beginPath();
  context.rect(x0, y0, side, side);
  context.clip();
  context.drawImage(buffer, x0, y0, side, side);
  context.restore();
}

/** One or two sentences: what the colours mean, and how far the probability drops. */
export function words(found) {
  if (found.problem) return found.problem;
  const percent = (p) => `${(100 * p).toFixed(p > 0.995 || p < 0.005 ? 2 : 0)} %`;
  const left = Math.max(0, found.probability - found.largest_drop);
  const other = found.same_model ? "" : ` Explained by ${found.model_id}, not by the model that gave the verdict.`;
  return (
    `Orange: evidence for ${found.label}; blue: evidence against it. Hiding the strongest block takes the probability of ` +
    `${found.label} from ${percent(found.probability)} to ${percent(left)}.${other}`
  );
}
