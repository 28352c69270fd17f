"""Scan synthetic reconstructions of known truth and write docs/reference/atom-probe-benchmark.md.

``python docs/measure_apt.py --out DIR`` simulates and scans volumes of seeds that nothing was developed on, beside
isoconcentration surfaces and, with ``--paper-bundle``, the published rule. It goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel

from braggwatch.models.apt.agreement import Agreement, compare, true_owner
from braggwatch.models.apt.channels import as_host_and_solute
from braggwatch.models.apt.components import PrecipitateMap, find_precipitates
from braggwatch.models.apt.cube_votes import PAPER_VOTES, CubeCaller, votes
from braggwatch.models.apt.order_bundle import order_rule
from braggwatch.models.apt.scoring import OrderScorer
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.services.apt.scanning.scan import OrderScan, ScanOptions, scan_reconstruction
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.sim.apt.model import LabelledIons, label_ions
from braggwatch.sim.apt.volume import VolumeKind, VolumeSpec, load_volume_spec, simulate_volume

KINDS: tuple[VolumeKind, ...] = ("A", "B", "C", "D")
AIMS = {"A": 0.85, "B": 0.75, "C": 0.72, "D": 0.82}
WAYS = {
    "network": "network",
    "otsu": "Li, Otsu's cut",
    "given": "Li above 8 at.%",
    "best": "Li, the best cut by the truth",
    "published": f"published rule, {PAPER_VOTES} of 64",
}
DENSE = 0.22
_SMALL_FROM = 100
PAGE = Path(__file__).parent / "reference" / "atom-probe-benchmark.md"


class Sizes(BaseModel):
    """Radii of precipitates."""

    precipitates: int
    mean_nm: float
    sd_nm: float

    @classmethod
    def of(cls, radii_nm: NDArray[np.float32]) -> Sizes:
        """Sum up."""
        some = radii_nm.size > 0
        mean, sd = (float(radii_nm.mean()), float(radii_nm.std())) if some else (0.0, 0.0)
        return cls(precipitates=int(radii_nm.size), mean_nm=mean, sd_nm=sd)


class Way(BaseModel):
    """One way to find precipitates in one volume."""

    agreement: Agreement
    sizes: Sizes


class Measured(BaseModel):
    """One volume."""

    world: str
    seed: int
    ions: int
    voxels: int
    cpu_s: float
    rule: str
    control: int | None
    true: Sizes
    ways: dict[str, Way]


def other_worlds() -> dict[str, VolumeSpec]:
    """Return worlds without precipitates, and with many, by name."""

    def changed(kind: VolumeKind, fraction: float) -> VolumeSpec:
        spec = load_volume_spec(kind)
        return spec.model_copy(
            update={"precipitates": spec.precipitates.model_copy(update={"volume_fraction": fraction})}
        )

    return {
        "A, none": changed("A", 0.0),
        "C, none": changed("C", 0.0),
        "D, none": changed("D", 0.0),
        f"B, {DENSE:.0%}": changed("B", DENSE),
        f"D, {DENSE:.0%}": changed("D", DENSE),
    }


def main(
    out: Annotated[Path, typer.Option(help="One JSON file a volume; those there are kept.")],
    bundle: Annotated[str, typer.Option(help="Order bundle.")] = "apt",
    registry: Annotated[Path | None, typer.Option(help="Folder of bundles; else the package's.")] = None,
    paper_bundle: Annotated[str | None, typer.Option(help="Bundle of the published network.")] = None,
    paper_ions: Annotated[float, typer.Option(help="Ions of its volumes: it takes 100 times as long.")] = 1.2e5,
    seed: Annotated[int, typer.Option(help="First seed.")] = 9000,
    seeds: Annotated[int, typer.Option(min=0, help="Large volumes of each kind.")] = 2,
    ions: Annotated[float, typer.Option(help="Ions of a large volume.")] = 2.7e6,
    small_seeds: Annotated[int, typer.Option(min=0, help="Small volumes of each kind, of other seeds.")] = 4,
    small_ions: Annotated[float, typer.Option(help="Ions of a small volume.")] = 4e5,
    page: Annotated[Path, typer.Option(help="Markdown page to write.")] = PAGE,
) -> None:
    """Measure the scan on fresh volumes and write the page."""
    with clear_errors():
        model = Bundle.load(Registry(registry).resolve(bundle))
        scorer = OrderScorer(model, open_runtime(model, "onnxruntime-cpu", 1)[0])
        specs = {kind: load_volume_spec(kind) for kind in KINDS}
        jobs = [(ions, kind, spec, number) for number in range(seed, seed + seeds) for kind, spec in specs.items()]
        other = seed + _SMALL_FROM
        for number in range(other, other + small_seeds):
            more = other_worlds() if number == other else {}
            jobs += [(small_ions, name, spec, number) for name, spec in {**specs, **more}.items()]
        rows: dict[float, list[Measured]] = {ions: [], small_ions: []}
        published: list[Measured] = []
        with counted_progress() as progress:
            task = progress.add_task("volumes", total=len(jobs))
            for size, name, spec, number in jobs:
                kept = out / f"{name}-{number}-{size:g}-{scorer.fingerprint[:8]}-{_digest(scorer)}.json"
                rows[size].append(_kept(kept, partial(_measured, name, spec.sized_for(size), number, scorer)))
                progress.advance(task)
            if paper_bundle is not None:
                old = Bundle.load(Registry(registry).resolve(paper_bundle))
                caller = CubeCaller(old, open_runtime(old, "onnxruntime-cpu", 1)[0])
                task = progress.add_task("published rule", total=len(KINDS))
                for kind in KINDS:
                    kept = out / f"paper-{kind}-{seed}-{paper_ions:g}-{old.sha256[:8]}-{_digest(scorer)}.json"
                    small = load_volume_spec(kind).sized_for(paper_ions)
                    published.append(_kept(kept, partial(_measured, kind, small, seed, scorer, caller)))
                    progress.advance(task)
        page.write_text(_page(rows[ions], rows[small_ions], published, model, seed, paper_bundle), encoding="utf-8")


def _digest(scorer: OrderScorer) -> str:
    rule = scorer.rule
    return hashlib.sha256(b"" if rule is None else rule.model_dump_json().encode()).hexdigest()[:8]


def _kept(path: Path, make: Callable[[], Measured]) -> Measured:
    if path.exists():
        return Measured.model_validate_json(path.read_text(encoding="utf-8"))
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.model_dump_json(), encoding="utf-8")
    return made


def _measured(
    world: str, spec: VolumeSpec, seed: int, scorer: OrderScorer, caller: CubeCaller | None = None
) -> Measured:
    volume = simulate_volume(spec, seed)
    ions = label_ions(volume.cloud, spec.resolved_alloy().ranges())
    before = time.process_time()
    scan = scan_reconstruction(ions, scorer, ScanOptions(host="Al", solute="Li", isoconcentration=0.08, injected=False))
    seconds = time.process_time() - before
    flat = scan.level.apply(ions.positions_nm)
    owner = true_owner(flat, volume.truth, scan.grid)
    found = {"network": scan.found, **{one.name: one.found for one in scan.baselines}}
    found["best"] = _best_surface(scan, owner >= 0)
    if caller is not None:
        found["published"] = _published(scan, flat, caller)
    return Measured(
        world=world,
        seed=seed,
        ions=len(ions),
        voxels=int(scan.known.sum()),
        cpu_s=seconds,
        rule=scan.cut.rule,
        control=None if scan.control is None else scan.control.precipitates,
        true=Sizes.of(volume.truth.radii_nm),
        ways={
            name: Way(
                agreement=compare(one, owner, volume.truth, scan.known), sizes=Sizes.of(one.radii_nm[~one.at_edge])
            )
            for name, one in found.items()
        },
    )


def _best_surface(scan: OrderScan, ordered: NDArray[np.bool_]) -> PrecipitateMap:
    """Return what the concentration could show at most: its cut with the largest F1, which no user can know."""
    part, true = scan.concentration[scan.known], ordered[scan.known]
    cuts = np.nanquantile(part, np.linspace(0.5, 0.995, 100))
    best = max(cuts, key=lambda cut: 2 * (true & (part > cut)).sum() / max(1, true.sum() + (part > cut).sum()))
    height = scan.concentration - np.float32(best)
    return find_precipitates(np.nan_to_num(height, nan=-1.0) > 0, scan.grid, known=scan.known, height=height)


def _published(scan: OrderScan, flat: NDArray[np.float32], caller: CubeCaller) -> PrecipitateMap:
    pair = as_host_and_solute(LabelledIons(flat, scan.ions.species, scan.ions.names), scan.host, scan.solute)
    counted = votes(caller.call(pair, scan.grid), caller.sdm.cube_voxels)
    return find_precipitates(counted >= PAPER_VOTES, scan.grid, known=scan.known, least_voxels=1)


def _spread(values: Sequence[float], digits: int = 3) -> str:
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def _scores(rows: Sequence[Measured], *, aims: bool) -> list[str]:
    lines = [
        f"| kind | way | voxel F1 {'(aim) ' if aims else ''}| precision | recall | smallest radius found at 80 %, nm | "
        "false components |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        own = [row for row in rows if row.world == kind]
        for name in (name for name in WAYS if own and name in own[0].ways):
            all_of = [row.ways[name].agreement for row in own]
            smallest = ", ".join("none" if a.smallest_found_nm is None else f"{a.smallest_found_nm:g}" for a in all_of)
            aim = f" ({AIMS[kind]})" if aims and name == "network" else ""
            lines.append(
                f"| {kind} | {WAYS[name]} | {_spread([a.f1 for a in all_of])}{aim} | "
                f"{_spread([a.precision for a in all_of])} | {_spread([a.recall for a in all_of])} | {smallest} | "
                f"{', '.join(str(a.false_components) for a in all_of)} |"
            )
    return lines


def _ions(rows: Sequence[Measured]) -> str:
    return f"{np.mean([row.ions for row in rows]) / 1e6:.1f} million ions" if rows else "none"


def _size_lines(rows: Sequence[Measured]) -> list[str]:
    lines = [
        "| kind | true: number, mean ± sd | network | Li, Otsu's cut | mean error of a radius, network |",
        "|---|---|---|---|---|",
    ]

    def sizes(found: Sequence[Sizes]) -> str:
        return "; ".join(f"{one.precipitates}, {one.mean_nm:.2f} ± {one.sd_nm:.2f}" for one in found)

    for kind in dict.fromkeys(row.world for row in rows):
        own = [row for row in rows if row.world == kind]
        errors = [row.ways["network"].agreement.radius_error_nm for row in own]
        lines.append(
            f"| {kind} | {sizes([row.true for row in own])} | {sizes([row.ways['network'].sizes for row in own])} | "
            f"{sizes([row.ways['otsu'].sizes for row in own])} | "
            f"{', '.join('none' if e is None else f'{e:+.2f}' for e in errors)} nm |"
        )
    return lines


def _by_radius(rows: Sequence[Measured]) -> list[str]:
    lines = ["| kind | true radius, nm | found of all | mean error of its radius, nm |", "|---|---|---|---|"]
    for kind in KINDS:
        own = [row.ways["network"].agreement for row in rows if row.world == kind]
        for low in sorted({low for one in own for low, _, _ in one.found_by_radius}):
            hits = sum(hit for one in own for at, hit, _ in one.found_by_radius if at == low)
            of = sum(n for one in own for at, _, n in one.found_by_radius if at == low)
            pairs = [(n, mean) for one in own for at, n, mean, _ in one.error_by_radius if at == low]
            number = sum(n for n, _ in pairs)
            error = f"{sum(n * mean for n, mean in pairs) / number:+.2f}" if number else ""
            lines.append(f"| {kind} | {low:g} to {low + 0.5:g} | {hits} of {of} | {error} |")
    return lines


def _other_worlds(rows: Sequence[Measured]) -> list[str]:
    lines = [
        "| volume | true precipitates | found | voxel F1 | false components | Li, Otsu's cut: found, false |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.world in KINDS:
            continue
        network, otsu = row.ways["network"], row.ways["otsu"]
        f1 = f"{network.agreement.f1:.3f}" if row.true.precipitates else ""
        lines.append(
            f"| {row.world} | {row.true.precipitates} | {network.sizes.precipitates} | {f1} | "
            f"{network.agreement.false_components} | {otsu.sizes.precipitates}, {otsu.agreement.false_components} |"
        )
    return lines


def _page(
    rows: Sequence[Measured],
    small: Sequence[Measured],
    published: Sequence[Measured],
    model: Bundle,
    seed: int,
    old: str | None,
) -> str:
    rule = order_rule(model.manifest)
    stated = (
        ""
        if rule is None
        else f"The cut is the bundle's: log odds {rule.threshold:g} of a rule over each voxel's neighbourhood, fitted "
        f"to {rule.volumes} simulated volumes of the training world, none of these kinds.\n\n"
    )
    beside = (
        []
        if not published
        else [
            "\n## Beside the published rule\n",
            f"One volume of each kind of {_ions(published)}, seed {seed}: the published network judges each cube's "
            "picture, which takes a hundred times as long. Its rule needs all neighbours within 3 nm to look ordered, "
            "so it finds the middles of the largest precipitates alone. See "
            "[the published order network](../explanation/published-order-network.md).\n",
            *_scores(published, aims=False),
        ]
    )
    also = f" --paper-bundle {old}" if old else ""
    lines = [
        "# Order in synthetic reconstructions: measured\n",
        f"Made by `python docs/measure_apt.py --out DIR{also}` on {datetime.now(UTC):%d %B %Y} with "
        f"{model.manifest.id}: seeds from {seed} on, which nothing was developed on; {_ions(rows)} a volume. What the "
        "kinds are: "
        "[volumes.json](../../sim/apt/presets/volumes.json). A voxel of 1 nm is truly ordered where at least half of "
        "its ions are; a precipitate is found where at least half of its voxels are; a false component is a found "
        "precipitate less than a tenth of which is true. ± is the standard deviation over volumes.\n",
        stated,
        *_scores(rows, aims=True),
        "\n## Over several volumes\n",
        f"Volumes of {_ions(small)}, seeds from {seed + _SMALL_FROM} on:\n",
        *_scores(small, aims=False),
        *beside,
        "\n## Sizes\n",
        "Of precipitates that don't touch the edge, nm; volume by volume.\n",
        *_size_lines(rows),
        "\nBy radius, all volumes of a kind together, small ones too:\n",
        *_by_radius([*rows, *small]),
        "\n## None, and many\n",
        f"Volumes of {_ions(small)} without any precipitate, and with {DENSE:.0%} of the volume in them.\n",
        *_other_worlds(small),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
