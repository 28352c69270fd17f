"""Read one scan out of a SPEC data file, by its number.

Format: certified scientific software, "SPEC standard data file format" (``#F #E #D #O #o #S #P #N #L`` lines).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError

logger = logging.getLogger(__name__)

_SCAN_LINE = re.compile(r"#S\s+(\d+)\s*(.*)")
_INDEXED = re.compile(r"#([OoP])(\d+)\s?(.*)")
_DATE_FORMAT = "%a %b %d %H:%M:%S %Y"
_COMMAND_WORDS = 6


class SpecFileError(BraggwatchError, ValueError):
    """The SPEC file lacks the scan, or its content is ambiguous or malformed."""


@dataclass(frozen=True, slots=True)
class SpecScan:
    """One scan of a SPEC file.

    Attributes
    ----------
    number, command
        From the ``#S`` line, e.g. 54 and ``"ascan  th -0.28 0.72  200 0.25"``.
    started_at
        Time of the scan's ``#D`` line, seconds since the epoch, or None if the file has no ``#E`` and ``#D``.
    file_epoch
        The file header's ``#E``, seconds since the epoch: the ``Epoch`` column counts from it.
    motors
        Positions at the start of the scan, by label (``#O``) as written, e.g. ``{"Delta": 32.174}``.
    motor_lines
        The lines each motor was read from, e.g. ``{"Delta": "#O0/#P0"}``.
    mnemonics
        Label by mnemonic (``#o``), e.g. ``{"del": "Delta"}``; empty in files without.
    columns
        (N,) float64 readings by column label, in the file's order.
    stray_lines
        Lines inside the data block that are neither data nor comment.
    unfit_lines
        ``#P`` lines whose numbers don't fit their ``#O`` line, as ``"#P1 has 3 positions, #O1 4 names"``: which motor
        stands where isn't known, so their motors are left out.
    digest
        SHA-256 of the scan's text, hexadecimal.
    """

    number: int
    command: str
    started_at: float | None
    file_epoch: float | None
    motors: Mapping[str, float]
    motor_lines: Mapping[str, str]
    mnemonics: Mapping[str, str]
    columns: Mapping[str, NDArray[np.float64]]
    stray_lines: tuple[str, ...]
    digest: str
    unfit_lines: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of points written."""
        return next(iter(self.columns.values())).size

    @property
    def scanned(self) -> str:
        """Mnemonic of the scanned motor, e.g. ``th``.

        Raises
        ------
        SpecFileError
            If the command is not a one-motor scan (``ascan``, ``dscan`` or the like).
        """
        return self._command_words()[1]

    @property
    def expected_rows(self) -> int:
        """Number of points the command asked for: its intervals plus one.

        Raises
        ------
        SpecFileError
            As `scanned`.
        """
        return int(self._command_words()[4]) + 1

    def _command_words(self) -> list[str]:
        words = self.command.split()
        if len(words) != _COMMAND_WORDS or words[0] not in {"ascan", "dscan", "lup"} or not words[4].isdigit():
            raise SpecFileError(f"scan {self.number} is not a one-motor scan: {self.command!r}")
        return words


@dataclass(slots=True)
class _Header:
    """The file header in effect: a SPEC file may contain several."""

    epoch: float | None = None
    date: str | None = None
    labels: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    mnemonics: dict[int, list[str]] = field(default_factory=dict[int, list[str]])


def read_spec_scan(path: Path, number: int, *, occurrence: int | None = None) -> SpecScan:
    """Read the scan with this number (never the n-th scan of the file).

    Parameters
    ----------
    path
        SPEC data file.
    number
        Scan number as in ``#S``.
    occurrence
        Which one, from 1, if the file has the number more than once (SPEC may restart at 1 in an existing file).

    Raises
    ------
    SpecFileError
        If the scan is absent, ambiguous or malformed.
    FileNotFoundError
        If there is no such file.
    """
    found: list[tuple[_Header, list[str]]] = []
    numbers: set[int] = set()
    for header, scan_number, block in _blocks(path):
        numbers.add(scan_number)
        if scan_number == number:
            found.append((header, block))
    if not found:
        span = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
        raise SpecFileError(f"{path.name} has no scan {number} (it has: {span})")
    if occurrence is None and len(found) > 1:
        raise SpecFileError(f"{path.name} has scan {number} {len(found)} times: choose one, 1 to {len(found)}")
    if occurrence is not None and not 1 <= occurrence <= len(found):
        raise SpecFileError(f"{path.name} has scan {number} {len(found)} times, not {occurrence}")
    header, block = found[(occurrence or 1) - 1]
    return _parse(header, number, block)


def _blocks(path: Path) -> Iterator[tuple[_Header, int, list[str]]]:
    header = _Header()
    in_header = False
    current: tuple[_Header, int, list[str]] | None = None
    with path.open(encoding="latin-1") as file:
        for raw in file:
            line = raw.rstrip("\r\n")
            if match := _SCAN_LINE.match(line):
                if current is not None:
                    yield current
                current = (header, int(match[1]), [line])
                in_header = False
            elif line.startswith(("#F ", "#E ")) and not in_header:
                if current is not None:
                    yield current
                current, header, in_header = None, _Header(), True
                _add_to_header(header, line)
            elif in_header:
                _add_to_header(header, line)
            elif current is not None:
                current[2].append(line)
    if current is not None:
        yield current


def _add_to_header(header: _Header, line: str) -> None:
    if line.startswith("#E "):
        header.epoch = float(line[3:])
    elif line.startswith("#D ") and header.date is None:
        header.date = line[3:].strip()
    elif (match := _INDEXED.match(line)) and match[1] != "P":
        _add_names(header, match)


def _add_names(header: _Header, match: re.Match[str]) -> None:
    separator = r"\s{2,}" if match[1] == "O" else r"\s+"
    table = header.labels if match[1] == "O" else header.mnemonics
    table[int(match[2])] = [name for name in re.split(separator, match[3].strip()) if name]


def _with_names_of_scan(header: _Header, block: list[str]) -> _Header:
    """Return the header with the names that the scan itself states: those are the names of its positions."""
    own = _Header(epoch=header.epoch, date=header.date)
    for line in block:
        if (match := _INDEXED.match(line)) and match[1] != "P":
            _add_names(own, match)
    own.labels = own.labels or header.labels
    own.mnemonics = own.mnemonics or header.mnemonics
    return own


def _without_channels(block: list[str]) -> Iterator[str]:
    """Yield the lines of a scan without an analyser's channels: ``@A`` and what a backslash at the end continues."""
    continues = False
    for line in block:
        channels = continues or line.startswith("@")
        continues = channels and line.endswith("\\")
        if not channels:
            yield line


def _parse(header: _Header, number: int, block: list[str]) -> SpecScan:
    header = _with_names_of_scan(header, block)
    command_match = _SCAN_LINE.match(block[0])
    labels: list[str] = []
    date: str | None = None
    positions: dict[int, list[float]] = {}
    rows: list[list[float]] = []
    stray: list[str] = []
    for line in _without_channels(block[1:]):
        if line.startswith("#L "):
            labels = [label for label in re.split(r"\s{2,}", line[3:].strip()) if label]
        elif line.startswith("#D ") and date is None:
            date = line[3:].strip()
        elif (match := _INDEXED.match(line)) and match[1] == "P":
            positions[int(match[2])] = [float(word) for word in match[3].split()]
        elif line.strip() and not line.startswith("#"):
            row = _numbers(line)
            if row is None:
                logger.warning("scan %d: skipped a line that is not data: %r", number, line)
                stray.append(line)
            else:
                rows.append(row)
    if not labels:
        raise SpecFileError(f"scan {number} has no column labels (#L)")
    for index, row in enumerate(rows):
        if len(row) != len(labels):
            raise SpecFileError(f"scan {number}, point {index}: {len(row)} numbers for {len(labels)} columns")
    if not rows:
        raise SpecFileError(f"scan {number} holds no data")
    if len(set(labels)) != len(labels):
        raise SpecFileError(f"scan {number} names a column twice")
    motors, lines, unfit = _motors(header, number, positions)
    table = np.array(rows, dtype=np.float64)
    return SpecScan(
        number=number,
        command=command_match[2].strip() if command_match else "",
        started_at=_started_at(header, date),
        file_epoch=header.epoch,
        motors=motors,
        motor_lines=lines,
        mnemonics=_mnemonics(header),
        columns={label: table[:, column] for column, label in enumerate(labels)},
        stray_lines=tuple(stray),
        digest=hashlib.sha256("\n".join(block).encode("latin-1")).hexdigest(),
        unfit_lines=unfit,
    )


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def _motors(
    header: _Header, number: int, positions: dict[int, list[float]]
) -> tuple[dict[str, float], dict[str, str], tuple[str, ...]]:
    motors: dict[str, float] = {}
    lines: dict[str, str] = {}
    unfit: list[str] = []
    for index, values in positions.items():
        names = header.labels.get(index, [])
        if len(names) != len(values):
            unfit.append(f"#P{index} has {len(values)} positions, #O{index} {len(names)} names")
            logger.warning("scan %d: %s: its motors are left out", number, unfit[-1])
            continue
        for name, value in zip(names, values, strict=True):
            motors[name] = value
            lines[name] = f"#O{index}/#P{index}"
    return motors, lines, tuple(unfit)


def _mnemonics(header: _Header) -> dict[str, str]:
    result: dict[str, str] = {}
    for index, mnemonics in header.mnemonics.items():
        labels = header.labels.get(index, [])
        if len(mnemonics) == len(labels):
            result.update(zip(mnemonics, labels, strict=True))
    return result


def _started_at(header: _Header, date: str | None) -> float | None:
    """Return seconds since the epoch: SPEC dates have no time zone, so the file's #E/#D pair supplies the offset."""
    if header.epoch is None or header.date is None or date is None:
        return None
    try:
        began = datetime.strptime(header.date, _DATE_FORMAT).replace(tzinfo=UTC)
        scan = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return header.epoch + (scan - began).total_seconds()
