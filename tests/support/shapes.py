"""Particles without chance in them."""

from __future__ import annotations

from braggwatch.sim.cxdp.crystal import ShapeSpec


def free_shape(ratio_100: float, ratio_110: float) -> ShapeSpec:
    """Return a particle on no substrate, not elongated, with every facet of a family at the same distance."""
    return ShapeSpec(
        ratio_100=ratio_100,
        ratio_110=ratio_110,
        facet_jitter=0.0,
        interface=None,
        height_fraction=1.0,
        elongation=(1.0, 1.0, 1.0),
    )
