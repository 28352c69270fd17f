"""The rule that cuts a map of scores: its inputs, its file form, and a fit on volumes whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from braggwatch.models.apt.modulation import plane_modulation
from braggwatch.models.apt.neighbourhood import neighbourhood_log_odds, rule_inputs
from braggwatch.models.apt.order_rule import FIELDS, INPUTS, OrderRule, RuleInput
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.apt.scan import scan_sdm

RULE = OrderRule(
    inputs=("score/0", "score/max3", "planes/min3"),
    middle=(0.0, 1.0, 0.0),
    scale=(1.0, 2.0, 1.0),
    hidden=((0.5, 0.0, 0.0), (0.0, 1.0, 0.0)),
    hidden_bias=(0.0, 0.1),
    out=(2.0, -1.0),
    out_bias=0.25,
)


def some_maps(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    known = rng.random((6, 7, 8)) < 0.8
    known[0, 0, 0] = True
    values = {name: np.where(known, rng.normal(size=known.shape), np.nan).astype(np.float32) for name in FIELDS}
    return values, known


def crystal(part: float, ordered: bool, n: int = 40_000, sigma_nm: float = 0.0, seed: int = 0) -> LabelledIons:
    """Return ions on planes 0.1432 nm apart; ordered: all solute on every second one."""
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 60, n)
    z = plane * 0.1432 + rng.normal(0, sigma_nm, n)
    solute = rng.random(n) < (2 * part * (plane % 2) if ordered else part)
    positions = np.column_stack([rng.uniform(0, 8, (n, 2)), z]).astype(np.float32)
    return LabelledIons(positions, solute.astype(np.uint8), ("host", "solute"))


def modulation_of(ions: LabelledIons) -> tuple[np.ndarray, np.ndarray]:
    sdm = SdmInput()
    scanned = scan_sdm(ions, sdm.pairs, sdm.scan_settings())
    superlattice, planes, _ = plane_modulation(scanned.maps.reshape(-1, *sdm.shape), sdm)
    return superlattice, planes


@pytest.mark.parametrize("part", [0.1, 0.25])
def test_the_superlattice_shows_in_order_and_nowhere_else(part: float) -> None:
    ordered, planes = modulation_of(crystal(part, ordered=True))
    random, _ = modulation_of(crystal(part, ordered=False))
    # charges' means on the planes are -part and +part about a variance of part (1 - part)
    assert np.median(ordered) == pytest.approx(part / (1 - part), rel=0.15)
    assert np.abs(np.median(random)) < 0.05 * part
    # a bin is 0.015 nm wide
    assert np.median(planes) > 0.95
    with pytest.raises(ValueError, match="needs the pairs"):
        plane_modulation(np.zeros((1, 1, 93, 5), np.float32), SdmInput(pairs=(("host", "host"),)))


def test_blur_lowers_the_planes_as_debye_and_waller_say() -> None:
    sigma = 0.03
    _, planes = modulation_of(crystal(0.1, ordered=False, sigma_nm=sigma))
    # the window ends between two planes, which takes 0.024 off
    assert np.median(planes) == pytest.approx(np.exp(-((2 * np.pi * sigma / 0.1432) ** 2)) - 0.024, abs=0.015)


def test_a_rule_is_the_network_that_its_numbers_say() -> None:
    values, known = some_maps()
    found = neighbourhood_log_odds(RULE, values, known)
    assert (np.isfinite(found) == known).all()
    x = rule_inputs(values, known, RULE.inputs)
    by_hand = 2 * np.tanh(0.5 * x[:, 0]) - np.tanh((x[:, 1] - 1) / 2 + 0.1) + 0.25
    np.testing.assert_allclose(found[known], by_hand, rtol=1e-5)
    score, planes = (np.full(known.shape, np.nan, dtype=np.float32) for _ in range(2))
    score[known], planes[known] = rule_inputs(values, known, ("score/0.8", "planes/0.8")).T
    for row, (i, j, k) in zip(x, np.argwhere(known), strict=True):
        cube = tuple(slice(max(n - 1, 0), n + 2) for n in (i, j, k))
        assert row[0] == values["score"][i, j, k]
        assert row[1] == np.nanmax(score[cube]), "the largest of the 27 smoothed scores around, unknown ones aside"
        assert row[2] == np.nanmin(planes[cube])


def test_a_rule_goes_through_json_and_one_that_doesnt_fit_is_refused() -> None:
    again = OrderRule.model_validate_json(RULE.model_dump_json())
    assert again == RULE
    wrong = json.loads(RULE.model_dump_json())
    for change, message in (
        ({"hidden": [[1.0, 2.0]]}, "don't fit 3 inputs"),
        ({"scale": [1.0, 0.0, 1.0]}, "positive"),
        ({"inputs": ["score/0", "score/max", "planes/min3"]}, "no input of a rule"),
        ({"out": [float("nan"), 1.0]}, "finite"),
    ):
        with pytest.raises(ValidationError, match=message):
            OrderRule.model_validate({**wrong, **change})


@settings(max_examples=40)
@given(field=st.sampled_from(FIELDS), sigma=st.floats(0, 9).map(lambda v: round(v, 2)), edge=st.integers(1, 9))
def test_inputs_are_read_as_they_are_written(field: str, sigma: float, edge: int) -> None:
    smoothed = RuleInput.parse(f"{field}/{sigma}")
    assert (smoothed.field, smoothed.smoothing_voxels, smoothed.extreme) == (field, sigma, None)
    extreme = RuleInput.parse(f"{field}/max{edge}")
    assert (extreme.field, extreme.extreme, extreme.cube_voxels) == (field, "max", edge)


def test_a_map_without_modulation_is_no_input_of_this_rule() -> None:
    values, known = some_maps()
    with pytest.raises(ValueError, match="can't be used"):
        rule_inputs({**values, "planes": np.full(known.shape, np.nan, np.float32)}, known, INPUTS)


def test_a_fitted_rule_finds_particles_whatever_height_their_scores_have() -> None:
    pytest.importorskip("torch")
    from braggwatch.models.apt.training.rule_fitting import ScoredVolume, fit_rule

    def volume(seed: int) -> ScoredVolume:
        rng = np.random.default_rng(seed)
        at = np.stack(np.meshgrid(*(np.arange(16) + 0.5,) * 3, indexing="ij"), axis=-1)
        ordered = np.linalg.norm(at - rng.uniform(5, 11, 3), axis=-1) <= rng.uniform(2, 4)
        inside = gaussian_filter(ordered.astype(float), 1.0)
        height = rng.uniform(1, 8)
        noise = [rng.normal(0, 0.2, ordered.shape) for _ in range(3)]
        maps = {
            "score": -3 + height * inside + noise[0],
            "spread": 0.3 + np.abs(noise[1]),
            "superlattice": 0.1 * inside + 0.02 * noise[2],
            "planes": np.full(ordered.shape, 0.3),
            "pairs": np.full(ordered.shape, 6.0),
        }
        return ScoredVolume({k: v.astype(np.float32) for k, v in maps.items()}, np.ones(ordered.shape, bool), ordered)

    rule = fit_rule([volume(seed) for seed in range(25)])
    assert (rule.volumes, rule.tested_volumes, rule.threshold) == (20, 5, 0.0)
    assert rule.precision is not None
    assert rule.precision > 0.9
    assert rule.recall is not None
    assert rule.recall > 0.9
    assert rule.calibration_error is not None
    assert rule.calibration_error < 0.02
    new = volume(99)
    said = neighbourhood_log_odds(rule, new.maps, new.known) > rule.threshold
    assert (said & new.ordered).sum() > 0.85 * (said | new.ordered).sum()
    with pytest.raises(ValueError, match="too few"):
        fit_rule([new])
