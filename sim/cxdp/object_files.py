"""Particle files: an object from phase retrieval as npz, a fitted polyhedron as JSON."""

from __future__ import annotations

import json
import zipfile
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import METALS, Miller
from braggwatch.sim.cxdp.crystal.build import Element
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron
from braggwatch.sim.cxdp.facet_fit import FACETS, facet_normals
from braggwatch.sim.cxdp.given_particles import Measurement, ParticleObject, object_from_polyhedron
from braggwatch.sim.errors import InputError


class FittedParticle(BaseModel):
    """A particle as facet distances, with the measurement that it was fitted to; small enough to ship."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="What was fitted, and the quality of the fit.")
    element: Element
    hkl: Miller
    distances_nm: tuple[float, ...] = Field(
        min_length=len(FACETS), max_length=len(FACETS), description="Distances of `FACETS`, in that order, nm."
    )
    measurement: Measurement

    def particle(self) -> ParticleObject:
        """Return the polyhedron filled with scattering points."""
        shape = Polyhedron(facet_normals(), np.asarray(self.distances_nm))
        return object_from_polyhedron(shape, self.element, self.hkl)


def fitted_gold() -> FittedParticle:
    """Return the shipped fit of a gold particle measured at APS 34-ID-C."""
    text = files("braggwatch.sim.cxdp").joinpath("particles/gold_34idc.json").read_text(encoding="utf-8")
    return FittedParticle.model_validate_json(text)


def save_object(path: Path, particle: ParticleObject, measurement: Measurement, source: str) -> None:
    """Write a particle and its measurement as a compressed npz (single precision)."""
    facts = {"source": source, "element": particle.metal.symbol, "hkl": list(particle.hkl), "size_nm": particle.size_nm}
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            positions_nm=particle.positions_nm.astype(np.float32),
            weights=particle.weights.astype(np.complex64),
            facts=np.asarray(json.dumps(facts)),
            measurement=np.asarray(measurement.model_dump_json()),
        )


def load_object(path: Path) -> tuple[ParticleObject, Measurement, str]:
    """Read what `save_object` wrote: particle, measurement and source.

    Raises
    ------
    InputError
        If the file is not such an object.
    OSError
        If it can't be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            measurement = Measurement.model_validate_json(str(stored["measurement"]))
            h, k, l = (int(i) for i in facts["hkl"])  # noqa: E741 - Miller indices
            particle = ParticleObject(
                positions_nm=stored["positions_nm"].astype(np.float64),
                weights=stored["weights"].astype(np.complex128),
                metal=METALS[str(facts["element"])],
                hkl=(h, k, l),
                size_nm=float(facts["size_nm"]),
            )
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path.name} is not a Braggwatch object: {reason}") from error
    if particle.positions_nm.ndim != 2 or particle.positions_nm.shape != (len(particle.weights), 3):
        raise InputError(f"{path.name}: {particle.positions_nm.shape} positions, {particle.weights.shape} weights")
    return particle, measurement, str(facts["source"])
