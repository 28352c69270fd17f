"""Values that a user states on the command line as ``NAME=VALUE``."""

from __future__ import annotations

from braggwatch.sim.errors import InputError


def parse_assignments(pairs: list[str]) -> dict[str, float]:
    """Read ``name=number`` options.

    Raises
    ------
    InputError
        If one is no such pair or a name comes twice.
    """
    form = "NAME=NUMBER, e.g. detector_distance=0.5"
    values: dict[str, float] = {}
    for name, text in _assigned(pairs, form).items():
        try:
            values[name] = float(text)
        except ValueError:
            raise InputError(f"'{name}={text}' is no assignment: write {form}") from None
    return values


def parse_names(pairs: list[str]) -> dict[str, str]:
    """Read ``name=text`` options.

    Raises
    ------
    InputError
        If one is no such pair or a name comes twice.
    """
    return _assigned(pairs, "NAME=DATASET, e.g. energy=/entry/energy")


def _assigned(pairs: list[str], form: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not name or not text:
            raise InputError(f"{pair!r} is no assignment: write {form}")
        if name in values:
            raise InputError(f"{name} is set twice")
        values[name] = text
    return values
