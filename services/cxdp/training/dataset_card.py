"""The card of a data set: the contents of a folder's shards, their hashes, and how to make them again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from braggwatch.services.cxdp.training.shard_making import SHARD_SIZE
from braggwatch.sim.cxdp.datasets import DatasetSpec, NuisanceWord, SampleInfo, ShardError, ShardFacts, shard_facts
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import whole_file

CARD_FILE = "CARD.md"
RECORD_FILE = "dataset.json"
CARD_SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardRecord(_Record):
    """One file."""

    name: str
    sha256: str
    size_bytes: int
    modified_ns: int = Field(description="Time stamp when hashed: an unchanged file is not hashed again.")
    samples: int


class SetRecord(_Record):
    """The shards of one specification."""

    name: str
    digest: str
    spec: DatasetSpec
    seed: int
    nuisance: NuisanceWord
    crystals: str = Field(description="Library of relaxed crystals; '' for continuum crystals.")
    code_versions: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...] = Field(description="Sample numbers: first, one past the last.")
    shards: int
    samples: int
    configurations: int = Field(description="Different crystals.")
    labels: dict[str, int]
    elements: dict[str, int]
    reflections: dict[str, int]
    strain_rad: tuple[float, float, float] | None = Field(
        default=None, description="Rms phase of the smooth strain: smallest, median and largest; None if unknown."
    )
    refused: dict[str, int]
    commands: tuple[str, ...] = Field(description="Commands that make it again, run in the folder.")


class DatasetRecord(_Record):
    """Content of ``dataset.json``."""

    card_schema: int = CARD_SCHEMA
    sets: tuple[SetRecord, ...]
    shards: tuple[ShardRecord, ...]
    unreadable: dict[str, str] = Field(description="By file: what is wrong with it.")

    @property
    def samples(self) -> int:
        """Number of samples in all sets."""
        return sum(s.samples for s in self.sets)


@dataclass(frozen=True, slots=True)
class CardCheck:
    """Result of checking the hashes; all empty if the folder matches its card.

    Attributes
    ----------
    changed
        Files whose hash differs.
    missing
        Files on the card that don't exist.
    unlisted
        Shards in the folder that are not on the card.
    """

    checked: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the folder matches its card."""
        return not (self.changed or self.missing or self.unlisted)


def write_card(folder: Path, *, hash_again: bool = False) -> DatasetRecord:
    """Write ``dataset.json`` and ``CARD.md`` from the folder's shards, and the specifications as files.

    Parameters
    ----------
    hash_again
        Also hash files whose size and time stamp haven't changed.

    Raises
    ------
    FileNotFoundError
        If the folder contains no shards.
    """
    known = {} if hash_again else {record.name: record for record in _last_shards(folder)}
    paths = _shards(folder)
    if not paths:
        raise FileNotFoundError(f"no shards in {folder}: make them with 'braggwatch cxdp simulate --out {folder}'")
    sets: dict[str, list[ShardFacts]] = {}
    shards: list[ShardRecord] = []
    unreadable: dict[str, str] = {}
    for path in paths:
        try:
            facts = shard_facts(path)
        except ShardError as error:
            unreadable[path.name] = str(error)
            continue
        sets.setdefault(path.stem.rpartition("-")[0], []).append(facts)
        shards.append(_shard_record(path, facts, known.get(path.name)))
    record = DatasetRecord(
        sets=tuple(_set_record(name, facts) for name, facts in sorted(sets.items())),
        shards=tuple(shards),
        unreadable=unreadable,
    )
    for dataset in record.sets:
        if dataset.spec != DatasetSpec():
            _write(folder / _spec_file(dataset.digest), dataset.spec.model_dump_json(indent=2) + "\n")
    _write(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    _write(folder / CARD_FILE, card_text(record))
    return record


def check_card(folder: Path) -> CardCheck:
    """Hash every shard again and compare with ``dataset.json``.

    Raises
    ------
    FileNotFoundError
        If there is no card.
    InputError
        If the card can't be read.
    """
    path = folder / RECORD_FILE
    try:
        record = DatasetRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} has no {RECORD_FILE}: write one with 'braggwatch cxdp card'") from None
    except ValidationError as error:
        raise InputError(f"{path} is not a data set card: {error.errors()[0]['msg']}") from error
    listed = {shard.name: shard.sha256 for shard in record.shards}
    present = {shard.name: shard for shard in _shards(folder)}
    return CardCheck(
        checked=len(listed),
        changed=tuple(name for name, sha256 in listed.items() if name in present and _sha256(present[name]) != sha256),
        missing=tuple(name for name in listed if name not in present),
        unlisted=tuple(name for name in present if name not in listed),
    )


def card_text(record: DatasetRecord) -> str:
    """Return the data set's card in Markdown."""
    lines = [
        "# Data set",
        "",
        f"{record.samples} simulated patterns in {len(record.shards)} shards. Written by `braggwatch sim cxdp` from "
        f"the files in this folder; `{RECORD_FILE}` is the machine-readable version, `braggwatch sim card . --verify` "
        "checks the hashes.",
    ]
    for dataset in record.sets:
        lines += ["", f"## {dataset.name}", "", *_set_lines(dataset)]
    if record.unreadable:
        lines += ["", "## Unreadable", ""]
        lines += [f"- {problem}" for problem in record.unreadable.values()]
    lines += ["", "## Files", "", "| file | samples | bytes | SHA-256 |", "|---|---|---|---|"]
    lines += [f"| {s.name} | {s.samples} | {s.size_bytes} | `{s.sha256}` |" for s in record.shards]
    return "\n".join(lines) + "\n"


def _set_lines(dataset: SetRecord) -> list[str]:
    volumes = (
        "counts as measured, with noise, detector gaps and other disturbances"
        if dataset.nuisance == "measured"
        else "expected intensities without noise or gaps, scaled to a peak of 1e6: noise is added during training"
    )
    spec = (
        "the default"
        if dataset.spec == DatasetSpec()
        else f"[{_spec_file(dataset.digest)}]({_spec_file(dataset.digest)})"
    )
    return [
        f"- {dataset.samples} samples of {dataset.configurations} different crystals in {dataset.shards} shards; "
        "split them by `config`, never by sample",
        f"- volumes: log1p of {volumes}",
        f"- specification: {spec}, digest `{dataset.digest}`, seed {dataset.seed}",
        f"- crystals: {dataset.crystals or 'continuum'}",
        f"- made with braggwatch {', '.join(dataset.code_versions)}",
        "",
        "| | |",
        "|---|---|",
        f"| label | {_counts(dataset.labels)} |",
        f"| element | {_counts(dataset.elements)} |",
        f"| reflections | {_counts(dataset.reflections)} |",
        *_strain_line(dataset),
        f"| rejected | {_counts(dataset.refused) or 'none'} |",
        "",
        "Make it again:",
        "",
        "```console",
        *(f"$ {command}" for command in dataset.commands),
        "```",
    ]


def _strain_line(dataset: SetRecord) -> list[str]:
    if dataset.strain_rad is None:
        return []
    least, median, largest = dataset.strain_rad
    return [f"| smooth strain, rms | {least:.2f} to {largest:.2f} rad, median {median:.2f} |"]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _spec_file(digest: str) -> str:
    return f"spec-{digest}.json"


def _shards(folder: Path) -> list[Path]:
    return sorted(path for pattern in ("cxdp-*.h5", "outlier-*.h5") for path in folder.glob(pattern))


def _last_shards(folder: Path) -> Iterable[ShardRecord]:
    try:
        return DatasetRecord.model_validate_json((folder / RECORD_FILE).read_text(encoding="utf-8")).shards
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return ()


def _shard_record(path: Path, facts: ShardFacts, known: ShardRecord | None) -> ShardRecord:
    status = path.stat()
    unchanged = known is not None and (known.size_bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns)
    return ShardRecord(
        name=path.name,
        sha256=known.sha256 if known is not None and unchanged else _sha256(path),
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        samples=len(facts.infos),
    )


def _set_record(name: str, shards: Sequence[ShardFacts]) -> SetRecord:
    infos = [info for facts in shards for info in facts.infos]
    refused: Counter[str] = Counter()
    for facts in shards:
        refused.update(facts.refused)
    first = shards[0]
    ranges = _ranges([facts.samples for facts in shards])
    return SetRecord(
        name=name,
        digest=first.spec.digest(),
        spec=first.spec,
        seed=first.spec.seed,
        nuisance=first.nuisance,
        crystals=first.crystals,
        code_versions=tuple(sorted({facts.code_version or "(not recorded)" for facts in shards})),
        ranges=ranges,
        shards=len(shards),
        samples=len(infos),
        configurations=len({info.config for info in infos}),
        labels=_sorted(Counter(info.label for info in infos)),
        elements=_sorted(Counter(info.element for info in infos)),
        reflections=_sorted(Counter(_family(info.hkl) for info in infos)),
        strain_rad=_strain_range(infos),
        refused=_sorted(refused),
        commands=tuple(_command(name, first, start, stop) for start, stop in ranges),
    )


def _strain_range(infos: Sequence[SampleInfo]) -> tuple[float, float, float] | None:
    known = sorted(info.strain_rad for info in infos if info.strain_rad is not None)
    return (known[0], median(known), known[-1]) if known else None


def _ranges(samples: Sequence[range]) -> tuple[tuple[int, int], ...]:
    """Join adjacent ranges, but not after a short shard: a single command would divide the files differently."""
    joined: list[tuple[int, int]] = []
    may_join = False
    for numbers in sorted(samples, key=lambda r: r.start):
        if may_join and joined[-1][1] == numbers.start:
            joined[-1] = (joined[-1][0], numbers.stop)
        else:
            joined.append((numbers.start, numbers.stop))
        may_join = len(numbers) == SHARD_SIZE
    return tuple(joined)


def _command(name: str, facts: ShardFacts, start: int, stop: int) -> str:
    parts = ["braggwatch cxdp simulate"]
    if facts.spec != DatasetSpec():
        parts.append(f"--config {_spec_file(facts.spec.digest())}")
    kind, _, word = name.removesuffix(f"-{facts.spec.digest()}").partition("-")
    if kind == "outlier":
        parts.append(f"--outliers {word}")
    if facts.crystals:
        parts.append(f"--library LIBRARY --patterns-per-crystal {facts.crystals.rpartition('x')[2]}")
    return " ".join([*parts, f"--first {start} --n {stop - start} --out ."])


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _family(hkl: tuple[int, int, int]) -> str:
    return "{" + "".join(str(i) for i in sorted(map(abs, hkl), reverse=True)) + "}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
