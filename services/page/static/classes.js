// How each verdict is drawn: a letter and a shape besides the colour, so that colour is never the only cue. The model says
// which classes there are; the first few always look the same, whatever their names.

const SVG = "http://www.w3.org/2000/svg";

/** The class of a crystal in which nothing was seen: it says no more than its reflection can see. */
const NOTHING_SEEN = "perfect";

const known = [];

/** Classes in the order of the model's outputs; behind them those that only records of other models name. */
export const classes = () => [...known];

/** Begin anew with a model's classes. */
export function setClasses(names) {
  known.splice(0, known.length, ...names);
}

/** Add the classes that a record names and the model doesn't. */
export function learnClasses(result) {
  const { label, probabilities: given } = result.verdict;
  const named = [...Object.keys(given), ...(label == null ? [] : [label])];
  for (const name of named) if (!known.includes(name)) known.push(name);
}

const SHAPES = ["circle", "diamond", "triangle", "square", "wedge", "hexagon"]; // as many as style.css has colours

const OUTCOMES = {
  partial: { letter: "½", name: "partial", shape: "half" },
  unsure: { letter: "?", name: "unsure", shape: "hollow" },
  out_of_distribution: { letter: "!", name: "unlike training", shape: "cross" },
  invalid: { letter: "×", name: "invalid", shape: "cross" },
  aborted: { letter: "–", name: "aborted", shape: "dash" },
  timeout: { letter: "…", name: "timeout", shape: "dash" },
  error: { letter: "×", name: "error", shape: "cross" },
};

const PATHS = {
  circle: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z",
  diamond: "M8 1.5l6.5 6.5l-6.5 6.5l-6.5-6.5z",
  triangle: "M8 2l6.5 11.5h-13z",
  square: "M3 3h10v10h-10z",
  wedge: "M8 14l6.5-11.5h-13z",
  hexagon: "M8 2l5.2 3v6l-5.2 3l-5.2-3v-6z",
  hollow: "M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
  half: "M8 2.5a5.5 5.5 0 0 0 0 11z",
  cross: "M4 4l8 8M12 4l-8 8",
  dash: "M3 8h10",
};
const STROKED = new Set(["hollow", "cross", "dash"]);

/** The word shown for a result: its class if it has one, else its outcome. */
export function headline(result) {
  const { outcome, label } = result.verdict;
  return outcome === "classified" && label ? label : outcome;
}

/** The class of a result, also of a partial one; null if it has none. */
export function namedClass(result) {
  return result.verdict.label ?? null;
}

function letter(name) {
  const initial = (word) => word.slice(0, 1).toUpperCase();
  const before = known.slice(0, Math.max(0, known.indexOf(name)));
  const taken = before.some((other) => initial(other) === initial(name));
  return initial(name) + (taken ? name.slice(1, 2) : "");
}

export function kind(name) {
  const at = known.indexOf(name);
  if (at < 0) return OUTCOMES[name] ?? { letter: letter(name), name, shape: "hollow" };
  return { letter: letter(name), name: name.replaceAll("_", " "), shape: SHAPES[at % SHAPES.length] };
}

/** The CSS classes that colour what stands for a class or an outcome. */
export function look(name) {
  const at = known.indexOf(name);
  const word = `k-${name.replace(/[^A-Za-z0-9_-]+/g, "-")}`;
  return at < 0 ? word : `${word} named class-${at % SHAPES.length}`;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A shape within a 16 by 16 box centred on (0, 0), coloured by its class through CSS. */
export function mark(name) {
  const { shape } = kind(name);
  return svg("path", {
    d: PATHS[shape],
    transform: "translate(-8 -8)",
    class: `mark ${look(name)} ${STROKED.has(shape) ? "stroked" : "filled"}`,
  });
}

export function glyph(name) {
  return svg("svg", { viewBox: "-8 -8 16 16", class: "glyph", "aria-hidden": "true" }, mark(name));
}

/** The limits of a "perfect" verdict: a reflection doesn't show dislocations whose g·b is 0. Null for other classes. */
export function asFarAs(result) {
  if (namedClass(result) !== NOTHING_SEEN) return null;
  const { region } = result.verdict;
  const reach = region ? `within ${region.radius.toFixed(2)} of the size from the centre` : "how far from the centre is unknown";
  return `${result.burgers?.short ?? "as far as its reflection sees"}; ${reach}`;
}

/** How far from the centre a "perfect" verdict excludes lines, in full; null for other classes. */
export function excludedRegion(result) {
  if (namedClass(result) !== NOTHING_SEEN) return null;
  const { region } = result.verdict;
  if (!region) return "how far from the centre this model finds lines is not known: a line near the rim may be missed";
  return (
    `no line of the seen Burgers directions within ${region.radius.toFixed(2)} of the size from the centre ` +
    `(at least ${Math.round(100 * region.share)}% of such lines were found in tests); further out it can't tell`
  );
}

/** What is to be said where a class stands though the model wasn't, or may not be, trained for the crystal; else null. */
export function trainingNote(result) {
  const trained = result.trained_for;
  if (!trained || trained.answer === "yes" || result.verdict.reason?.includes(trained.statement)) return null;
  return trained.statement;
}

function reflection(result) {
  const hkl = result.burgers?.hkl;
  if (!hkl) return "an unknown hkl";
  return hkl.join(hkl.every((index) => Math.abs(index) < 10) ? "" : " ");
}

export function tag(result) {
  const name = headline(result);
  const shown = document.createElement("span");
  shown.className = `tag ${look(name)}`;
  const label = namedClass(result);
  const shownClass = label === NOTHING_SEEN ? `${label} at ${reflection(result)}` : label && kind(label).name;
  const words = name === "partial" && label ? `${shownClass}, partial` : (name === label && shownClass) || kind(name).name;
  const untrained = label && result.trained_for?.answer === "no" ? ", not trained for" : "";
  shown.append(glyph(name === "partial" && label ? label : name), words + untrained);
  return shown;
}

/** Class probabilities in the model's order, followed by classes that it doesn't have. */
export function probabilities(result) {
  const given = result.verdict.probabilities;
  return known.filter((name) => name in given).map((name) => [name, given[name]]);
}
