"""Crystals of real atoms: the starting point of a relaxation, and its result scaled to a particle of any size.

Around one Bragg peak the pattern depends on positions only through q·r and g·r. Scaling a crystal up by k and q down by
k changes nothing, so a relaxed crystal of 10 nm represents one of 300 nm with the same displacements in units of the
lattice parameter; only f(q) over the box and the width of the core relative to the particle differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import METALS, Miller
from braggwatch.sim.cxdp.crystal.build import Crystal, CrystalSpec, build_crystal
from braggwatch.sim.cxdp.crystal.defects import contrast, defect_distance, strongest
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron, make_polyhedron
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN, StrainSpec, strain_phase, strain_spread
from braggwatch.sim.errors import InputError


def atomistic_spec(spec: CrystalSpec, cells_across: int) -> CrystalSpec:
    """Return a specification whose points are the atoms, with the given number of cubic cells across and no strain."""
    size_nm = cells_across * METALS[spec.element].lattice_parameter_nm
    return spec.model_copy(update={"points_across": cells_across, "size_nm": size_nm, "strain": NO_STRAIN})


def initial_atoms(spec: CrystalSpec, lattice_parameter_A: float) -> NDArray[np.float64]:
    """Place the atoms of an `atomistic_spec`, with the line's isotropic field.

    Parameters
    ----------
    spec
        From `atomistic_spec`.
    lattice_parameter_A
        Lattice parameter of the potential that will relax them, Å.

    Returns
    -------
    (N, 3) float64 Å, crystal axes, about the centre of mass of the ideal lattice.

    Raises
    ------
    InputError
        If the specification's points are not atoms.
    """
    step_nm = spec.size_nm / spec.points_across
    a_nm = spec.metal.lattice_parameter_nm
    if abs(step_nm / a_nm - 1.0) > 1e-6:
        raise InputError(f"points {step_nm:.4f} nm apart are not atoms of {spec.element}: use atomistic_spec")
    crystal = build_crystal(spec)
    return (crystal.positions_nm + crystal.displacement_nm) * (lattice_parameter_A / a_nm)


def crystal_of_atoms(
    positions_A: NDArray[np.floating],
    lattice_parameter_A: float,
    spec: CrystalSpec,
    label: str,
    *,
    hkl: Miller,
    size_nm: float,
    strain: StrainSpec = NO_STRAIN,
    rng: np.random.Generator | None = None,
) -> Crystal:
    """Make scattering points from relaxed atoms, scaled up to a particle size.

    Parameters
    ----------
    positions_A
        (N, 3) Å, crystal axes.
    lattice_parameter_A
        Lattice parameter of the potential, Å: its reciprocal lattice gives g.
    spec
        What the atoms were made from (`atomistic_spec`).
    label
        Label of the defect found in them.
    hkl, size_nm
        The reflection, and the particle size that the crystal represents, nm.
    strain, rng
        Smooth strain added to the relaxed displacements, drawn from ``rng``.

    Raises
    ------
    ValueError
        If strain is given without a generator.
    """
    atoms = np.asarray(positions_A, dtype=np.float64)
    atoms = atoms - atoms.mean(axis=0)
    turns = np.mod(atoms @ (np.asarray(hkl, dtype=np.float64) / lattice_parameter_A), 1.0)
    size_A = lattice_parameter_A * float(len(atoms) / 4.0) ** (1 / 3)
    spread = 0.0
    if strain != NO_STRAIN:
        if rng is None:
            raise ValueError("random strain needs a generator")
        phase = strain_phase(strain, atoms / size_A, _facets(spec), rng)
        turns = turns + phase / (2 * np.pi)
        spread = strain_spread(phase, atoms)
    seen = spec.model_copy(update={"hkl": hkl, "size_nm": size_nm, "strain": strain})
    # a defect that left the crystal while relaxing is still in its specification
    defects = () if label == "perfect" else seen.all_defects
    contrasts = tuple(contrast(hkl, defect) for defect in defects)
    return Crystal(
        spec=seen,
        positions_nm=atoms * (size_nm / size_A),
        displacement_nm=np.zeros_like(atoms),
        phase_turns=turns,
        label=label,
        g_dot_b=strongest(contrasts),
        line_distance=min(map(defect_distance, defects), default=None),
        contrasts=contrasts,
        strain_rad=spread,
    )


def _facets(spec: CrystalSpec) -> Polyhedron:
    # the strain field only uses the facets' directions: depths are measured from the outermost atom
    return make_polyhedron(spec.shape, np.random.default_rng(spec.seed))
