"""Range files: ``.rrng`` (IVAS, AP Suite) and ``.rng`` (Oak Ridge, Oxford).

An ion of several atoms is a species of its own under its formula, e.g. ``AlO``; its atoms aren't told apart in space.
Commas are taken for decimal points, as spreadsheets and the instruments' software of some countries write them.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.sim.apt.model import MassRange

_RRNG_RANGE = re.compile(r"range(\d+)\s*=\s*(.*)", re.IGNORECASE)
_RRNG_NUMBER = re.compile(r"number\s*=\s*(\d+)", re.IGNORECASE)
_ATOMS = re.compile(r"([A-Z][a-z]?):(\d{1,2})")
_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})")


def read_ranges(path: Path) -> tuple[MassRange, ...]:
    """Read the ranges of a ``.rrng`` or ``.rng`` file, in the file's order.

    Raises
    ------
    AptFileError
        If the file is empty, cut short or of another format, a line can't be read, or two ranges of different ions
        overlap. Overlapping ranges are refused, not resolved by their order: which of two species an ion is would
        depend on the software. Ranges of one species that overlap are as good as one.
    OSError
        If it can't be read.
    """
    kind = path.suffix.lower()
    if kind not in (".rrng", ".rng"):
        raise AptFileError(f"{path}: ranges end in .rrng or .rng")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AptFileError(f"{path} is no text: is it a range file?") from error
    lines = [line.strip() for line in text.replace(",", ".").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise AptFileError(f"{path} is empty: export the ranges again")
    ranges = _rrng(lines, path) if kind == ".rrng" else _rng(lines, path)
    if not ranges:
        raise AptFileError(f"{path} holds no ranges: export them again")
    return _merge_own(_refuse_overlap(ranges, path))


def _range(
    low: str, high: str, name: str, path: Path, line: str, volume: float = 0.0, color: str = "808080"
) -> MassRange:
    try:
        ends = float(low), float(high)
        if not all(math.isfinite(end) for end in (*ends, volume)):
            raise ValueError("a number isn't finite")
        return MassRange(*ends, name, volume, color)
    except ValueError as error:
        raise AptFileError(f"{path}: can't read the range {line!r}: {error}") from error


def _formula(atoms: list[tuple[str, int]]) -> str:
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in atoms if count > 0)


def _rrng(lines: list[str], path: Path) -> list[MassRange]:
    section, expected, ranges = "", None, list[MassRange]()
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]").strip().lower()
        elif section == "ranges":
            number = _RRNG_NUMBER.fullmatch(line)
            if number is not None:
                expected = int(number[1])
                continue
            found = _RRNG_RANGE.fullmatch(line)
            if found is None:
                raise AptFileError(f"{path}: {line!r} under [Ranges] is no line like 'Range1=26.9 27.1 Vol:0.017 Al:1'")
            ranges.append(_rrng_range(found[2], line, path))
    if not section:
        raise AptFileError(f"{path} has no [Ranges]: is it a .rrng file?")
    if expected is not None and expected != len(ranges):
        raise AptFileError(f"{path} is cut short: {expected} ranges are announced, {len(ranges)} are there")
    return ranges


def _rrng_range(body: str, line: str, path: Path) -> MassRange:
    words = body.split()
    if len(words) < 3:
        raise AptFileError(f"{path}: the range {line!r} names no ion")
    atoms: list[tuple[str, int]] = []
    name, volume, color = "", 0.0, "808080"
    for word in words[2:]:
        key, colon, value = word.partition(":")
        match key.lower():
            case "vol":
                try:
                    volume = float(value)
                except ValueError as error:
                    raise AptFileError(f"{path}: can't read the volume in {line!r}") from error
            case "name":
                name = value
            case "color":
                found = _COLOR.fullmatch(value)
                color = found[1].upper() if found else color
            case _:
                atom = _ATOMS.fullmatch(word)
                if atom is None or not colon:
                    raise AptFileError(f"{path}: {word!r} in {line!r} is no 'Element:count'")
                atoms.append((atom[1], int(atom[2])))
    label = _formula(atoms) or name
    if not label:
        raise AptFileError(f"{path}: the range {line!r} names no ion")
    return _range(words[0], words[1], label, path, line, volume, color)


def _rng(lines: list[str], path: Path) -> list[MassRange]:
    head = lines[0].split()
    if len(head) < 2 or not (head[0].isdecimal() and head[1].isdecimal()):
        raise AptFileError(
            f"{path}: {lines[0][:60]!r} doesn't begin with the numbers of ions and ranges: no .rng file?"
        )
    species, expected = int(head[0]), int(head[1])
    at = next((n for n, line in enumerate(lines) if line.startswith(("--", ". "))), len(lines))
    if at == len(lines) or lines[at].startswith("."):
        raise AptFileError(f"{path} has no line of dashes that names the ions: cut short, or no .rng file")
    names = lines[at].split()[1:]
    if len(names) != species:
        raise AptFileError(f"{path}: {species} ions are announced, {len(names)} are named")
    ranges: list[MassRange] = []
    # what follows the ranges is IVAS's own extension for molecules, which repeats them
    for line in lines[at + 1 : at + 1 + expected]:
        words = line.split()
        if len(words) != species + 3 or words[0] != "." or not all(word.isdecimal() for word in words[3:]):
            raise AptFileError(f"{path}: {line!r} is no range of {species} ions, e.g. '. 26.9 27.1 1 0'")
        label = _formula([(name, int(count)) for name, count in zip(names, words[3:], strict=True)])
        if label:  # a range that counts for nothing
            ranges.append(_range(words[1], words[2], label, path, line))
    if len(lines) < at + 1 + expected:
        raise AptFileError(f"{path} is cut short: {expected} ranges are announced, {len(lines) - at - 1} are there")
    return ranges


def _refuse_overlap(ranges: list[MassRange], path: Path) -> list[MassRange]:
    ordered = sorted(ranges, key=lambda one: one.low_Da)
    reach = ordered[0]
    for one in ordered[1:]:
        if one.low_Da < reach.high_Da and one.name != reach.name:
            raise AptFileError(
                f"{path}: the ranges of {reach.name} ({reach.low_Da:g} to {reach.high_Da:g} Da) and {one.name} "
                f"({one.low_Da:g} to {one.high_Da:g} Da) overlap. Change one: an ion there would be both"
            )
        reach = max(reach, one, key=lambda other: other.high_Da)
    return ranges


def _merge_own(ranges: list[MassRange]) -> tuple[MassRange, ...]:
    """Cut ranges of one species where they overlap: the later ones begin where the earlier end."""
    ordered = sorted(ranges, key=lambda one: one.low_Da)
    kept = {ordered[0]: ordered[0]}
    end = ordered[0].high_Da
    for one in ordered[1:]:
        if one.high_Da <= end:
            continue
        kept[one] = one if one.low_Da >= end else MassRange(end, one.high_Da, one.name, one.volume_nm3, one.color)
        end = one.high_Da
    return tuple(kept[one] for one in dict.fromkeys(ranges) if one in kept)
