"""How far off the centre ``perfect`` excludes lines: never further than lines were found in tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from braggwatch.models.bundling.manifest import VisibleRegion, VisibleRegionRow
from braggwatch.models.cxdp.visible_region import fit_visible_region, perfect_region, row_for, seen_radius
from braggwatch.models.verdict import REGION_UNKNOWN, ModelIdentity, Outcome, Verdict, region_statement
from braggwatch.sim.errors import InputError

IDENTITY = ModelIdentity(name="m", version="1", sha256="0" * 64, runtime="test")


def row(lines: list[int], found: list[int], counts: float = 0.0, contrast: float = 0.0) -> VisibleRegionRow:
    return VisibleRegionRow(
        peak_counts_from=counts, fringe_contrast_from=contrast, lines=tuple(lines), found=tuple(found)
    )


tested = st.lists(st.tuples(st.integers(0, 200), st.floats(0.0, 1.0)), min_size=6, max_size=6).map(
    lambda bins: ([n for n, _ in bins], [round(n * share) for n, share in bins])
)


@given(tested, st.floats(0.5, 0.99), st.integers(1, 50))
def test_the_radius_is_the_largest_up_to_which_every_range_is_seen(
    bins: tuple[list[int], list[int]], share: float, fewest: int
) -> None:
    region = VisibleRegion(share=share, fewest_lines=fewest, rows=(row(*bins),))
    radius = seen_radius(region, region.rows[0])
    ends = region.distances[1:]
    good = [n >= fewest and found >= share * n for n, found in zip(*bins, strict=True)]
    assert radius == max([0.0, *(end for i, end in enumerate(ends) if all(good[: i + 1]))])
    assert radius <= 0.5


@given(tested, st.integers(0, 5))
def test_finding_fewer_lines_never_widens_the_region(bins: tuple[list[int], list[int]], place: int) -> None:
    lines, found = bins
    fewer = [max(0, n - 1) if k == place else n for k, n in enumerate(found)]
    region = VisibleRegion(rows=(row(lines, found),))
    assert seen_radius(region, row(lines, fewer)) <= seen_radius(region, row(lines, found))


def test_a_pattern_takes_the_row_whose_counts_and_contrast_it_reaches() -> None:
    low, bright, sharp = row([20] * 6, [0] * 6), row([20] * 6, [20] * 6, 1e4), row([20] * 6, [19] * 6, 1e4, 0.5)
    region = VisibleRegion(rows=(low, bright, sharp))
    assert row_for(region, 9e3, 0.9) is low
    assert row_for(region, 1e4, 0.4) is bright
    assert row_for(region, 1e6, 0.5) is sharp
    assert perfect_region(region, 9e3, 0.9) is None
    seen = perfect_region(region, 2e4, 0.4)
    assert seen is not None
    assert seen.radius == 0.5
    assert row_for(VisibleRegion(rows=(bright,)), 100.0, 0.9) is None
    assert perfect_region(VisibleRegion(rows=(bright,)), 100.0, 0.9) is None


def test_lines_are_counted_where_they_lie() -> None:
    rng = np.random.default_rng(1)
    distance = rng.uniform(0.0, 0.6, 4000)
    region = fit_visible_region(
        distance, np.full(4000, 5e3), np.full(4000, 0.55), (distance < 0.3) | (rng.random(4000) < 0.5)
    )
    assert sum(sum(one.lines) for one in region.rows) == 4000
    seen = perfect_region(region, 5e3, 0.55)
    assert seen is not None
    assert seen.radius == pytest.approx(0.3)
    # with more counts than any that was tested no less is seen
    assert perfect_region(region, 5e4, 0.55) == seen
    assert perfect_region(region, 5e3, 0.4) is None  # no line of so little contrast was tested
    assert VisibleRegion.model_validate_json(region.model_dump_json()) == region
    with pytest.raises(InputError, match="as many distances"):
        fit_visible_region([], [], [], [])
    with pytest.raises(InputError, match="finite and not negative"):
        fit_visible_region([-0.1], [1e3], [0.5], [True])


def test_a_region_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValidationError, match="no more lines can be found"):
        row([1] * 6, [2] * 6)
    with pytest.raises(ValidationError, match="distances must rise"):
        VisibleRegion(distances=(0.0, 0.2, 0.1), rows=(row([1] * 3, [1] * 3),))
    with pytest.raises(ValidationError, match="two rows"):
        VisibleRegion(rows=(row([1] * 6, [1] * 6), row([2] * 6, [1] * 6)))


def test_the_statement_says_how_far_or_that_it_is_not_known() -> None:
    known = perfect_region(VisibleRegion(rows=(row([40] * 6, [40, 39, 38, 20, 0, 0]),)), 1e4, 0.5)
    named = Verdict(outcome=Outcome.CLASSIFIED, label="perfect", model=IDENTITY, region=known)
    assert region_statement(named) == (
        "no line of the seen Burgers directions within 0.30 of the size from the centre (at least 95% of such lines "
        "were found in tests); further out it can't tell"
    )
    assert region_statement(named.model_copy(update={"region": None})) == REGION_UNKNOWN
    assert region_statement(named.model_copy(update={"label": "screw"})) is None
