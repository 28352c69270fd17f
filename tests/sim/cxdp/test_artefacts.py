"""What spoils patterns does what it says, and leaves everything else alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings, preprocess_arrays
from braggwatch.services.cxdp.training.shard_making import live_preprocessing
from braggwatch.sim.cxdp.artefacts import (
    ARTEFACT_KINDS,
    NO_ARTEFACTS,
    ArtefactKind,
    Artefacts,
    ArtefactSpec,
    blurred,
    changed,
    random_artefacts,
    unmeasured,
)
from braggwatch.sim.cxdp.dataset_spec import DatasetSpec, Sample
from braggwatch.sim.cxdp.datasets import make_sample

DISTANCE = np.linspace(-6, 6, 241)


@given(seed=st.integers(0, 2**31), spoilt=st.floats(0, 1), blurry=st.floats(0, 1))
def test_draws_stay_within_what_is_specified(seed: int, spoilt: float, blurry: float) -> None:
    spec = ArtefactSpec(spoilt_fraction=spoilt, blurred_fraction=blurry)
    drawn = random_artefacts(spec, np.random.default_rng(seed))
    assert max(drawn.blur) <= spec.blur[1]
    missing = unmeasured(drawn, DISTANCE)
    if drawn.kind in ("gap", "blank_frames"):
        assert missing is not None
        assert drawn.width <= 2.5
        assert not missing[np.abs(DISTANCE) > 2.0 + 1.25].any()
    elif drawn.kind == "cut_off":
        assert missing is not None
        assert not missing[np.abs(DISTANCE) < 0.5].any()
        assert missing[0] != missing[-1], "a scan is cut short on one side"
    else:
        assert missing is None


def test_nothing_is_spoilt_unless_asked_for() -> None:
    rng = np.random.default_rng(1)
    assert not any(random_artefacts(NO_ARTEFACTS, rng).spoils for _ in range(50))


def test_attenuated_frames_lose_their_factor_and_clipped_peaks_their_top() -> None:
    intensity = np.exp(-(DISTANCE**2)).astype(np.float32)
    faint = changed(intensity, Artefacts((0, 0, 0), "attenuated_frames", 0.5, 0.4, 0.1), DISTANCE)
    inside = np.abs(DISTANCE - 0.5) <= 0.2
    np.testing.assert_allclose(faint[inside], 0.1 * intensity[inside], rtol=1e-6)
    np.testing.assert_array_equal(faint[~inside], intensity[~inside])
    flat = changed(intensity, Artefacts((0, 0, 0), "clipped", factor=0.3), DISTANCE)
    assert flat.max() == pytest.approx(0.3 * intensity.max())
    np.testing.assert_array_equal(flat[intensity < 0.29], intensity[intensity < 0.29])


def test_partial_coherence_takes_the_contrast_of_fringes_by_a_gaussian() -> None:
    period = 8.0
    axis = np.arange(64)
    fringes = np.broadcast_to((1 + np.cos(2 * np.pi * axis / period))[:, None, None], (64, 16, 16)).astype(np.float32)
    out = blurred(fringes, Artefacts((0.3, 0.0, 0.0), None), (period, period, period))[16:48, 8, 8]
    contrast = (out.max() - out.min()) / (out.max() + out.min())
    assert contrast == pytest.approx(np.exp(-2 * np.pi**2 * 0.3**2), rel=0.03)


@pytest.mark.parametrize("kind", ARTEFACT_KINDS)
def test_a_scan_is_spoilt_in_its_frames_and_told_of(kind: ArtefactKind) -> None:
    spec = DatasetSpec(artefacts=ArtefactSpec(spoilt_fraction=1.0, kinds=(kind,)), seed=9)
    seen: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []

    def watch(frames, angles_deg, present, geometry, dead, fringe_period_voxels):  # type: ignore[no-untyped-def]
        settings = PreprocessingSettings(mask=dead, fringe_period_voxels=fringe_period_voxels, facets=False)
        seen.append(np.asarray([np.mean(present), np.mean(dead), np.mean(frames.reshape(len(frames), -1).sum(1) == 0)]))
        return preprocess_arrays(frames, angles_deg, present, geometry, settings).intensity, ""

    sample = make_sample(spec, 3, watch)
    assert isinstance(sample, Sample)
    assert sample.info.artefact == kind
    present, dead, empty = seen[0]
    if kind == "gap":
        assert dead > 0
    if kind == "blank_frames":
        assert present == 1.0
        assert empty > 0
    if kind == "cut_off":
        assert present < 1.0
        assert sample.info.completeness == pytest.approx(present)


def test_specifications_of_populations_are_sound_and_make_patterns() -> None:
    populations = Path(__file__).parents[3] / "sim" / "populations"
    for name in ("anywhere", "anywhere-grid", "anywhere-lattices-grid"):
        spec = DatasetSpec.model_validate(json.loads((populations / f"{name}.json").read_text()))
        assert spec.population.line_positions == "cross-section", name
    spec = DatasetSpec.model_validate(json.loads((populations / "anywhere.json").read_text()))
    sample = make_sample(spec, 900_001, live_preprocessing)
    assert isinstance(sample, Sample)
    assert sample.info.aspect is not None
    assert sample.info.aspect >= 1.0
