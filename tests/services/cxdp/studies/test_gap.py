"""The gap to real data is measured as stated, and the shipped bundle closes it for the particle that was measured."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from typer.testing import CliRunner

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings, preprocess_arrays
from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.models.bundling.registry import Registry, RegistryError
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.services.cli import app
from braggwatch.services.cxdp.preprocessing import preprocessing_settings
from braggwatch.services.cxdp.recorded_runs import screen_documents
from braggwatch.services.cxdp.studies.gap_to_real_data import (
    Case,
    GapReport,
    GapRow,
    ParticleCases,
    scan_cases,
    score_cases,
)
from braggwatch.services.cxdp.studies.phased_scan import phase_scan, phasing_pattern, recorded_curve
from braggwatch.services.importers.hdf5 import Hdf5Options, hdf5_documents
from braggwatch.services.importers.spec34idc import ImportOptions, import_scan
from braggwatch.services.recording.recordings import RecordedDocument, read_recording
from braggwatch.services.settings import PreprocessingChoices
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec
from braggwatch.sim.cxdp.given_particles import Measurement, Rescan, visible_lines
from braggwatch.sim.cxdp.hard_rows import NO_CLASS, hard_rows
from braggwatch.sim.cxdp.object_files import FittedParticle, fitted_gold
from braggwatch.sim.cxdp.phasing import PhasingSettings, vortices
from braggwatch.sim.geometry import load_preset

ARCHIVE = Path(__file__).resolve().parents[5] / "shared" / "data" / "34idc_S0054.tar.xz"
IMAGE = "34idcTIM2_image"
PRESET = load_preset("34idc")
LINES = visible_lines((1, 1, 1), (0.0, 0.1, 0.2))


@pytest.fixture(scope="module")
def production() -> BundleClassifier:
    try:
        return BundleClassifier.load(Registry().resolve("production"), threads=1)
    except RegistryError as error:
        pytest.skip(f"no trained bundle: {error}")


@pytest.fixture(scope="module")
def gold() -> FittedParticle:
    return fitted_gold()


def test_what_was_said_is_counted_by_condition(production: BundleClassifier) -> None:
    golden = production.bundle.golden.counts[0]
    label = production.classify(golden).headline
    cases = [
        Case("hard", "one", label, golden),
        Case("hard", "one", label, None),
        Case("hard", "two", "another", golden),
    ]
    (report,) = score_cases(cases, [production], "a particle")
    one, two = report.rows
    assert (one.cases, one.right, one.wrong(report.classes)) == (2, 1, 0)
    assert one.named == {label: 1, "invalid": 1}
    assert (two.cases, two.right) == (1, 0)
    assert two.truth_probability == 0.0
    assert report.group("hard") == report.rows
    assert GapReport.model_validate_json(report.model_dump_json()) == report


def test_a_refusal_is_right_where_no_class_is() -> None:
    row = GapRow(
        group="spoilt",
        condition="two",
        truth=NO_CLASS,
        named={"perfect": 1, "unsure": 2, "out_of_distribution": 3, "invalid": 1},
        likeliest={"perfect": 6},
        truth_probability=0.0,
    )
    assert (row.cases, row.right, row.wrong(("perfect", "screw", "edge"))) == (7, 6, 1)


def documents(counts: NDArray[np.int32], measurement: Measurement, folder: Path) -> Iterator[RecordedDocument]:
    """The documents of a scan of these frames at 34-ID-C."""
    geometry = measurement.geometry
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["frames"], file["th"] = counts, np.asarray(measurement.angles_deg)
        file["monitor"] = np.ones(len(counts))
    circles = {c.name: c.angle_deg for c in (*geometry.sample_circles, *geometry.detector_circles)}
    stated = {name: circles[name] for name in ("delta", "gamma", "chi", "phi")}
    yield from hdf5_documents(
        Hdf5Options(
            file=folder / "scan.h5",
            frames="frames",
            angles="th",
            monitor="monitor",
            detector_field=PRESET.detector_field,
            scanned="th",
            monitor_field=PRESET.monitor_field,
            stated={**stated, "energy": geometry.energy_keV, "detector_distance": geometry.distance_m},
            read={},
        )
    )


def verdict_of(
    particle_with: LineSpec | None, gold: FittedParticle, classifier: BundleClassifier, folder: Path
) -> Verdict:
    particle = gold.particle()
    scan = gold.measurement.every(2)
    shown = particle if particle_with is None else particle.with_line(particle_with)
    rate = Rescan(scan, particle.size_nm).expected_counts(shown)
    counts = np.random.default_rng(3).poisson(rate).astype(np.int32)
    preprocessor = CpuPreprocessor(PreprocessingSettings())
    (report,) = screen_documents(documents(counts, scan, folder), PRESET, preprocessor, classifier)
    assert report.result.quality is not None
    assert report.result.quality.d_spacing_A == pytest.approx(2.3545, rel=0.01)
    return report.result.verdict


@pytest.mark.parametrize(
    ("line", "truth"),
    [(None, "perfect"), (LINES[0], "screw"), (LINES[10], "screw"), (LINES[18], "edge"), (LINES[31], "edge")],
    ids=["perfect", "screw in the middle", "screw off it", "edge in the middle", "edge off it"],
)
def test_the_measured_particles_shape_is_called_right_through_the_whole_live_path(
    line: LineSpec | None, truth: str, gold: FittedParticle, production: BundleClassifier, tmp_path: Path
) -> None:
    """Detector frames with counting noise, as documents, put together, preprocessed and judged as live ones are."""
    verdict = verdict_of(line, gold, production, tmp_path)
    assert (verdict.outcome, verdict.label) == (Outcome.CLASSIFIED, truth), verdict


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_visible_line_in_the_measured_particles_shape_is_called_right(
    gold: FittedParticle, production: BundleClassifier
) -> None:
    cases = ParticleCases(gold.particle(), gold.measurement, "fitted polyhedron").with_lines()
    (report,) = score_cases(cases, [production])
    assert sum(row.cases for row in report.rows) == len(LINES)
    assert sum(row.wrong(report.classes) for row in report.rows) == 0
    assert sum(row.right for row in report.rows) >= 0.95 * len(LINES)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_measures_a_bundle_without_any_scan(production: BundleClassifier, tmp_path: Path) -> None:
    arguments = ["gap", "--bundle", "production", "--hard", "2", "--per-row", "1", "--no-lines", "--json"]
    arguments += ["--keep", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = GapReport.model_validate(json.loads(result.stdout))
    assert report.bundle == production.identity.id
    assert len(report.group("hard")) == 8
    assert all(row.cases == 2 for row in report.group("hard"))
    (shape,) = report.group("object")
    assert shape.named == {"perfect": 3}
    assert len(list(tmp_path.glob("hard-*.h5"))) == 8
    rows = [row for name in ("shape", "strain", "rim", "blur", "spoilt") for row in report.group(name)]
    assert [row.cases for row in rows] == [1] * len(hard_rows())
    assert len(list(tmp_path.glob("row-*.h5"))) == len(hard_rows())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bundle", "nowhere/9.9.9"], "nowhere"),
        (["--bundle", "production", "--object", "missing.npz"], "missing.npz"),
    ],
)
def test_the_command_says_what_is_missing(
    arguments: list[str], message: str, production: BundleClassifier, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["gap", "--hard", "0", "--per-row", "0", "--keep", str(tmp_path), *arguments])
    assert result.exit_code == 3
    assert message in result.output


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RockingCurve, PreprocessingSettings]:
    if not ARCHIVE.exists():
        pytest.skip(f"needs the measured scan {ARCHIVE.name}")
    folder = tmp_path_factory.mktemp("scan")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    spec_file = next(folder.glob("**/example.spec"))
    recording = folder / "scan54.bwrec"
    import_scan(ImportOptions(spec_file=spec_file, scan=54, frames=spec_file.parent / "frames"), recording)
    np.save(folder / "mask.npy", tifffile.imread(spec_file.parent / "dark.tif") > 1)
    choices = PreprocessingChoices(mask_path=folder / "mask.npy", flat_path=spec_file.parent / "whitefield.tif")
    curve = recorded_curve(read_recording(recording), PRESET)
    return recording, curve, preprocessing_settings(choices, PRESET)


def test_the_phasing_grid_is_the_live_paths_grid_only_finer(
    scan: tuple[Path, RockingCurve, PreprocessingSettings],
) -> None:
    _, curve, settings = scan
    live = preprocess_arrays(curve.frames, curve.angles_deg, curve.present, curve.geometry, settings)
    pattern = phasing_pattern(curve, settings, points=96, fringe_period_voxels=settings.fringe_period_voxels)
    assert pattern.voxel_size_inv_A == pytest.approx(live.quality.voxel_size_inv_A, rel=5e-3)
    part = pattern.intensity[16:80, 16:80, 16:80]
    assert np.corrcoef(np.log1p(part).ravel(), np.log1p(live.intensity).ravel())[0, 1] > 0.98
    assert 0.5 < pattern.measured.mean() <= 1.0
    with pytest.raises(ValueError, match="multiple of 32"):
        phasing_pattern(curve, settings, points=100)


def test_a_recording_without_a_run_is_refused() -> None:
    with pytest.raises(ValueError, match="contains no run"):
        recorded_curve([], PRESET)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_measured_object_is_perfect_until_a_line_is_put_in(
    scan: tuple[Path, RockingCurve, PreprocessingSettings], production: BundleClassifier
) -> None:
    """Phased, scanned again in simulation, with its own strain and without, with screws and edges."""
    recording, curve, settings = scan
    phased = phase_scan(curve, settings, PhasingSettings(seeds=2))
    found = phased.reconstruction
    assert found.error < 0.01
    assert found.agreement > 0.85
    assert vortices(found.density, found.support) == 0
    assert 0.3 < phased.particle.phase_spread_rad < 0.6
    cases = ParticleCases(phased.particle, phased.measurement, "retrieved object")

    def everything() -> Iterator[Case]:
        yield from scan_cases(curve, settings, "perfect")
        yield from cases.as_it_is("perfect")
        yield from cases.with_lines((0.0, 0.15))

    (report,) = score_cases(everything(), [production])
    assert sum(row.wrong(report.classes) for row in report.rows) == 0
    total = sum(row.cases for row in report.rows)
    assert sum(row.right for row in report.rows) >= 0.95 * total

    # the live path: the recorded documents themselves, with the object's frames in place of the measured ones
    whole = phased.measurement
    particle = phased.particle.with_line(visible_lines((1, 1, 1), (0.1,))[0])
    rate = Rescan(whole, particle.size_nm).expected_counts(particle)
    frames = iter(np.random.default_rng(5).poisson(rate).astype(np.int32))

    def replaced() -> Iterator[RecordedDocument]:
        for record in read_recording(recording):
            document: dict[str, Any] = dict(record.document)
            if record.name == "event" and IMAGE in document["data"]:
                document["data"] = {**document["data"], IMAGE: next(frames)}
            yield RecordedDocument(record.time_s, record.name, document)

    (live,) = screen_documents(replaced(), PRESET, CpuPreprocessor(PreprocessingSettings()), production)
    assert live.result.verdict.label == "screw", live.result.verdict
