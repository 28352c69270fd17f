"""Make data sets of electron diffraction patterns: files of a few structures each, and a card that lists them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from braggwatch.services.batch.executors import run_shards
from braggwatch.services.version import tool_version
from braggwatch.sim.errors import BraggwatchError, InputError
from braggwatch.sim.sadp.cif import read_cif
from braggwatch.sim.sadp.dataset import PatternSpec, facts_of, patterns_of
from braggwatch.sim.sadp.labels import EFFECTIVE_GROUPS, classes
from braggwatch.sim.sadp.pattern_files import PatternFileError, read_patterns, read_spec, store_patterns
from braggwatch.sim.sadp.pattern_set import PatternSet, StructureFacts, pack
from braggwatch.sim.sadp.structure import CrystalStructure
from braggwatch.sim.sadp.table import structure_named, structures
from braggwatch.sim.whole_file import whole_file

STRUCTURES_PER_FILE = 10
RECORD_FILE = "dataset.json"
CARD_FILE = "CARD.md"


class ForeignPatternsError(BraggwatchError, ValueError):
    """A sound file of another data set occupies the path."""


class FileRecord(BaseModel):
    """One file of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int
    patterns: int


class PatternCard(BaseModel):
    """Content of a folder of patterns.

    Attributes
    ----------
    specification
        Digest of ``spec``.
    classes_fingerprint
        Changes when any class's number, name or members do.
    patterns_of_group
        Number of patterns by effective group.
    sources
        Number of structures by source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sadp-patterns"] = "sadp-patterns"
    specification: str
    spec: PatternSpec
    made_with: str
    structures: int
    prototypes: int
    classes: int
    classes_fingerprint: str
    patterns_of_group: dict[str, int]
    sources: dict[str, int]
    files: dict[str, FileRecord]


@dataclass(frozen=True, slots=True)
class PatternTask:
    """One file to make.

    Attributes
    ----------
    structures
        Ids in the table, or paths of CIF files.
    images
        Folder for pictures of the patterns; None: no pictures.
    """

    path: Path
    spec: PatternSpec
    structures: tuple[str, ...]
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class PatternsDone:
    """One finished file.

    Attributes
    ----------
    kept
        True if the file already existed and was correct.
    problem
        Why an existing file was made again; '' if it wasn't.
    """

    path: Path
    patterns: int
    kept: bool
    problem: str = ""


def pattern_tasks(
    out: Path,
    spec: PatternSpec,
    *,
    cifs: Sequence[Path] = (),
    groups: Sequence[int] = (),
    images: bool = False,
) -> list[PatternTask]:
    """Plan the files of a data set.

    Parameters
    ----------
    cifs
        Structures to simulate; empty: those of the table.
    groups
        Only structures of the table with these space groups; empty: all.

    Raises
    ------
    InputError
        If no structure matches.
    """
    chosen = [str(path) for path in cifs] or [row.id for row in structures() if not groups or row.space_group in groups]
    if not chosen:
        raise InputError(f"the table has no structure of space group {', '.join(map(str, groups))}")
    per_file = [tuple(chosen[i : i + STRUCTURES_PER_FILE]) for i in range(0, len(chosen), STRUCTURES_PER_FILE)]
    folder = out / "images" if images else None
    return [PatternTask(out / f"patterns-{i:04d}.h5", spec, names, folder) for i, names in enumerate(per_file)]


def make_patterns(
    tasks: Sequence[PatternTask], *, workers: int = 1, on_done: Callable[[PatternsDone], None] | None = None
) -> list[Path]:
    """Make the missing files and the card.

    Returns
    -------
    list of Path
        All files, including existing ones.

    Raises
    ------
    ForeignPatternsError
        If a file's path holds a sound file of another data set.
    ImportError
        If gemmi is not installed.
    OSError
        If a file can't be written.
    """
    for folder in {task.path.parent for task in tasks}:
        folder.mkdir(parents=True, exist_ok=True)
    run_shards(make_file, tasks, on_done or _silent, workers=workers)
    paths = [task.path for task in tasks]
    if tasks:
        write_card(tasks[0].path.parent, tasks[0].spec, paths)
    return paths


def make_file(task: PatternTask) -> PatternsDone:
    """Make one file, or keep an existing correct one.

    Raises
    ------
    ForeignPatternsError
        If the path holds a sound file of another data set.
    """
    problem = ""
    if task.path.exists():
        try:
            existing = _checked(task)
        except PatternFileError as error:
            problem = str(error)
        else:
            _draw(task, existing)
            return PatternsDone(task.path, len(existing), kept=True)
    crystals: list[CrystalStructure] = [_structure(name) for name in task.structures]
    simulated = [pattern for crystal in crystals for pattern in patterns_of(crystal, task.spec)]
    patterns = pack([facts_of(crystal) for crystal in crystals], simulated)
    store_patterns(task.path, task.spec, patterns)
    for partial in task.path.parent.glob(f"{task.path.stem}.*partial"):
        partial.unlink(missing_ok=True)
    _draw(task, patterns)
    return PatternsDone(task.path, len(patterns), kept=False, problem=problem)


def write_card(folder: Path, spec: PatternSpec, paths: Sequence[Path]) -> PatternCard:
    """Write the data set's card (CARD.md) and record (dataset.json), with a hash of each file."""
    files: dict[str, FileRecord] = {}
    of_group: Counter[str] = Counter()
    by_id: dict[str, StructureFacts] = {}
    for path in paths:
        patterns = read_patterns(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files[path.name] = FileRecord(sha256=digest, size_bytes=path.stat().st_size, patterns=len(patterns))
        by_id.update({facts.id: facts for facts in patterns.structures})
        of_group.update(patterns.structures[int(index)].effective_group for index in patterns.structure)
    card = PatternCard(
        specification=spec.digest(),
        spec=spec,
        made_with=tool_version(),
        structures=len(by_id),
        prototypes=len({facts.prototype for facts in by_id.values()}),
        classes=len(classes()),
        classes_fingerprint=labels_fingerprint(),
        patterns_of_group={name: of_group[name] for name in EFFECTIVE_GROUPS if of_group[name]},
        sources=dict(Counter(_source(facts) for facts in by_id.values()).most_common()),
        files=files,
    )
    _replace(folder / RECORD_FILE, card.model_dump_json(indent=1) + "\n")
    _replace(folder / CARD_FILE, _card_text(card))
    return card


def labels_fingerprint() -> str:
    """Return twelve hexadecimal digits that change when any class's number, name or members do."""
    text = json.dumps([[cls.number, cls.name, cls.members] for cls in classes()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _silent(_done: PatternsDone) -> None:
    pass


def _structure(name: str) -> CrystalStructure:
    return read_cif(Path(name)) if name.lower().endswith(".cif") else structure_named(name).build()


def _checked(task: PatternTask) -> PatternSet:
    patterns = read_patterns(task.path)
    names = tuple(Path(name).stem if name.lower().endswith(".cif") else name for name in task.structures)
    if read_spec(task.path).digest() != task.spec.digest() or tuple(facts.id for facts in patterns.structures) != names:
        raise ForeignPatternsError(
            f"{task.path.name} belongs to another data set: move it away or choose another folder"
        )
    return patterns


def _draw(task: PatternTask, patterns: PatternSet) -> None:
    if task.images is None:
        return
    from braggwatch.models.slice_picture import write_png
    from braggwatch.sim.sadp.render import RenderSettings, render

    for number in range(len(patterns)):
        facts = patterns.facts(number)
        zone = "".join(map(str, facts.zone))
        path = task.images / facts.structure / f"{zone}_{number % task.spec.per_zone:03d}.png"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = RenderSettings(size_px=task.spec.detector_px, inv_A_per_px=facts.inv_A_per_px, direct_beam=1.0)
        grey = np.clip(render(patterns.pattern(number), settings) * 255 + 0.5, 0, 255).astype(np.uint8)
        write_png(path, np.repeat(grey[:, :, None], 3, axis=2))


def _replace(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _source(facts: StructureFacts) -> str:
    return facts.source.split(":")[0].split(" mp-")[0].split(" (")[0]


def _card_text(card: PatternCard) -> str:
    kind = "dynamical (Bloch waves)" if card.spec.dynamical else "kinematic"
    total = sum(card.patterns_of_group.values())
    lines = [
        "# Electron diffraction patterns",
        "",
        f"{total} {kind} spot lists of {card.structures} structures of {card.prototypes} prototypes along "
        f"{len(card.spec.zones)} zone axes; specification {card.specification}, made with {card.made_with}.",
        "",
        "| effective group | patterns |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in card.patterns_of_group.items()),
        "",
        f"Classes of patterns that look alike: {card.classes} ({card.classes_fingerprint}).",
        "",
        "Structures from: " + ", ".join(f"{name} ({count})" for name, count in card.sources.items()) + ".",
        "",
        f"The hashes of the {len(card.files)} files and the specification are in {RECORD_FILE}.",
        "",
    ]
    return "\n".join(lines)
