"""A measured gold nanocrystal (APS 34-ID-C, scan 54) comes out with its known lattice, shape and size."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from braggwatch.callbacks.cxdp.preprocess.facets import facet_streaks, mutual_angles_deg
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.sim.geometry import geometry_from_values, load_preset

ARCHIVE = Path(__file__).resolve().parents[5] / "shared" / "data" / "34idc_S0054.tar.xz"
ANGLES = np.linspace(-0.279996, 0.720004, 201)
VALUES = {"energy": 9.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0, "detector_distance": 0.5}

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"needs the measured scan {ARCHIVE.name}")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> ModelInput:
    folder = tmp_path_factory.mktemp("scan")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    frames = np.stack([tifffile.imread(path) for path in sorted(folder.glob("**/frames/*.tif"))])
    flat = tifffile.imread(next(folder.glob("**/whitefield.tif")))
    dark = tifffile.imread(next(folder.glob("**/dark.tif")))
    curve = RockingCurve(
        run_uid="S0054",
        frames=frames,
        angles_deg=ANGLES,
        present=np.ones(201, dtype=np.bool_),
        monitor=None,
        transmission=None,
        crop_origin=(0, 0),
        geometry=geometry_from_values(load_preset("34idc"), {**VALUES, "th": 0.0}, (256, 256)),
    )
    # The dark image of this counting detector marks its noisy pixels.
    return CpuPreprocessor(PreprocessingSettings(flat=flat, mask=dark > 1))(curve)


def test_it_is_gold_111(measured: ModelInput) -> None:
    quality = measured.quality
    assert quality.invalid_reason is None
    assert quality.d_spacing_A == pytest.approx(2.3545, rel=0.01)
    assert quality.d_deviation is not None
    assert abs(quality.d_deviation) < 0.01


def test_its_size_is_found(measured: ModelInput) -> None:
    assert measured.quality.scale_valid
    assert measured.quality.size_nm == pytest.approx(328.0, rel=0.15)


def test_its_facets_have_the_angles_of_111(measured: ModelInput) -> None:
    streaks = facet_streaks(measured.intensity, np.ones_like(measured.intensity)).directions
    angles = mutual_angles_deg(streaks[:4])
    assert len(angles) == 6
    assert np.abs(angles - 70.53).max() < 4.0
    assert measured.quality.facet_angle_error_deg is not None
    assert measured.quality.facet_angle_error_deg < 2.0
    # One facet lies on the substrate, its normal nearly along Q.
    assert np.degrees(np.arccos(np.abs(streaks[:, 0]).max())) < 5.0


def test_nothing_is_flagged(measured: ModelInput) -> None:
    assert measured.quality.flags == ()
    assert measured.quality.coverage > 0.95
    assert measured.quality.peak_counts == 165297
    assert measured.intensity[32, 32, 32] == measured.intensity.max()
