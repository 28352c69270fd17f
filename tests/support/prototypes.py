"""Prototypes: structures with the same arrangement of different elements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

# Exchanges of Wyckoff letters by the shift of origin that maps the group onto itself (Euclidean normaliser,
# International Tables A, 15.2.1.4): the same arrangement can be described either way.
_EXCHANGES: Mapping[int, str] = {
    213: "ab",
    221: "ab cd ef ij kl",
    225: "ab hi",
    227: "ab cd",
    229: "",
}


def prototype_label(space_group: int, sites: Iterable[tuple[str, str]]) -> str:
    """Return the prototype's label: space group, then the sites of each element, sorted by Wyckoff letter.

    Two structures with the same label fill the same Wyckoff positions in the same pattern of elements; free coordinates
    may differ. NaCl and MgO are both ``225:a_b``, CaF2 and Li2O both ``225:a_c``.

    Parameters
    ----------
    sites
        (element, Wyckoff letter) of the asymmetric unit; on a site with several elements each has its own row.
    """
    letters: dict[str, list[str]] = defaultdict(list)
    for element, letter in sites:
        letters[element].append(letter)
    exchange = str.maketrans(
        {a: b for pair in _EXCHANGES.get(space_group, "").split() for a, b in (tuple(pair), tuple(pair[::-1]))}
    )
    words = ["".join(sorted(word)) for word in letters.values()]
    described = (sorted(words), sorted("".join(sorted(word.translate(exchange))) for word in words))
    return f"{space_group}:{'_'.join(min(described))}"
