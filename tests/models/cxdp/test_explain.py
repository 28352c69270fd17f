"""Explanations point at what the answer depends on, at a cost that is known beforehand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.explain.occlusion import ExplanationStopped, occlude, radial_mean
from braggwatch.models.explain.explanation import Explanation, ExplanationError, resampled
from braggwatch.models.explain.picture import AGAINST_RGB, FOR_RGB, blended, explanation_pixels, explanation_png
from braggwatch.models.runtimes.base import RuntimeOutput
from braggwatch.models.runtimes.onnx import OnnxRuntime
from support.production import production_bundle

CLASSES = ("perfect", "screw", "edge")
NEEDS_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("captum") is None or importlib.util.find_spec("torch") is None,
    reason="torch and captum are not installed",
)


class Watcher:
    """A runtime that judges only from the counts in one region: the more are left, the surer 'screw'."""

    name, version = "watcher", "1"

    def __init__(self, region: tuple[slice, ...]) -> None:
        self.region = region
        self.volumes = 0
        self.largest_batch = 0

    def run(self, batch: np.ndarray) -> RuntimeOutput:
        self.volumes += len(batch)
        self.largest_batch = max(self.largest_batch, len(batch))
        left = batch[(slice(None), *self.region)].mean(axis=(1, 2, 3))
        screw = 0.2 + 0.7 * left / (1.0 + left)
        probabilities = np.stack([(1 - screw) / 2, screw, (1 - screw) / 2], axis=1).astype(np.float32)
        return RuntimeOutput(np.log(probabilities), probabilities, np.zeros((len(batch), 4), np.float32))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(production_bundle())


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(30.0, (64, 64, 64)).astype(np.float32)


@settings(max_examples=4, deadline=None)
@given(st.tuples(*[st.integers(0, 7)] * 3))
def test_the_map_is_where_the_answer_comes_from_and_nowhere_else(place):
    region = tuple(slice(8 * i, 8 * i + 8) for i in place)
    volume = np.full((64, 64, 64), 5.0, np.float32)
    found = occlude(Watcher(region), CLASSES, volume)
    assert found.label == "screw"
    assert np.unravel_index(found.log_odds_drop.argmax(), (8, 8, 8)) == place
    assert np.count_nonzero(found.log_odds_drop) == 1
    assert found.drop[place] == pytest.approx(0.7 * 5 / 6, abs=1e-5)
    for axis, block in enumerate(place):
        assert set(np.flatnonzero(found.slab_drop[axis])) == {2 * block, 2 * block + 1}


@pytest.mark.parametrize("cells", [8, 16])
def test_the_cost_is_stated_and_bounded(cells):
    volume = np.zeros((32, 32, 32), np.float32)
    volume[16, 16, 16] = 9.0
    watcher = Watcher((slice(16, 17),) * 3)
    found = occlude(watcher, CLASSES, volume, shape=(32, 32, 32), cells=cells)
    assert found.evaluations == watcher.volumes == 1 + cells**3 + 48
    assert watcher.largest_batch <= 8
    assert found.seconds > 0


def test_it_stops_when_told(counts: np.ndarray):
    watcher = Watcher((slice(32, 40),) * 3)
    asked = iter([False, False, True])
    with pytest.raises(ExplanationStopped):
        occlude(watcher, CLASSES, counts, stop=lambda: next(asked))
    assert watcher.volumes == 17


def test_what_is_hidden_does_not_change_what_was_given(counts: np.ndarray):
    before = counts.copy()
    occlude(Watcher((slice(32, 40),) * 3), CLASSES, counts, fill="radial")
    np.testing.assert_array_equal(counts, before)


def test_a_radially_symmetric_pattern_has_no_structure_to_hide():
    axis = np.arange(64) - 32
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    shells = np.rint(np.sqrt(squared))
    volume = (1000.0 * np.exp(-shells / 5.0)).astype(np.float32)
    np.testing.assert_allclose(radial_mean(volume), volume, rtol=1e-5)
    found = occlude(Watcher((slice(24, 40),) * 3), CLASSES, volume, fill="radial")
    assert np.abs(found.log_odds_drop).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v[:32], "shape"),
        (lambda v: v * 0, "empty"),
        (lambda v: v - 1e6, "negative"),
        (lambda v: np.where(v > 40, np.nan, v), "finite"),
    ],
)
def test_a_volume_that_cannot_be_explained_is_refused_with_the_reason(change, reason, counts: np.ndarray):
    with pytest.raises(ExplanationError, match=reason):
        occlude(Watcher((slice(32, 40),) * 3), CLASSES, change(counts))


def test_a_class_that_the_model_lacks_is_refused(counts: np.ndarray):
    with pytest.raises(ExplanationError, match="no class 'twin'"):
        occlude(Watcher((slice(32, 40),) * 3), CLASSES, counts, label="twin")


@settings(max_examples=20, deadline=None)
@given(st.floats(-5, 5), st.sampled_from([4, 8, 16]))
def test_resampling_keeps_constants_and_bounds(value, cells):
    np.testing.assert_allclose(resampled(np.full((cells,) * 3, value), 32), value, atol=1e-5)
    random = np.random.default_rng(1).normal(size=(cells,) * 3)
    fine = resampled(random, 32)
    assert random.min() - 1e-6 <= fine.min() <= fine.max() <= random.max() + 1e-6


def as_explanation(importance: np.ndarray) -> Explanation:
    return Explanation("occlusion", "screw", 0.9, importance.astype(np.float32), 0.5, 1, 0.1)


def test_the_picture_colours_the_strongest_block_and_tells_for_from_against(counts: np.ndarray):
    importance = np.zeros((8, 8, 8))
    importance[3:5, 3:5, 3:5] = 2.0
    importance[3:5, 3:5, 0] = -2.0
    pixels = explanation_pixels(counts, as_explanation(importance), zoom=2)
    assert pixels.shape == (2 * 128 + 4, 3 * 128 + 8, 3)
    lower = pixels[132:].astype(int)
    centre, left, corner = lower[64, 64], lower[64, 4], lower[4, 70]
    assert centre[0] > centre[2] + 60
    assert left[2] > left[0] + 60
    assert np.ptp(corner) == 0
    assert explanation_png(counts, as_explanation(importance)).startswith(b"\x89PNG")


def test_colour_is_laid_over_in_proportion():
    grey = np.full((1, 3, 3), 100, np.uint8)
    plain, most, against = blended(grey, np.array([[0.0, 1.0, -1.0]]))[0]
    np.testing.assert_array_equal(plain, [100, 100, 100])
    np.testing.assert_allclose(most, 0.15 * 100 + 0.85 * np.array(FOR_RGB), atol=1)
    np.testing.assert_allclose(against, 0.15 * 100 + 0.85 * np.array(AGAINST_RGB), atol=1)


@pytest.mark.parametrize("sample", [0, 2], ids=["perfect", "defect"])
def test_the_shipped_model_looks_at_the_peak_not_at_the_corners(sample, bundle: Bundle):
    runtime = OnnxRuntime(bundle.model, threads=1)
    found = occlude(runtime, bundle.manifest.classes, bundle.golden.counts[sample])
    size = np.abs(found.log_odds_drop)
    corners = size[np.ix_([0, 7], [0, 7], [0, 7])].max()
    assert np.unravel_index(size.argmax(), size.shape) in set(np.ndindex(8, 8, 8)) - set(_outside())
    assert size[3:5, 3:5, 3:5].max() > 10 * corners
    # in log odds: near certainty a probability hides what a block takes away
    assert found.log_odds_drop.max() > 1
    for profile in np.abs(found.slab_log_odds_drop):
        assert 5 <= profile.argmax() <= 10
    assert found.probability == pytest.approx(float(bundle.golden.probabilities[sample].max()), abs=1e-4)


def _outside() -> list[tuple[int, int, int]]:
    return [place for place in np.ndindex(8, 8, 8) if min(place) < 2 or max(place) > 5]


@NEEDS_TORCH
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_gradcam_speaks_for_the_same_network_and_points_at_the_peak(bundle: Bundle):
    from braggwatch.models.cxdp.explain.gradcam import gradcam

    for sample in (0, 2):
        found = gradcam(bundle, bundle.golden.counts[sample])
        assert found.importance.shape == (64, 64, 64)
        assert found.importance.min() >= 0
        assert found.label == bundle.manifest.classes[int(bundle.golden.probabilities[sample].argmax())]
        assert found.probability == pytest.approx(float(bundle.golden.probabilities[sample].max()), abs=1e-3)
        peak = found.importance[24:40, 24:40, 24:40].mean()
        corners = found.importance[np.ix_(*[[*range(8), *range(56, 64)]] * 3)].mean()
        assert peak > corners
        assert found.evaluations == 3


@NEEDS_TORCH
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_gradcam_refuses_weights_that_are_not_the_graphs(bundle: Bundle, tmp_path: Path):
    import torch
    from safetensors.torch import load_file, save_file

    from braggwatch.models.cxdp.explain.gradcam import gradcam

    state = load_file(bundle.path / "weights.safetensors")
    save_file({**state, "head.bias": state["head.bias"] + 1.0}, tmp_path / "weights.safetensors")
    with pytest.raises(ExplanationError, match="differ from its graph"):
        gradcam(replace(bundle, path=tmp_path), bundle.golden.counts[0])
    save_file({"head.weight": torch.zeros(3, 4)}, tmp_path / "weights.safetensors")
    with pytest.raises(ExplanationError, match="no foveated network"):
        gradcam(replace(bundle, path=tmp_path), bundle.golden.counts[0])


def test_occlusion_needs_no_torch():
    modules = "braggwatch.models.cxdp.explain.occlusion, braggwatch.models.explain.picture"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
