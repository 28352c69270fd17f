"""What a crystal says of the sample that shows it, however the pattern is made."""

from __future__ import annotations

from braggwatch.sim.cxdp.crystal import Crystal
from braggwatch.sim.cxdp.crystal.extent import aspect_ratio
from braggwatch.sim.cxdp.dataset_spec import CLEAN_PEAK, SampleInfo


def facts_of(crystal: Crystal, *, config: int, source: str = "continuum", identity: str | None = None) -> SampleInfo:
    """Return the properties of a whole, unspoilt, noiseless pattern of a crystal.

    Parameters
    ----------
    config, source, identity
        See `SampleInfo`.
    """
    line = crystal.spec.line
    return SampleInfo(
        config=config,
        label=crystal.label,
        element=crystal.spec.element,
        hkl=crystal.spec.hkl,
        g_dot_b=crystal.g_dot_b,
        line_distance=-1.0 if crystal.line_distance is None else crystal.line_distance,
        peak_counts=CLEAN_PEAK,
        size_nm=crystal.spec.size_nm,
        coverage=1.0,
        source=source,
        burgers=None if line is None else line.burgers,
        character_deg=None if line is None else line.character_deg,
        strain_rad=crystal.strain_rad,
        crystal=identity,
        aspect=aspect_ratio(crystal.positions_nm),
        blur_fringes=0.0,
        lattice=crystal.spec.lattice,
    )
