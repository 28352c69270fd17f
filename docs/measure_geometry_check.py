"""What the check of a scan's geometry can know, and what it says: of exact geometries, and of wrong ones.

``python docs/measure_geometry_check.py traces [SETUPS]`` prints, for each change of a geometry, what it does to what
is read: at the measured scan's place on 34-ID-C, and over random diffractometers. ``good [SCANS]`` counts the verdicts
on simulated scans whose geometry is exact: a third each of the default population, of
``sim/populations/anywhere.json`` without its artefacts, and of the default population with facets that are lattice
planes (the population stretches its crystals, by 15 % along each axis, and their facets with them). ``wrong [SCANS]``
states each change for scans of the third kind and counts what is said; ``symmetry [SCANS]`` measures what else was
thought of. ``recording FILE MASK FLAT`` does so for the
34-ID-C scan, imported (``braggwatch import 34idc``), with the bundle that serves; MASK and FLAT are .npy or .tif. A
scan takes some 0.3 s of a core, and each change as much.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.geometry_check.candidates import leaves_no_trace
from braggwatch.callbacks.cxdp.geometry_check.changes import GeometryChange, single_changes
from braggwatch.callbacks.cxdp.geometry_check.trace import Trace, local_map, trace
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings, preprocess_curve
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.volume.peak_checks import measure_peak
from braggwatch.services.cxdp.detector_arrays import read_detector_array
from braggwatch.services.cxdp.recorded_runs import screen_documents
from braggwatch.services.recording.recordings import read_recording
from braggwatch.sim.cxdp.crystal import Crystal, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec
from braggwatch.sim.cxdp.diffraction_setup import random_setup
from braggwatch.sim.cxdp.scan_frames import scan_frames
from braggwatch.sim.geometry import geometry_from_values, load_preset
from braggwatch.sim.geometry.model import GeometryPreset, RockingGeometry
from braggwatch.sim.geometry.q import rocking_map

FIRST = 9_000_000
POPULATIONS = ("default", "anywhere", "facets that are lattice planes")
SCAN_54 = {"energy": 9.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0, "detector_distance": 0.5}
PEAK_54 = (0.215, 126.0, 127.0)


@dataclass(frozen=True, slots=True)
class Scan:
    """One simulated scan: its class, its curve with the exact geometry, and dead pixels (R, C)."""

    label: str
    curve: RockingCurve
    dead: NDArray[np.bool_]


class LatticePlanes:
    """Crystals of the default population, not stretched: their facets are {111}, {100} and {110}."""

    name = "lattice planes"

    def configuration(self, number: int) -> int:
        """Return the number of a sample's crystal: each sample has its own."""
        return number

    def draw(self, rng: np.random.Generator, config: int) -> Crystal:
        """Draw one crystal, the classes taking turns."""
        spec = specification("default")
        drawn = random_crystal_spec(
            rng, spec.classes[config % len(spec.classes)], spec.population, visible=spec.visible
        )
        shape = drawn.shape.model_copy(update={"elongation": (1.0, 1.0, 1.0)})
        return build_crystal(drawn.model_copy(update={"shape": shape}))


@cache
def specification(population: str) -> DatasetSpec:
    """Return the specification of a population, without artefacts."""
    if population != "anywhere":
        return DatasetSpec()
    text = files("braggwatch.sim").joinpath("populations", f"{population}.json").read_text(encoding="utf-8")
    spec = DatasetSpec.model_validate_json(text)
    return spec.model_copy(update={"artefacts": spec.artefacts.model_copy(update={"spoilt_fraction": 0.0})})


def simulated(population: str, number: int) -> Scan:
    """Return one scan before its preprocessing."""
    spec = specification(population)
    made = scan_frames(spec, number, LatticePlanes() if population == POPULATIONS[2] else None)
    frames = made.frames.astype(np.uint32)
    curve = RockingCurve("", frames, made.angles_deg, made.present, None, None, (0, 0), made.geometry)
    return Scan(spec.classes[number % len(spec.classes)], curve, made.dead)


def preprocessed(scan: Scan, geometry: RockingGeometry) -> ModelInput:
    """Return what the preprocessing makes of a scan with a geometry."""
    # the region of these frames begins at (0, 0), whatever the pixels count
    geometry = geometry.model_copy(update={"roi_origin": (0, 0)})
    if geometry.transposed:
        rows, columns = geometry.chip_shape
        geometry = geometry.model_copy(update={"chip_shape": (columns, rows)})
    curve = RockingCurve("", scan.curve.frames, scan.curve.angles_deg, scan.curve.present, None, None, (0, 0), geometry)
    return preprocess_curve(curve, PreprocessingSettings(mask=scan.dead))


def stated_wrongly(geometry: RockingGeometry) -> Iterator[GeometryChange]:
    """Yield the changes that are stated, without those of units, which d tells."""
    for change in single_changes(geometry):
        if change.words.startswith("energy") or "units" in change.words:
            continue
        yield change


def kind(words: str) -> str:
    """Return what a change is, without the values of this geometry."""
    return words.split(" (")[0].replace("inner's", "a detector circle's").replace("outer's", "a detector circle's")


def mend_of(words: str) -> str:
    """Return the change that undoes one."""
    for one, other in (("half of what", "twice what"), ("too long", "too short")):
        if one in words:
            return words.replace(one, other)
        if other in words:
            return words.replace(other, one)
    return words


def count_traces(setups: int) -> None:
    """Print which changes leave a trace, at the measured scan's place and over random diffractometers."""
    geometry = geometry_from_values(load_preset("34idc"), {**SCAN_54, "th": PEAK_54[0]}, (256, 256))
    here = local_map(rocking_map(geometry), PEAK_54)
    sys.stdout.write("| change | d | largest turn of a direction |\n|---|---|---|\n")
    for change in single_changes(geometry):
        seen = _trace_of(change, geometry, PEAK_54)
        told = f"{seen.turn_deg:.0f}°" + (": no trace" if leaves_no_trace(seen) else "")
        sys.stdout.write(
            f"| {change.words} | {here.d_spacing_A * seen.d_ratio:.4g} Å | {told} ({seen.turn_deg:.1f}°) |\n"
        )
    none, turns = Counter[str](), dict[str, list[float]]()
    for number in range(FIRST, FIRST + setups):
        rng = np.random.default_rng((1, number))
        setup = random_setup(random_crystal_spec(rng, "perfect", specification("default").population), rng)
        rows, columns = setup.geometry.frame_shape
        place = float(setup.angles_deg.mean()), (rows - 1) / 2, (columns - 1) / 2
        for change in single_changes(setup.geometry):
            seen = _trace_of(change, setup.geometry, place)
            none[kind(change.words)] += leaves_no_trace(seen)
            turns.setdefault(kind(change.words), []).append(seen.turn_deg)
    sys.stdout.write(f"\n{setups} random set-ups\n\n| change | no trace | turn, 10 % to 90 % |\n|---|---|---|\n")
    for words, values in turns.items():
        low, high = np.quantile(values, (0.1, 0.9))
        sys.stdout.write(f"| {words} | {none[words]} of {len(values)} | {low:.0f}° to {high:.0f}° |\n")


def _trace_of(change: GeometryChange, geometry: RockingGeometry, place: tuple[float, float, float]) -> Trace:
    here = local_map(rocking_map(geometry), place)
    return trace(here, local_map(rocking_map(change.geometry), place, change.rocking_scale))


def count_good(scans: int) -> None:
    """Print what is said of scans whose geometry is exact."""
    sys.stdout.write(
        "| crystals | label | scans | consistent | can't tell | inconsistent |\n|---|---|---|---|---|---|\n"
    )
    condemned: list[str] = []
    for population in POPULATIONS:
        told = dict[str, Counter[str]]()
        for number in range(FIRST, FIRST + scans // len(POPULATIONS)):
            scan = simulated(population, number)
            check = preprocessed(scan, scan.curve.geometry).quality.geometry
            verdict = "can't tell" if check is None else str(check.verdict)
            told.setdefault(scan.label, Counter())[verdict] += 1
            if check is not None and verdict == "inconsistent":
                condemned.append(f"{population} {number} {scan.label}: {check.statement}")
        for label, verdicts in told.items():
            cells = " | ".join(str(verdicts[name]) for name in ("consistent", "can't tell", "inconsistent"))
            sys.stdout.write(f"| {population} | {label} | {verdicts.total()} | {cells} |\n")
            sys.stdout.flush()
    sys.stdout.write("".join(f"{line}\n" for line in condemned))


def count_wrong(scans: int) -> None:
    """Print what is said of scans that a wrong geometry is stated for."""
    told = dict[str, Counter[str]]()
    for number in range(FIRST + 500_000, FIRST + 500_000 + scans):
        scan = simulated(POPULATIONS[2], number)
        rows, columns = scan.curve.geometry.frame_shape
        place = float(scan.curve.angles_deg.mean()), (rows - 1) / 2, (columns - 1) / 2
        for change in stated_wrongly(scan.curve.geometry):
            seen = _trace_of(change, scan.curve.geometry, place)
            curve = scan.curve
            angles = curve.angles_deg.mean() + (curve.angles_deg - curve.angles_deg.mean()) * change.rocking_scale
            changed = RockingCurve("", curve.frames, angles, curve.present, None, None, (0, 0), curve.geometry)
            check = preprocessed(Scan(scan.label, changed, scan.dead), change.geometry).quality.geometry
            words = kind(change.words)
            counts = told.setdefault(words, Counter())
            if leaves_no_trace(seen):
                counts["no trace"] += 1
            elif check is None:
                counts["invalid for another reason"] += 1
            elif check.verdict != "inconsistent":
                counts[str(check.verdict)] += 1
            else:
                counts["mend named" if mend_of(words) in map(kind, check.mends) else "another mend, or none"] += 1
    named = (
        "no trace",
        "mend named",
        "another mend, or none",
        "can't tell",
        "consistent",
        "invalid for another reason",
    )
    sys.stdout.write(f"| stated wrongly | {' | '.join(named)} |\n|{'---|' * (len(named) + 1)}\n")
    for words, counts in told.items():
        sys.stdout.write(f"| {words} | {' | '.join(str(counts[name]) for name in named)} |\n")


def count_symmetry(scans: int) -> None:
    """Print how like its own mirror image through the peak a pattern is, and its aspect, read rightly and wrongly."""
    likeness, aspect = dict[tuple[str, str], list[float]](), dict[tuple[str, str], list[float]]()
    for number in range(FIRST + 700_000, FIRST + 700_000 + scans):
        scan = simulated(POPULATIONS[2], number)
        label = "perfect" if scan.label == "perfect" else "dislocated"
        stated = {"exact": scan.curve.geometry}
        stated |= {kind(one.words): one.geometry for one in stated_wrongly(scan.curve.geometry)}
        for words, geometry in stated.items():
            if "step" in words:
                continue
            made = preprocessed(scan, geometry)
            if made.quality.coverage > 0:
                likeness.setdefault((words, label), []).append(inversion_likeness(made.intensity))
                aspect.setdefault((words, label), []).append(measure_peak(made.intensity, 3.5).aspect)
    sys.stdout.write("| stated | crystals | like its mirror image, 10 % to 90 % | aspect, 10 % to 90 % |\n")
    sys.stdout.write("|---|---|---|---|\n")
    for key, values in likeness.items():
        (low, high), (flat, long) = (np.quantile(of, (0.1, 0.9)) for of in (values, aspect[key]))
        sys.stdout.write(f"| {key[0]} | {key[1]} | {low:.3f} to {high:.3f} | {flat:.2f} to {long:.2f} |\n")


def inversion_likeness(intensity: NDArray[np.float32]) -> float:
    """Return the correlation of the square roots of a cube's counts with those at the places opposite the peak."""
    cube = np.sqrt(intensity[1:, 1:, 1:].clip(min=0.0))
    return float(np.corrcoef(cube.ravel(), cube[::-1, ::-1, ::-1].ravel())[0, 1])


def changed_presets(preset: GeometryPreset) -> Iterator[tuple[str, GeometryPreset]]:
    """Yield the preset, and the preset with each change, in words."""
    circles = {circle.name: circle for circle in preset.detector_circles}
    delta, gamma = circles["delta"], circles["gamma"]
    th = preset.sample_circles[0]

    def changed(**fields: object) -> GeometryPreset:
        return preset.model_copy(update=fields)

    yield "nothing", preset
    yield "column direction", changed(column_direction="x-")
    yield "row direction", changed(row_direction="y+")
    yield "delta's sign", changed(detector_circles=(delta.model_copy(update={"axis": "y-"}), gamma))
    yield "gamma's sign", changed(detector_circles=(delta, gamma.model_copy(update={"axis": "x+"})))
    rocking = (th.model_copy(update={"axis": "y-"}), *preset.sample_circles[1:])
    yield "rocking sign", changed(sample_circles=rocking)
    yield "transposed", changed(transposed=True)
    yield "column direction and rocking sign", changed(column_direction="x-", sample_circles=rocking)
    yield (
        "transposed and gamma's sign",
        changed(transposed=True, detector_circles=(delta, gamma.model_copy(update={"axis": "x+"}))),
    )
    for words, factor in (("energy 1000 times too large", 1000.0), ("energy 1000 times too small", 0.001)):
        yield words, changed(energy_keV=preset.energy_keV.model_copy(update={"scale": factor}))  # pyright: ignore[reportAttributeAccessIssue]
    for words, factor in (
        ("distance 5 % too long", 1.05),
        ("distance 5 % too short", 0.95),
        ("distance 1000 times too long", 1000.0),
        ("distance 1000 times too short", 0.001),
    ):
        yield words, changed(distance_m=preset.distance_m.model_copy(update={"scale": factor}))  # pyright: ignore[reportAttributeAccessIssue]
    twice = (preset.pixel_size_m[0] * 2, preset.pixel_size_m[1] * 2)
    yield "pixels twice too large", changed(pixel_size_m=twice)
    half = th.model_copy(update={"angle_deg": th.angle_deg.model_copy(update={"scale": 0.5})})  # pyright: ignore[reportAttributeAccessIssue]
    yield "rocking step half", changed(sample_circles=(half, *preset.sample_circles[1:]))
    yield "direct beam 40 px off", changed(direct_beam_px=(216.0, 256.0))
    yield "region of interest 40, 60 px off", changed(roi_origin=(40.0, 60.0))
    yield (
        "no lattice parameter, energy 1000 times too large",
        changed(
            lattice_parameter_A=None,
            energy_keV=preset.energy_keV.model_copy(update={"scale": 1000.0}),  # pyright: ignore[reportAttributeAccessIssue]
        ),
    )


def count_recording(recording: Path, mask: Path, flat: Path) -> None:
    """Print what is said of the measured scan with each change of the preset."""
    classifier = BundleClassifier.load(Registry().resolve("production"), threads=1)
    settings = PreprocessingSettings(mask=read_detector_array(mask), flat=read_detector_array(flat))
    sys.stdout.write(f"{classifier.identity.id}\n\n| changed | d (Å) | streaks off | geometry | mend | outcome |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for words, preset in changed_presets(load_preset("34idc")):
        reports = screen_documents(read_recording(recording), preset, CpuPreprocessor(settings), classifier)
        for report in reports:
            verdict, quality = report.result.verdict, report.result.quality
            check = None if quality is None else quality.geometry
            misfit = "" if check is None or check.misfit_deg is None else f"{check.misfit_deg:.1f}° ({check.streaks})"
            said = verdict.outcome if verdict.label is None else f"`{verdict.label}` {verdict.confidence:.3f}"
            if check is None or check.verdict != "inconsistent":
                said = f"{said}: {verdict.reason}" if verdict.reason else said
            d = "" if quality is None else f"{quality.d_spacing_A:.4g}"
            geometry = "" if check is None else check.verdict
            mends = "" if check is None else "; or ".join(check.mends)
            sys.stdout.write(f"| {words} | {d} | {misfit} | {geometry} | {mends} | {said} |\n")
            sys.stdout.flush()


def main() -> None:
    """Measure one of the five."""
    logging.disable(logging.WARNING)
    what = sys.argv[1]
    if what == "recording":
        count_recording(*map(Path, sys.argv[2:5]))
        return
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    {"traces": count_traces, "good": count_good, "wrong": count_wrong, "symmetry": count_symmetry}[what](number)


if __name__ == "__main__":
    main()
