// The number of runs per verdict; each is a button that filters the table.

import { classes, glyph, headline, kind, look } from "./classes.js";

const OUTCOMES = ["unsure", "out_of_distribution", "partial", "invalid", "aborted", "timeout", "error"];

export function drawCounts(node, results, chosen, onChoose) {
  const order = [...classes(), ...OUTCOMES];
  const tally = new Map(classes().map((name) => [name, 0]));
  for (const result of results) tally.set(headline(result), (tally.get(headline(result)) ?? 0) + 1);
  const names = [...tally.keys()].sort((a, b) => order.indexOf(a) - order.indexOf(b));
  const button = (name, words, count, icon) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = `count ${look(name)}`;
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
