"""Watch a folder for diffraction pictures and publish each once it is complete, across restarts.

A file counts as complete once its size and modification time have not changed for `WatchOptions.settle_s` and it can be
read; a file that can't be read yet is tried again, since it may be a slow copy, and is reported when given up.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from braggwatch.services.sadp.sources.pattern_documents import PatternFacts, PatternRunWriter
from braggwatch.services.sadp.sources.picture_files import SUFFIXES, Picture, PictureFileError, read_pictures
from braggwatch.sim.errors import InputError

logger = logging.getLogger(__name__)

JOURNAL_FILE = ".braggwatch-watch.jsonl"
_GROUPS = frozenset({"particle", "visit", "zone"})


class WatchOptions(BaseModel):
    """Settings for watching a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recursive: bool = Field(default=True, description="Include subfolders.")
    settle_s: FiniteFloat = Field(default=1.0, ge=0, description="Seconds that a file must be unchanged.")
    give_up_s: FiniteFloat = Field(
        default=30.0, ge=0, description="Seconds after which an unchanged file that can't be read is given up."
    )
    poll_s: FiniteFloat = Field(default=0.25, gt=0, description="Seconds between scans of the folder.")
    name_pattern: str | None = Field(
        default=None,
        description="Regular expression on the relative path; its groups particle, visit and zone are used.",
    )
    dataset: str | None = Field(default=None, description="HDF5: dataset of the pictures.")

    @field_validator("name_pattern")
    @classmethod
    def _names_what_is_known(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if not groups or groups - _GROUPS:
            raise ValueError(
                "needs groups named particle, visit or zone, e.g. (?P<particle>grain[0-9]+)_(?P<visit>[0-9]+)"
            )
        return pattern


class JournalLine(BaseModel):
    """One published file: a file with another size or modification time counts as new."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Path relative to the folder.")
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class WatchReport:
    """Progress so far; ``given_up`` maps files to the reason."""

    files: int
    frames: int
    waiting: int
    given_up: dict[str, str]


@dataclass(slots=True)
class _Candidate:
    stamp: tuple[int, int]
    since: float
    problem: str | None = None


class FolderWatch:
    """Finds new pictures; `step` publishes the complete ones.

    Parameters
    ----------
    journal
        File that records what was published; None: `JOURNAL_FILE` in the folder.

    Raises
    ------
    ValueError
        If the journal can't be read.
    NotADirectoryError
        If there is no such folder.
    """

    def __init__(
        self,
        folder: Path,
        options: WatchOptions,
        *,
        journal: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder")
        self._folder = folder
        self._options = options
        self._journal_path = journal or folder / JOURNAL_FILE
        self._clock = clock
        self._candidates: dict[str, _Candidate] = {}
        self._given_up: dict[str, str] = {}
        self._files = 0
        self._frames = 0
        self._published = self._read_journal()

    @property
    def report(self) -> WatchReport:
        """Progress so far."""
        return WatchReport(self._files, self._frames, len(self._candidates), dict(self._given_up))

    def has_new(self) -> bool:
        """Return whether there is a file that was neither published nor given up."""
        return any(
            self._published.get(name) != stamp and name not in self._given_up for name, _, stamp in self._pictures()
        )

    def step(self, writer: PatternRunWriter, *, stop: Callable[[], bool] | None = None) -> int:
        """Scan the folder once, publish every complete file, oldest first, and return the number of frames published.

        Parameters
        ----------
        stop
            Called before each file; True ends the step.
        """
        now = self._clock()
        seen: set[str] = set()
        published = 0
        for name, path, stamp in sorted(self._pictures(), key=lambda picture: (picture[2][1], picture[0])):
            seen.add(name)
            if stop is not None and stop():
                return published
            if self._published.get(name) == stamp:
                continue
            candidate = self._candidates.get(name)
            if candidate is None or candidate.stamp != stamp:
                self._candidates[name] = candidate = _Candidate(stamp, now)
                self._given_up.pop(name, None)
            if name in self._given_up or now - candidate.since < self._options.settle_s:
                continue
            published += self._publish(name, path, candidate, writer, now)
        for name in self._candidates.keys() - seen:
            del self._candidates[name]
        return published

    def _publish(self, name: str, path: Path, candidate: _Candidate, writer: PatternRunWriter, now: float) -> int:
        try:
            pictures = list(read_pictures(path, self._options.dataset))
        except (PictureFileError, OSError, ImportError) as error:
            if str(error) != candidate.problem:
                logger.info("%s will be tried again: %s", name, error)
                candidate.problem = str(error)
            if isinstance(error, ImportError) or now - candidate.since >= self._options.give_up_s:
                self._given_up[name] = str(error)
                logger.warning("%s is given up: %s", name, error)
            return 0
        facts = self._facts(name)
        for picture in pictures:
            scale = None if picture.inv_A_per_px is None else 10.0 * picture.inv_A_per_px
            writer.frame(picture.pixels, _named(facts, picture), scale)
        del self._candidates[name]
        self._files += 1
        self._frames += len(pictures)
        # Publish first, record afterwards: a crash in between repeats a file rather than losing it.
        self._published[name] = candidate.stamp
        self._note(name, candidate.stamp)
        return len(pictures)

    def _pictures(self) -> Iterator[tuple[str, Path, tuple[int, int]]]:
        pattern = "**/*" if self._options.recursive else "*"
        for path in self._folder.glob(pattern):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            try:
                status = path.stat()
            except OSError:
                continue
            if path.is_file():
                yield path.relative_to(self._folder).as_posix(), path, (status.st_size, status.st_mtime_ns)

    def _facts(self, name: str) -> PatternFacts:
        inside = Path(name).parent.as_posix()
        facts = PatternFacts(particle="" if inside == "." else inside, name=name)
        pattern = self._options.name_pattern
        match = re.search(pattern, name) if pattern is not None else None
        if match is None:
            return facts
        groups = match.groupdict()
        return PatternFacts(
            particle=groups.get("particle") or facts.particle,
            visit=groups.get("visit") or "",
            zone=groups.get("zone") or "",
            name=name,
        )

    def _read_journal(self) -> dict[str, tuple[int, int]]:
        published: dict[str, tuple[int, int]] = {}
        try:
            lines = self._journal_path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return published
        # An incomplete last line was cut off by a crash: its file is published again.
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = JournalLine.model_validate_json(line)
            except ValidationError as error:
                raise InputError(
                    f"{self._journal_path}, line {number}, is not a journal entry: repair or remove the file; "
                    "without it every picture is published again"
                ) from error
            published[entry.name] = (entry.size, entry.mtime_ns)
        if lines[-1]:
            with self._journal_path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in lines[:-1]))
        return published

    def _note(self, name: str, stamp: tuple[int, int]) -> None:
        line = JournalLine(name=name, size=stamp[0], mtime_ns=stamp[1]).model_dump_json()
        with self._journal_path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _named(facts: PatternFacts, picture: Picture) -> PatternFacts:
    return PatternFacts(particle=facts.particle, visit=facts.visit, zone=facts.zone, name=picture.name)
