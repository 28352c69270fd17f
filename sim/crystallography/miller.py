"""Miller indices: members of a family, one of each ± pair, and how they are written.

Hexagonal indices are the three of the axes a1, a2 (120° apart) and c; written out, directions have the four
Miller-Bravais indices: A. Kelly and K. M. Knowles, Crystallography and Crystal Defects, 2nd ed. (2012), chapter 1.
"""

from __future__ import annotations

from itertools import permutations, product
from math import gcd

Miller = tuple[int, int, int]
"""Three whole indices: of a plane or reflection (hkl), or of a direction [UVW] in lattice coordinates."""


def canonical(direction: Miller) -> Miller:
    """Return the one of ±direction with a positive first non-zero index: ±b have the same visibility."""
    return opposite(direction) if next((index for index in direction if index), 0) < 0 else direction


def opposite(miller: Miller) -> Miller:
    """Return the indices with every sign changed."""
    return -miller[0], -miller[1], -miller[2]


def family(hkl: Miller) -> list[Miller]:
    """Return all members of a cubic family, e.g. the eight of {111}, in sorted order."""
    members: set[Miller] = set()
    for a, b, c in permutations(hkl):
        for sa, sb, sc in product((1, -1), repeat=3):
            members.add((sa * a, sb * b, sc * c))
    return sorted(members)


def hexagonal_family(hkl: Miller) -> list[Miller]:
    """Return all members of a hexagonal (6/mmm) family of planes, e.g. the six of {10-10}, in sorted order."""
    h, k, l = hkl  # noqa: E741 - the index's own name
    members: set[Miller] = set()
    for a, b, _ in permutations((h, k, -h - k)):
        for side, sl in product((1, -1), repeat=2):
            members.add((side * a, side * b, sl * l))
    return sorted(members)


def four_indices(direction: Miller) -> tuple[tuple[int, int, int, int], int]:
    """Return a hexagonal direction [UVW] as four Miller-Bravais indices [uvtw] and what divides them, 1 or 3."""
    U, V, W = direction
    found = (2 * U - V, 2 * V - U, -U - V, 3 * W)
    divisor = gcd(3, *found)
    u, v, t, w = (index // divisor for index in found)
    return (u, v, t, w), 3 // divisor


def indices(miller: tuple[int, ...]) -> str:
    """Write indices with minus signs in front: ``1-10``; with spaces if any has two digits."""
    return ("" if all(abs(index) < 10 for index in miller) else " ").join(str(index) for index in miller)
