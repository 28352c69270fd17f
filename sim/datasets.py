"""Labelled CXDPs for training and testing: resumable, deterministic by seed, one HDF5 shard a task.

A sample goes the way of a live scan: a crystal, a diffractometer, expected counts at every pixel's exact Q, noise and
gaps in the detector's frame, then the same preprocessing as live data. That preprocessing lives a storey above and is
handed in (`Preprocess`), so that nothing here points up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystal import PopulationSpec, build_crystal, random_crystal_spec
from braggwatch.sim.crystal.population import DEFAULT_POPULATION
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import pixel_q
from braggwatch.sim.nuisance import measure, random_nuisance
from braggwatch.sim.scattering import amplitude_at
from braggwatch.sim.setup import DiffractionSetup, random_setup

Label = Literal["perfect", "screw", "edge", "mixed"]
SHARD_SCHEMA = 1


class Preprocess(Protocol):
    """Detector frames to the model's volume: the live path's numeric core."""

    def __call__(
        self,
        frames: NDArray[np.generic],
        angles_deg: NDArray[np.float64],
        present: NDArray[np.bool_],
        geometry: RockingGeometry,
        dead: NDArray[np.bool_],
        fringe_period_voxels: float,
    ) -> tuple[NDArray[np.float32] | None, str]:
        """Return the (64, 64, 64) counts, or None with the reason why there are none."""
        ...


class DatasetSpec(BaseModel):
    """What a data set holds; its hash names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    population: PopulationSpec = DEFAULT_POPULATION
    classes: tuple[Label, ...] = ("perfect", "screw", "edge")
    visible: bool = Field(default=True, description="False: only lines that the reflection can't see (g·b = 0).")
    peak_counts: tuple[float, float] = (1e3, 1e6)
    fringe_period_voxels: float = Field(default=3.5, description="The preprocessing's target.")
    fringe_jitter: float = Field(default=0.08, description="Relative spread of that target from sample to sample.")
    seed: int = 1

    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the specification."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """Facts of one sample, stored beside its volume."""

    config: int
    label: str
    element: str
    hkl: tuple[int, int, int]
    g_dot_b: float
    line_distance: float
    peak_counts: float
    size_nm: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled model input; ``intensity`` (64, 64, 64) float32 counts."""

    intensity: NDArray[np.float32]
    info: SampleInfo


def ideal_intensity(
    setup: DiffractionSetup,
    amplitude: Callable[[NDArray[np.float64]], NDArray[np.complexfloating]],
    g_inv_nm: NDArray[np.float64],
) -> NDArray[np.float32]:
    """|F|² at every pixel's exact Q.

    Parameters
    ----------
    setup
        Geometry, angles, orientation.
    amplitude
        Scattered amplitude at (M, 3) offsets from g, 1/nm, crystal axes.
    g_inv_nm
        (3,) reciprocal lattice vector, crystal axes.

    Returns
    -------
    (frames, rows, columns) float32.
    """
    rows, cols = setup.geometry.frame_shape
    q = pixel_q(setup.geometry, setup.angles_deg[:, None, None], np.arange(rows)[:, None], np.arange(cols)).reshape(
        -1, 3
    )
    q = q @ setup.orientation * (10 / (2 * np.pi)) - g_inv_nm  # 1/angstrom with 2 pi to 1/nm without, crystal axes
    field = amplitude(q)
    return (field.real**2 + field.imag**2).astype(np.float32).reshape(len(setup.angles_deg), rows, cols)


def make_sample(spec: DatasetSpec, config: int, preprocess: Preprocess) -> Sample | str:
    """Make sample number ``config``; returns the reason in words where the preprocessing refused the scan."""
    rng = np.random.default_rng((spec.seed, config))
    label = spec.classes[config % len(spec.classes)]
    crystal_spec = random_crystal_spec(rng, label, spec.population, visible=spec.visible)
    crystal = build_crystal(crystal_spec)
    setup = random_setup(crystal_spec, rng)
    intensity = ideal_intensity(setup, lambda q: amplitude_at(crystal, q, eps=1e-3), crystal.g_inv_nm)
    peak = np.unravel_index(int(intensity.argmax()), intensity.shape)
    shape = (intensity.shape[0], intensity.shape[1], intensity.shape[2])
    nuisance = random_nuisance(rng, (int(peak[0]), int(peak[1]), int(peak[2])), shape, setup.fringe, spec.peak_counts)
    counts, dead = measure(intensity, nuisance, setup.fringe, rng)
    present = rng.random(shape[0]) >= nuisance.missing_fraction
    present[max(0, int(peak[0]) - 2) : int(peak[0]) + 3] = True
    counts[~present] = 0
    period = spec.fringe_period_voxels * float(np.exp(rng.normal(scale=spec.fringe_jitter)))
    volume, reason = preprocess(counts, setup.angles_deg, present, setup.geometry, dead, period)
    if volume is None:
        return reason
    return Sample(
        volume,
        SampleInfo(
            config=config,
            label=crystal.label,
            element=crystal_spec.element,
            hkl=crystal_spec.hkl,
            g_dot_b=crystal.g_dot_b,
            line_distance=-1.0 if crystal.line_distance is None else crystal.line_distance,
            peak_counts=nuisance.peak_counts,
            size_nm=crystal_spec.size_nm,
            coverage=float(np.mean(present)),
        ),
    )


def write_shard(
    path: Path, spec: DatasetSpec, configs: range, preprocess: Preprocess
) -> Iterator[tuple[int, str | None]]:
    """Write one shard, yielding (config, refusal reason or None) after each sample for a progress bar.

    The shard appears under its name only when complete; one that exists is left alone (resume).
    """
    if path.exists():
        return
    yield from store_samples(path, spec, ((config, make_sample(spec, config, preprocess)) for config in configs))


def store_samples(
    path: Path, spec: DatasetSpec, samples: Iterable[tuple[int, Sample | str]]
) -> Iterator[tuple[int, str | None]]:
    """Store samples as they are made, yielding (config, refusal reason or None); the file is renamed when complete."""
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        store = file.create_dataset(
            "log_intensity", (0, 64, 64, 64), "f2", maxshape=(None, 64, 64, 64), chunks=(1, 64, 64, 64)
        )
        store.attrs["meaning"] = "log1p(counts); axis 0 of each volume along Q"
        infos: list[str] = []
        refused: dict[str, int] = {}
        for config, made in samples:
            if isinstance(made, str):
                refused[made] = refused.get(made, 0) + 1
                yield config, made
                continue
            store.resize(len(infos) + 1, axis=0)
            store[len(infos)] = np.log1p(made.intensity)
            infos.append(json.dumps(asdict(made.info)))
            yield config, None
        file.create_dataset("info", data=np.asarray(infos, dtype=h5py.string_dtype()))
        file.attrs["schema"] = SHARD_SCHEMA
        file.attrs["spec"] = spec.model_dump_json()
        file.attrs["refused"] = json.dumps(refused)
    partial.replace(path)


def read_shard(path: Path) -> tuple[NDArray[np.float16], list[SampleInfo]]:
    """Read one shard: log1p counts (N, 64, 64, 64) float16 and the samples' facts.

    Raises
    ------
    ValueError
        If the file is of another schema.
    """
    with h5py.File(path, "r") as file:
        if file.attrs.get("schema") != SHARD_SCHEMA:
            raise ValueError(f"{path.name} is not a shard of schema {SHARD_SCHEMA}: make the data set again")
        volumes = np.asarray(file["log_intensity"])
        infos = [_info(json.loads(text)) for text in np.asarray(file["info"]).astype(str)]
    return volumes, infos


def _info(fields: dict[str, object]) -> SampleInfo:
    return SampleInfo(**{**fields, "hkl": tuple(fields["hkl"])})  # type: ignore[arg-type]
