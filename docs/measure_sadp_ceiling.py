"""Count test patterns in which no visible spot tells the class from one of fewer reflections along the same zone.

Run: ``python docs/measure_sadp_ceiling.py --data data/sadp``
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from braggwatch.sim.sadp.labels import EFFECTIVE_GROUPS, allowed, class_of
from braggwatch.sim.sadp.model import ZONES, Direction
from braggwatch.sim.sadp.pattern_files import read_patterns
from braggwatch.sim.sadp.splits import validation_structures
from braggwatch.sim.sadp.visibility import shows_lattice

FLOORS = (4e-3, 1e-3, 1e-4)
REACH = 8


def sparser_groups() -> dict[tuple[str, Direction], list[str]]:
    """By effective group and zone: the groups of another class whose reflections are some of its own."""
    axis = np.arange(-REACH, REACH + 1)
    hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)
    found: dict[tuple[str, Direction], list[str]] = {}
    for zone in ZONES:
        layer = hkl[(hkl @ np.array(zone) == 0) & hkl.any(axis=1)]
        seen = {group: allowed(group, layer) for group in EFFECTIVE_GROUPS}
        for group in EFFECTIVE_GROUPS:
            found[group, zone] = [
                other
                for other in EFFECTIVE_GROUPS
                if class_of(other, zone) != class_of(group, zone)
                and not (seen[other] & ~seen[group]).any()
                and (seen[group] & ~seen[other]).any()
            ]
    return found


def main() -> int:
    """Print shares by floor as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=6000)
    options = parser.parse_args()
    patterns = read_patterns(options.data)
    held = patterns.of_structures(validation_structures(patterns.structures))
    held = held[shows_lattice(patterns)[held]]
    some = np.sort(np.random.default_rng(5).permutation(held)[: options.n])
    sparser = sparser_groups()
    lost = dict.fromkeys(FLOORS, 0)
    for number in some:
        facts, spots = patterns.facts(int(number)), patterns.pattern(int(number))
        zero = spots.hkl @ np.array(facts.zone) == 0
        for floor in FLOORS:
            seen = spots.hkl[zero & (spots.intensity >= floor)].astype(np.int32)
            lost[floor] += any(allowed(other, seen).all() for other in sparser[facts.effective_group, facts.zone])
    result = {f"floor {floor:.2%}": round(count / len(some), 4) for floor, count in lost.items()}
    sys.stdout.write(json.dumps({"patterns": len(some), "look like a sparser class": result}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
