"""Shares of a scan, as points on its way."""

from __future__ import annotations

from collections.abc import Sequence

from braggwatch.sim.errors import InputError


def check_shares(shares: Sequence[float]) -> None:
    """Raise ValueError unless these are ascending shares of a scan, each between 0 and 1."""
    if any(not 0.0 < share < 1.0 for share in shares) or sorted(set(shares)) != list(shares):
        raise InputError(f"these are no ascending shares of a scan between 0 and 1: {', '.join(map(str, shares))}")
