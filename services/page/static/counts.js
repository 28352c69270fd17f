// The number of runs per verdict; each is a button that filters the table.

import { CLASSES, glyph, headline, kind } from "./classes.js";

const ORDER = [...CLASSES, "unsure", "out_of_distribution", "partial", "invalid", "aborted", "timeout", "error"];

export function drawCounts(node, results, chosen, onChoose) {
  const tally = new Map(CLASSES.map((name) => [name, 0]));
  for (const result of results) tally.set(headline(result), (tally.get(headline(result)) ?? 0) + 1);
  const names = [...tally.keys()].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  const button = (name, words, count, icon) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = `count k-${name}`;
    made.setAttribute("aria-pressed", String(chosen === name));
    const number = document.createElement("b");
    number.textContent = count;
    made.append(...(icon ? [icon] : []), words, number);
    made.addEventListener("click", () => onChoose(chosen === name ? "all" : name));
    return made;
  };
  node.replaceChildren(
    button("all", "All", results.length),
    ...names.map((name) => button(name, kind(name).name, tally.get(name), glyph(name))),
  );
}
