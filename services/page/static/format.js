// Numbers and times as the page writes them.

const TIME = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
// The Swedish locale writes dates as ISO 8601, which users from any country read the same way.
const DAY = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

export const NONE = "–";

export const time = (seconds) => TIME.format(new Date(seconds * 1000));
export const dateTime = (seconds) => DAY.format(new Date(seconds * 1000));
export const percent = (fraction) => (fraction == null ? NONE : `${Math.round(fraction * 100)}`);

/** A number to `digits` significant figures; with an exponent only if very small or large. */
export function figure(value, digits = 3) {
  if (value == null || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 1).replace("e+", "e");
  return Number(value.toPrecision(digits)).toString();
}

export function seconds(value) {
  if (value == null || !Number.isFinite(value)) return NONE;
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${figure(value, 2)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return `${Math.round(value / 3600)} h`;
}

/** Out-of-distribution score relative to its threshold. */
export function relativeOod(verdict) {
  if (verdict.ood_score == null || !verdict.ood_threshold) return null;
  return verdict.ood_score / verdict.ood_threshold;
}

export const completeness = (result) =>
  result.frames_expected ? result.frames_received / result.frames_expected : null;

/** Round tick positions over [low, high], about `count` of them. */
function ticks(low, high, count = 4) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? 10 * power;
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * span; i += 1) out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** Pairs of tick position and label, with as many decimals as the step needs. */
export function labelled(low, high, count) {
  const values = ticks(low, high, count);
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : 1;
  const decimals = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)));
  const large = values.some((value) => Math.abs(value) >= 1e5);
  return values.map((value) => [value, (large ? figure(value, 2) : value.toFixed(decimals)).replace("-", "−")]);
}
