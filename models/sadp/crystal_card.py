"""How a notebook shows P(space group) of one crystal and where to go next."""

from __future__ import annotations

from collections.abc import Mapping

from braggwatch.models.sadp.groups import Zone
from braggwatch.models.verdict_html import VerdictCard, percent


def zone_text(zone: Zone) -> str:
    """Write a zone as the names of classes do: ``[0 1 1]``."""
    return f"[{' '.join(str(index) for index in zone)}]"


def crystal_card(
    best: tuple[str, float] | None,
    product: Mapping[str, float],
    zones: tuple[tuple[Zone, float], ...],
    *facts: tuple[str, str],
) -> VerdictCard:
    """Return what a notebook shows of a crystal.

    Parameters
    ----------
    best
        The most probable group and its probability; None before any usable pattern.
    product
        P(space group).
    zones
        Zones to go to next with the bits expected of them, best first.
    facts
        Rows to put first.
    """
    told = "; ".join(f"{zone_text(zone)} ({bits:.2f} bits)" for zone, bits in zones)
    return VerdictCard(
        headline="no usable pattern yet" if best is None else f"space group {best[0]} at {percent(best[1])}",
        tone="none" if best is None else "named",
        shares=product,
        rows=(*facts, ("would tell most next", told)) if told else facts,
    )
