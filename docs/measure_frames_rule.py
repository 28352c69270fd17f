"""What the rule on frames that their neighbours contradict does: to spoilt scans, and to good ones.

``python docs/measure_frames_rule.py spoilt [SCANS]`` spoils one to three frames, up to five steps from the peak, of
scans simulated as `braggwatch sim cxdp` does, of crystals that no bundle has learnt from, and counts what is named;
``without`` in place of ``spoilt`` does so with the rule switched off. ``good`` counts the frames of unspoilt scans that
it leaves out, of the default population and of ``sim/populations/anywhere.json`` without its artefacts. A scan takes
some two seconds of a core for each way to spoil it.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings, unusable_input
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve, ScreeningReport
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.sim.cxdp.datasets import DatasetSpec
from braggwatch.sim.cxdp.scan_frames import scan_frames
from braggwatch.sim.geometry.model import GeometryPreset, RockingGeometry

FIRST = 3_000_000
POPULATIONS = ("default", "anywhere")
KINDS = (
    "blank",
    "marked in every pixel",
    "saturated in every pixel",
    "clipped at a third of the peak",
    "the frame before again",
    "attenuated tenfold",
    "attenuated twofold",
    "half of the rows blank",
)
Document = tuple[str, dict[str, object]]
_REFUSED = "too much for a class"


@dataclass(frozen=True, slots=True)
class Scan:
    """One simulated scan of known class: frames (N, R, C), angles (N,), which arrived (N,), dead pixels (R, C)."""

    label: str
    frames: NDArray[np.uint32]
    angles_deg: NDArray[np.float64]
    present: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    geometry: RockingGeometry


@cache
def classifier() -> BundleClassifier:
    """Load the bundle that serves."""
    return BundleClassifier.load(Registry().resolve("production"), threads=1)


@cache
def specification(population: str) -> DatasetSpec:
    """Return the specification of a population, without artefacts but with its partial coherence."""
    if population == "default":
        return DatasetSpec()
    text = files("braggwatch.sim").joinpath("populations", f"{population}.json").read_text(encoding="utf-8")
    spec = DatasetSpec.model_validate_json(text)
    return spec.model_copy(update={"artefacts": spec.artefacts.model_copy(update={"spoilt_fraction": 0.0})})


def simulated(population: str, number: int) -> Scan:
    """Return one scan before its preprocessing."""
    spec = specification(population)
    made = scan_frames(spec, number)
    label = spec.classes[number % len(spec.classes)]
    return Scan(label, made.frames.astype(np.uint32), made.angles_deg, made.present, made.dead, made.geometry)


def spoilt(scan: Scan, kind: str, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Return the frames with one to three of them spoilt, up to five steps from the peak."""
    frames = scan.frames.copy()
    peak, side = int(frames.sum(axis=(1, 2), dtype=np.int64).argmax()), int(rng.choice((-1, 1)))
    block = peak + side * int(rng.integers(0, 6)) + side * np.arange(int(rng.integers(1, 4)))
    block = np.sort(block[(block >= 1) & (block < len(frames))])
    match kind:
        case "blank":
            frames[block] = 0
        case "marked in every pixel":
            frames[block] = np.iinfo(np.uint32).max
        case "saturated in every pixel":
            frames[block] = 2**20 - 1
        case "clipped at a third of the peak":
            frames[block] = np.minimum(frames[block], scan.frames.max() // 3)
        case "the frame before again":
            frames[block] = frames[block[0] - 1]
        case "attenuated tenfold" | "attenuated twofold":
            share = 0.1 if kind == "attenuated tenfold" else 0.5
            frames[block] = rng.binomial(frames[block].astype(np.int64), share)
        case _:
            middle = int(scan.frames.sum(axis=(0, 2), dtype=np.int64).argmax())
            rows = slice(0, middle + 1) if rng.random() < 0.5 else slice(middle, None)
            frames[block, rows] = 0
    return frames


def documents(scan: Scan, frames: NDArray[np.uint32]) -> Iterator[Document]:
    """Yield the documents of one run with its frames inline."""
    came = np.flatnonzero(scan.present)
    yield "start", {"uid": "run", "time": 0.0, "num_points": len(frames)}
    keys: dict[str, object] = {"th": {"source": "sim", "dtype": "number", "shape": []}}
    keys["det"] = {"source": "sim", "dtype": "array", "shape": list(frames.shape[1:])}
    yield "descriptor", {"uid": "run-d", "run_start": "run", "time": 0.0, "name": "primary", "data_keys": keys}
    for index in came:
        data = {"det": frames[index], "th": float(scan.angles_deg[index])}
        yield (
            "event",
            {
                "uid": f"run-{index}",
                "descriptor": "run-d",
                "seq_num": int(index) + 1,
                "time": float(index),
                "data": data,
                "timestamps": dict.fromkeys(data, float(index)),
            },
        )
    yield "stop", {"uid": "run-s", "run_start": "run", "time": 1e3, "exit_status": "success"}


def preset_of(geometry: RockingGeometry) -> GeometryPreset:
    """Return a preset that states this geometry and has the scanned circle read back as ``th``."""
    values = geometry.model_dump(exclude={"frame_shape"})
    for circle in values["sample_circles"]:
        if circle["name"] == geometry.scanned:
            circle["angle_deg"] = {"signal": "th", "scale": 1.0}
    fields = {"detector_field": "det", "monitor_field": None, "transmission_field": None, "saturation_counts": None}
    return GeometryPreset.model_validate({**values, **fields, "name": "simulated", "description": "one simulated scan"})


def screened(scan: Scan, frames: NDArray[np.uint32], *, rule: bool, judge: bool = True) -> ScreeningReport:
    """Return the record of one scan, made as a live one is; without ``judge`` no network runs."""

    def only_assembled(curve: RockingCurve) -> ModelInput:
        return unusable_input(curve.run_uid, "; ".join(curve.notes) or "only put together")

    reports: list[ScreeningReport] = []
    preprocessor = CpuPreprocessor(PreprocessingSettings(mask=scan.dead, facets=False)) if judge else only_assembled
    callback = ScreeningCallback(
        preset_of(scan.geometry),
        preprocessor,
        classifier(),
        reports.append,
        AssemblySettings(leave_out_contradicted=rule, grace_s=0.0),
    )
    for name, document in documents(scan, frames):
        callback(name, document)
    callback.flush()
    return reports[0]


def count_spoilt(scans: int, *, rule: bool) -> None:
    """Print what is named of spoilt scans."""
    sys.stdout.write(f"{classifier().identity.id}, {scans} scans a row, {'with' if rule else 'without'} the rule\n\n")
    sys.stdout.write("| one to three frames | right | wrong | no class |\n|---|---|---|---|\n")
    for kind in KINDS:
        tally = Counter[str]()
        for number in range(FIRST, FIRST + scans):
            scan = simulated(POPULATIONS[0], number)
            frames = spoilt(scan, kind, np.random.default_rng((number, KINDS.index(kind))))
            label = screened(scan, frames, rule=rule).result.verdict.label
            tally["no class" if label is None else "right" if label == scan.label else "wrong"] += 1
        sys.stdout.write(f"| {kind} | {tally['right']} | {tally['wrong']} | {tally['no class']} |\n")
        sys.stdout.flush()


def count_good(scans: int) -> None:
    """Print how many good scans lose frames, or their class, to the rule."""
    for population in POPULATIONS:
        touched: list[str] = []
        refused = 0
        for number in range(FIRST, FIRST + scans // 2):
            scan = simulated(population, number)
            before, after = (
                screened(scan, scan.frames, rule=rule, judge=False).result.verdict.reason or ""
                for rule in (False, True)
            )
            if before != after:
                touched.append(f"{number} {scan.label}: {after}")
                refused += _REFUSED in after and _REFUSED not in before
        sys.stdout.write(f"{population}: {scans // 2} scans, {len(touched)} with frames left out, {refused} refused\n")
        sys.stdout.write("".join(f"  {line}\n" for line in touched))


def main() -> None:
    """Measure one of the three."""
    logging.disable(logging.WARNING)
    what, scans = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    if what == "good":
        count_good(scans)
    else:
        count_spoilt(scans, rule=what == "spoilt")


if __name__ == "__main__":
    main()
