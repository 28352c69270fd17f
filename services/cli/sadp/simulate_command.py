"""``braggwatch sadp simulate``: electron diffraction patterns to train and test on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console, write_json
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.services.sadp.training.pattern_data import PatternsDone
    from braggwatch.sim.sadp.dataset import PatternSpec
    from braggwatch.sim.sadp.model import Direction


def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    per_structure: Annotated[
        int, typer.Option("--n-per-structure", min=1, help="Patterns per structure, divided evenly among the zones.")
    ] = 320,
    zones: Annotated[
        str | None, typer.Option("--zones", help="Zone axes, e.g. 001,011,111; default: the sixteen shortest.")
    ] = None,
    groups: Annotated[
        list[int] | None, typer.Option("--group", help="Only structures of this space group; may be repeated.")
    ] = None,
    cifs: Annotated[
        list[Path] | None, typer.Option("--cif", help="Simulate this CIF instead of the table; may be repeated.")
    ] = None,
    dynamical: Annotated[
        bool, typer.Option("--dynamical", help="Bloch waves instead of kinematic intensities.")
    ] = False,
    thickness: Annotated[
        tuple[float, float], typer.Option("--thickness", help="Smallest and largest foil thickness in Å.")
    ] = (
        50.0,
        500.0,
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of voltages, camera lengths, thicknesses and tilts.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one core each.")] = 2,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with a whole specification, instead of the options above.")
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="Also draw each pattern as a PNG file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as one JSON object.")] = False,
) -> None:
    """Simulate zone-axis patterns of the tabulated cubic structures as lists of spots, without pictures.

    Voltage, camera length, thickness and a small tilt vary between patterns. Deterministic by seed and structure. Run
    again, it resumes and replaces damaged files. At the end it writes the data set's card, CARD.md and dataset.json.

    Example: **braggwatch sadp simulate --out data/sadp** then **braggwatch sadp simulate --dynamical --n-per-structure
    64 --thickness 50 1000 --out data/sadp-thick**
    """
    with clear_errors():
        from braggwatch.services.sadp.training.pattern_data import CARD_FILE, make_patterns, pattern_tasks
        from braggwatch.sim.sadp.dataset import PatternSpec
        from braggwatch.sim.validated import read_json_model

        if config is None:
            spec = _spec(per_structure, zones, dynamical, thickness, seed)
        else:
            spec = read_json_model(config, PatternSpec)
        tasks = pattern_tasks(out, spec, cifs=cifs or (), groups=groups or (), images=images)
        done: list[PatternsDone] = []
        with counted_progress() as progress:
            each = spec.per_zone * len(spec.zones)
            bar = progress.add_task("simulating", total=each * sum(len(task.structures) for task in tasks))

            def tell(one: PatternsDone) -> None:
                done.append(one)
                progress.advance(bar, one.patterns)

            paths = make_patterns(tasks, workers=workers, on_done=tell)
        patterns = sum(one.patterns for one in done)
        remade = [f"{one.path.name}: {one.problem}" for one in done if one.problem]
        if as_json:
            write_json(
                {
                    "files": [str(path) for path in paths],
                    "patterns": patterns,
                    "kept": sum(one.kept for one in done),
                    "remade": remade,
                    "spec": spec.digest(),
                    "card": str(out / CARD_FILE),
                }
            )
        else:
            kept = sum(one.kept for one in done)
            error_console().print(f"{patterns} patterns in {len(paths)} files under {out} ({kept} already existed)")
            for line in remade:
                error_console().print(f"made again: {line}")


def _spec(
    per_structure: int, zones: str | None, dynamical: bool, thickness: tuple[float, float], seed: int
) -> PatternSpec:
    from braggwatch.sim.sadp.dataset import PatternSpec
    from braggwatch.sim.sadp.model import ZONES

    chosen = ZONES if zones is None else tuple(_zone(word) for word in zones.split(","))
    if per_structure % len(chosen):
        raise InputError(
            f"{per_structure} patterns per structure can't be divided evenly among {len(chosen)} zones: "
            f"try {(per_structure // len(chosen) + 1) * len(chosen)}"
        )
    if not 0 < thickness[0] <= thickness[1]:
        raise InputError("--thickness needs two lengths in Å, the smaller one first")
    return PatternSpec(
        zones=chosen,
        per_zone=per_structure // len(chosen),
        dynamical=dynamical,
        thickness_A=thickness,
        seed=seed,
    )


def _zone(word: str) -> Direction:
    from braggwatch.sim.sadp.model import ZONES

    for zone in ZONES:
        if word.strip() == "".join(map(str, zone)):
            return zone
    known = ",".join("".join(map(str, zone)) for zone in ZONES)
    raise InputError(f"no zone {word.strip()!r}: choose from {known}")
