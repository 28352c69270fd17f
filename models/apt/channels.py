"""A reconstruction's ions as the centre-voxel network knows them: host and solute."""

from __future__ import annotations

import numpy as np

from braggwatch.models.apt.sdm_input import HOST, SOLUTE
from braggwatch.sim.apt.model import UNRANGED, LabelledIons
from braggwatch.sim.errors import InputError


def as_host_and_solute(ions: LabelledIons, host: str, solute: str) -> LabelledIons:
    """Return the same ions with the two species named as the network knows them; all others become unranged.

    Raises
    ------
    InputError
        If a species isn't among the ions', or both are the same.
    """
    if host == solute:
        raise InputError(f"host and solute are both {host}: name two elements")
    table = np.full(UNRANGED + 1, UNRANGED, dtype=np.uint8)
    table[ions.index(host)], table[ions.index(solute)] = 0, 1
    return LabelledIons(ions.positions_nm, table[ions.species], (HOST, SOLUTE))


def most_abundant(ions: LabelledIons) -> tuple[str, str]:
    """Return the most and the second most abundant species: host and solute where a user names none.

    Raises
    ------
    InputError
        If fewer than two species have ions.
    """
    counts = np.bincount(ions.species, minlength=UNRANGED + 1)[: len(ions.names)]
    order = np.argsort(-counts, kind="stable")
    if len(order) < 2 or counts[order[1]] == 0:
        raise InputError("fewer than two species have ions: name the host and the solute, or check the ranges")
    return ions.names[int(order[0])], ions.names[int(order[1])]


def chosen_elements(ions: LabelledIons, host: str | None, solute: str | None) -> tuple[str, str]:
    """Return host and solute: those that are named, else the most abundant ones that aren't.

    Raises
    ------
    ValueError
        If a named element isn't among the ions', or there is none to choose.
    """
    if host is not None and solute is not None:
        for name in (host, solute):
            ions.index(name)
        return host, solute
    first, second = most_abundant(ions)
    host = host or (first if solute != first else second)
    return host, solute or (second if host != second else first)
