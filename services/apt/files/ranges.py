"""Read range files: ``.rrng`` (IVAS, AP Suite) and ``.rng`` (Oak Ridge, Oxford).

A molecular ion is a separate species named by its formula, e.g. ``AlO``; it isn't decomposed into atoms. Commas are
read as decimal points, as some locales of spreadsheets and instrument software write them.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.sim.apt.model import MassRange
from braggwatch.sim.errors import InputError

_RRNG_RANGE = re.compile(r"range(\d+)\s*=\s*(.*)", re.IGNORECASE)
_RRNG_NUMBER = re.compile(r"number\s*=\s*(\d+)", re.IGNORECASE)
_ATOMS = re.compile(r"([A-Z][a-z]?):(\d{1,2})")
_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})")


def read_ranges(path: Path) -> tuple[MassRange, ...]:
    """Read the ranges of a ``.rrng`` or ``.rng`` file, in the file's order.

    Raises
    ------
    AptFileError
        If the file is empty, truncated or in another format, a line can't be read, or two ranges of different ions
        overlap. Such overlaps are an error rather than resolved by order, since the species of an ion would depend on
        the software. Overlapping ranges of the same species are merged.
    OSError
        If it can't be read.
    """
    kind = path.suffix.lower()
    if kind not in (".rrng", ".rng"):
        raise AptFileError(f"{path}: ranges end in .rrng or .rng")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AptFileError(f"{path} is not a text file: is it a range file?") from error
    lines = [line.strip() for line in text.replace(",", ".").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise AptFileError(f"{path} is empty: export the ranges again")
    ranges = _rrng(lines, path) if kind == ".rrng" else _rng(lines, path)
    if not ranges:
        raise AptFileError(f"{path} contains no ranges: export them again")
    return _without_overlaps(_check_overlap(ranges, path))


def _range(
    low: str, high: str, name: str, path: Path, line: str, volume: float = 0.0, color: str = "808080"
) -> MassRange:
    try:
        ends = float(low), float(high)
        if not all(math.isfinite(end) for end in (*ends, volume)):
            raise InputError("a number isn't finite")
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
                raise AptFileError(f"{path}: {line!r} under [Ranges] is not like 'Range1=26.9 27.1 Vol:0.017 Al:1'")
            ranges.append(_rrng_range(found[2], line, path))
    if not section:
        raise AptFileError(f"{path} has no [Ranges]: is it a .rrng file?")
    if expected is not None and expected != len(ranges):
        raise AptFileError(f"{path} is cut short: {expected} ranges are announced, {len(ranges)} found")
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
                    raise AptFileError(f"{path}: {word!r} in {line!r} is not 'Element:count'")
                atoms.append((atom[1], int(atom[2])))
    label = _formula(atoms) or name
    if not label:
        raise AptFileError(f"{path}: the range {line!r} names no ion")
    return _range(words[0], words[1], label, path, line, volume, color)


def _rng(lines: list[str], path: Path) -> list[MassRange]:
    head = lines[0].split()
    if len(head) < 2 or not (head[0].isdecimal() and head[1].isdecimal()):
        raise AptFileError(
            f"{path}: {lines[0][:60]!r} doesn't start with the numbers of ions and ranges: is it an .rng file?"
        )
    species, expected = int(head[0]), int(head[1])
    at = next((n for n, line in enumerate(lines) if line.startswith(("--", ". "))), len(lines))
    if at == len(lines) or lines[at].startswith("."):
        raise AptFileError(f"{path} has no line of dashes that names the ions: it is cut short, or not an .rng file")
    names = lines[at].split()[1:]
    if len(names) != species:
        raise AptFileError(f"{path}: {species} ions are announced, {len(names)} are named")
    ranges: list[MassRange] = []
    # the ranges may be followed by IVAS's extension for molecular ions, which repeats them
    for line in lines[at + 1 : at + 1 + expected]:
        words = line.split()
        if len(words) != species + 3 or words[0] != "." or not all(word.isdecimal() for word in words[3:]):
            raise AptFileError(f"{path}: {line!r} is not a range of {species} ions, e.g. '. 26.9 27.1 1 0'")
        label = _formula([(name, int(count)) for name, count in zip(names, words[3:], strict=True)])
        if label:  # a range without atoms has no species
            ranges.append(_range(words[1], words[2], label, path, line))
    if len(lines) < at + 1 + expected:
        raise AptFileError(f"{path} is cut short: {expected} ranges are announced, {len(lines) - at - 1} found")
    return ranges


def _check_overlap(ranges: list[MassRange], path: Path) -> list[MassRange]:
    ordered = sorted(ranges, key=lambda r: r.low_Da)
    farthest = ordered[0]
    for r in ordered[1:]:
        if r.low_Da < farthest.high_Da and r.name != farthest.name:
            raise AptFileError(
                f"{path}: the ranges of {farthest.name} ({farthest.low_Da:g} to {farthest.high_Da:g} Da) and {r.name} "
                f"({r.low_Da:g} to {r.high_Da:g} Da) overlap. Change one: an ion in both would have two species"
            )
        farthest = max(farthest, r, key=lambda other: other.high_Da)
    return ranges


def _without_overlaps(ranges: list[MassRange]) -> tuple[MassRange, ...]:
    """Cut overlapping ranges of the same species: each starts where the previous one ends."""
    ordered = sorted(ranges, key=lambda r: r.low_Da)
    trimmed = {ordered[0]: ordered[0]}
    end = ordered[0].high_Da
    for r in ordered[1:]:
        if r.high_Da <= end:
            continue
        trimmed[r] = r if r.low_Da >= end else MassRange(end, r.high_Da, r.name, r.volume_nm3, r.color)
        end = r.high_Da
    return tuple(trimmed[r] for r in dict.fromkeys(ranges) if r in trimmed)
