"""Score a bundle for electron diffraction on patterns of structures that it never saw, thin foils and thick ones.

Run: ``python docs/measure_sadp_accuracy.py --data data/sadp --thick data/sadp-thick --bundle
models/bundles/sadp-cubic/1.3.0``
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.models.sadp.augmentation import MicroscopeSettings, measured_maps, undisturbed
from braggwatch.models.sadp.crystal import combine
from braggwatch.models.sadp.groups import GroupTable
from braggwatch.models.sadp.samples import padded_spots
from braggwatch.models.sadp.task import group_table
from braggwatch.sim.sadp.pattern_files import read_patterns
from braggwatch.sim.sadp.pattern_set import PatternSet
from braggwatch.sim.sadp.splits import validation_structures
from braggwatch.sim.sadp.visibility import shows_lattice

COPIES = 8
EDGES_A = (50.0, 100.0, 200.0, 400.0, 700.0, 1000.0)
ENSEMBLES = (1, 2, 4, 8, 16)
CONDITIONS = {
    "floor 0.4 %": undisturbed(4e-3),
    "floor 0.1 %": undisturbed(1e-3),
    "floor 0.01 %": undisturbed(1e-4),
    "microscope": MicroscopeSettings(),
}


@dataclass(frozen=True)
class Network:
    """What runs a bundle's network, and the shape of the maps that it takes."""

    runtime: Runtime
    shape: tuple[int, ...]

    def mean(
        self, spots: NDArray[np.float32], seeds: NDArray[np.int64], settings: MicroscopeSettings
    ) -> NDArray[np.float64]:
        """Mean probabilities of spot lists over their equivalent bases, (N, K)."""
        maps = measured_maps(spots, seeds, settings, COPIES, self.shape)
        output = self.runtime.run(np.ascontiguousarray(maps.reshape(-1, *self.shape))).probabilities
        mean = output.astype(np.float64).reshape(len(spots), COPIES, -1).mean(axis=1)
        return mean / mean.sum(axis=1, keepdims=True)


def probabilities(
    network: Network, patterns: PatternSet, chosen: NDArray[np.int64], settings: MicroscopeSettings
) -> NDArray[np.float64]:
    """Mean probabilities of each pattern over its equivalent bases, (N, K)."""
    found: list[NDArray[np.float64]] = []
    for at in range(0, len(chosen), 64):
        part = chosen[at : at + 64]
        found.append(network.mean(padded_spots(patterns, part), part + 31_000, settings))
    return np.concatenate(found)


def groups_from_several(
    scores: NDArray[np.float64], patterns: PatternSet, chosen: NDArray[np.int64], table: GroupTable
) -> dict[str, dict[int, float]]:
    """Share of crystals whose space group comes out right, by rule and number of zones; four walks a crystal."""
    rng = np.random.default_rng(8)
    right: dict[str, dict[int, list[float]]] = {"product": {}, "mean": {}}
    for number in np.unique(patterns.structure[chosen]):
        own = np.flatnonzero(patterns.structure[chosen] == number)
        truth = table.groups.index(str(patterns.structures[int(number)].space_group))
        for _ in range(4):
            shuffled = rng.permutation(own)
            _, first = np.unique(patterns.zone[chosen][shuffled], axis=0, return_index=True)
            walk = shuffled[rng.permutation(first)]
            for count in ENSEMBLES:
                # a small cell in a thick foil has fewer zones that show a lattice: all there are
                result = combine(scores[walk[: min(count, len(walk))]], table)
                for rule, values in (("product", result.product), ("mean", result.mean)):
                    best = values >= values.max() - 1e-6
                    right[rule].setdefault(count, []).append(float(best[truth]) / float(best.sum()))
    return {rule: {count: round(float(np.mean(v)), 4) for count, v in found.items()} for rule, found in right.items()}


def scored(network: Network, patterns: PatternSet, chosen: NDArray[np.int64], table: GroupTable) -> dict[str, object]:
    """Class accuracy and groups under each condition."""
    result: dict[str, object] = {"patterns": len(chosen), "structures": len(np.unique(patterns.structure[chosen]))}
    labels = patterns.class_label[chosen]
    for name, settings in CONDITIONS.items():
        scores = probabilities(network, patterns, chosen, settings)
        result[name] = {
            "class": round(float((scores.argmax(axis=1) == labels).mean()), 4),
            "group": groups_from_several(scores, patterns, chosen, table),
        }
    return result


def by_thickness(network: Network, patterns: PatternSet, chosen: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Class accuracy at a floor of 0.1 % and as a microscope spoils them, by thickness."""
    labels, thickness = patterns.class_label[chosen], patterns.thickness_A[chosen]
    result: dict[str, dict[str, float]] = {}
    for name in ("floor 0.1 %", "microscope"):
        right = probabilities(network, patterns, chosen, CONDITIONS[name]).argmax(axis=1) == labels
        result[name] = {"all": round(float(right.mean()), 4)}
        for low, high in itertools.pairwise(EDGES_A):
            inside = (thickness >= low) & (thickness < high)
            result[name][f"{low:.0f} to {high:.0f} A"] = round(float(right[inside].mean()), 4)
    return result


def latency_ms(network: Network, patterns: PatternSet, chosen: NDArray[np.int64]) -> dict[str, float]:
    """Median time by the clock from a spot list to probabilities: one pattern, and each of 64 together."""
    settings = MicroscopeSettings()
    timed: dict[str, float] = {}
    for count in (1, 64):
        seconds: list[float] = []
        for at in range(0, min(len(chosen), 40 * count), count):
            part = chosen[at : at + count]
            spots = padded_spots(patterns, part)
            began = time.process_time()
            network.mean(spots, part, settings)
            seconds.append((time.process_time() - began) / len(part))
        timed[f"{count} at a time, CPU ms a pattern"] = round(1e3 * float(np.median(seconds)), 3)
    return timed


def main() -> int:
    """Print scores as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--thick", type=Path, help="Patterns made with --dynamical.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--split", choices=("structure", "prototype"), default="structure")
    parser.add_argument("--n", type=int, default=4000)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    table = group_table(bundle.manifest)
    if table is None:
        parser.error(f"{bundle.manifest.id} is no bundle for electron diffraction patterns")
    runtime, _ = open_runtime(bundle, "auto", 1)
    network = Network(runtime, bundle.manifest.input.shape)
    rng = np.random.default_rng(5)
    patterns = read_patterns(options.data)
    test = validation_structures(patterns.structures, options.split)
    held = patterns.of_structures(test)
    shown = shows_lattice(patterns)[held]
    some = np.sort(rng.permutation(held[shown])[: options.n])
    result: dict[str, object] = {
        "bundle": bundle.manifest.id,
        "split": options.split,
        "show their lattice": round(float(shown.mean()), 4),
        "kinematic": scored(network, patterns, some, table),
        "latency": latency_ms(network, patterns, some),
    }
    every = np.sort(rng.permutation(held)[: options.n])
    right = probabilities(network, patterns, every, CONDITIONS["floor 0.1 %"]).argmax(axis=1)
    result["kinematic, those without a lattice too, floor 0.1 %"] = round(
        float((right == patterns.class_label[every]).mean()), 4
    )
    if options.thick is not None:
        thick = read_patterns(options.thick)
        held = thick.of_structures(test)
        some = np.sort(rng.permutation(held[shows_lattice(thick)[held]])[: options.n])
        result["dynamical"] = scored(network, thick, some, table)
        result["dynamical by thickness"] = by_thickness(network, thick, some)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
