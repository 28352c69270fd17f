"""The card of a data set: what the shards of a folder hold, their hashes, and how to make them again."""

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
    modified_ns: int = Field(description="Its time stamp when hashed: an unchanged file is not hashed again.")
    samples: int


class SetRecord(_Record):
    """The shards of one specification."""

    name: str
    digest: str
    spec: DatasetSpec
    seed: int
    nuisance: NuisanceWord
    crystals: str = Field(description="'' where they are built, else the library they come from.")
    code_versions: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...] = Field(description="Numbers: first, one past the last.")
    shards: int
    samples: int
    configurations: int = Field(description="Different crystals.")
    labels: dict[str, int]
    elements: dict[str, int]
    reflections: dict[str, int]
    strain_rad: tuple[float, float, float] | None = Field(
        default=None, description="Smooth strain's phase, rms: least, median and largest; None where it isn't known."
    )
    refused: dict[str, int]
    commands: tuple[str, ...] = Field(description="To be run in the folder, to make it again.")


class DatasetRecord(_Record):
    """What ``dataset.json`` holds."""

    card_schema: int = CARD_SCHEMA
    sets: tuple[SetRecord, ...]
    shards: tuple[ShardRecord, ...]
    unreadable: dict[str, str] = Field(description="File: what is wrong with it.")

    @property
    def samples(self) -> int:
        """Samples of all sets."""
        return sum(s.samples for s in self.sets)


@dataclass(frozen=True, slots=True)
class CardCheck:
    """What a check of the hashes found; all empty where a folder is as its card says.

    Attributes
    ----------
    changed
        Files that are not what was hashed.
    missing
        Files on the card that are not there.
    unlisted
        Shards that are there and not on the card.
    """

    checked: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the folder is as its card says."""
        return not (self.changed or self.missing or self.unlisted)


def write_card(folder: Path, *, hash_again: bool = False) -> DatasetRecord:
    """Write ``dataset.json`` and ``CARD.md`` from the shards that are there, and the specifications as files.

    Parameters
    ----------
    hash_again
        Hash files too that have the size and time stamp of the last time.

    Raises
    ------
    FileNotFoundError
        If the folder holds no shard.
    """
    known = {} if hash_again else {record.name: record for record in _last_shards(folder)}
    paths = _shards(folder)
    if not paths:
        raise FileNotFoundError(f"no shards in {folder}: make them with 'braggwatch sim cxdp --out {folder}'")
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
    for made in record.sets:
        if made.spec != DatasetSpec():
            _write(folder / _spec_file(made.digest), made.spec.model_dump_json(indent=2) + "\n")
    _write(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    _write(folder / CARD_FILE, card_text(record))
    return record


def check_card(folder: Path) -> CardCheck:
    """Hash every shard again and compare with ``dataset.json``.

    Raises
    ------
    FileNotFoundError
        If there is no card.
    ValueError
        If it can't be read.
    """
    path = folder / RECORD_FILE
    try:
        record = DatasetRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} has no {RECORD_FILE}: write one with 'braggwatch sim card'") from None
    except ValidationError as error:
        raise ValueError(f"{path} is no data set card: {error.errors()[0]['msg']}") from error
    listed = {shard.name: shard.sha256 for shard in record.shards}
    here = {shard.name: shard for shard in _shards(folder)}
    return CardCheck(
        checked=len(listed),
        changed=tuple(name for name, sha256 in listed.items() if name in here and _sha256(here[name]) != sha256),
        missing=tuple(name for name in listed if name not in here),
        unlisted=tuple(name for name in here if name not in listed),
    )


def card_text(record: DatasetRecord) -> str:
    """Tell a data set in Markdown."""
    lines = [
        "# Data set",
        "",
        f"{record.samples} simulated patterns in {len(record.shards)} shards. Written by `braggwatch sim cxdp` from "
        f"the files that are there; `{RECORD_FILE}` says the same for programs, `braggwatch sim card . --verify` "
        "checks the hashes.",
    ]
    for made in record.sets:
        lines += ["", f"## {made.name}", "", *_set_lines(made)]
    if record.unreadable:
        lines += ["", "## Unreadable", ""]
        lines += [f"- {problem}" for problem in record.unreadable.values()]
    lines += ["", "## Files", "", "| file | samples | bytes | SHA-256 |", "|---|---|---|---|"]
    lines += [f"| {s.name} | {s.samples} | {s.size_bytes} | `{s.sha256}` |" for s in record.shards]
    return "\n".join(lines) + "\n"


def _set_lines(made: SetRecord) -> list[str]:
    volumes = (
        "counts as measured, with noise, gaps and the rest"
        if made.nuisance == "measured"
        else "expected intensities without noise or gaps, scaled to a peak of 1e6: to be spoilt while training"
    )
    spec = "the default" if made.spec == DatasetSpec() else f"[{_spec_file(made.digest)}]({_spec_file(made.digest)})"
    return [
        f"- {made.samples} samples of {made.configurations} different crystals in {made.shards} shards; split by "
        "`config`, never by sample",
        f"- volumes: log1p of {volumes}",
        f"- specification: {spec}, digest `{made.digest}`, seed {made.seed}",
        f"- crystals: {made.crystals or 'continuum'}",
        f"- made with braggwatch {', '.join(made.code_versions)}",
        "",
        "| | |",
        "|---|---|",
        f"| label | {_counts(made.labels)} |",
        f"| element | {_counts(made.elements)} |",
        f"| reflections | {_counts(made.reflections)} |",
        *_strain_line(made),
        f"| refused | {_counts(made.refused) or 'none'} |",
        "",
        "Make it again:",
        "",
        "```console",
        *(f"$ {command}" for command in made.commands),
        "```",
    ]


def _strain_line(made: SetRecord) -> list[str]:
    if made.strain_rad is None:
        return []
    least, median, largest = made.strain_rad
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
    """Join neighbours, but not behind a short shard: one command over it would cut the files elsewhere."""
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
    parts = ["braggwatch sim cxdp"]
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
