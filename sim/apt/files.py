"""Write reconstructions in the formats of atom probe software, ``.pos`` and ``.rrng``, and the truth in HDF5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from braggwatch.sim.apt.model import IonCloud, MassRange, VolumeTruth
from braggwatch.sim.apt.volume import VolumeSpec
from braggwatch.sim.errors import InputError

TRUTH_SCHEMA = 1


def write_pos(path: Path, cloud: IonCloud) -> None:
    """Write a ``.pos`` file: x, y, z (nm) and mass-to-charge ratio (Da) of each ion as four big-endian float32."""
    records = np.empty((len(cloud), 4), dtype=">f4")
    records[:, :3] = cloud.positions_nm
    records[:, 3] = cloud.mass_to_charge_Da
    records.tofile(path)


def write_rrng(path: Path, ranges: Sequence[MassRange]) -> None:
    """Write a ``.rrng`` file of ranges of single elements."""
    names = list(dict.fromkeys(r.name for r in ranges))
    lines = ["[Ions]", f"Number={len(names)}"]
    lines += [f"Ion{n}={name}" for n, name in enumerate(names, start=1)]
    lines += ["", "[Ranges]", f"Number={len(ranges)}"]
    lines += [
        f"Range{n}={r.low_Da:.4f} {r.high_Da:.4f} Vol:{r.volume_nm3:.5f} {r.name}:1 Color:{r.color}"
        for n, r in enumerate(sorted(ranges, key=lambda r: r.low_Da), start=1)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_truth(path: Path, truth: VolumeTruth, spec: VolumeSpec, seed: int) -> None:
    """Write the truth of a simulated volume.

    HDF5 with ``precipitate`` (N,) int32 in the order of the ``.pos`` file's ions, -1 for the matrix; ``centers_nm``
    (M, 3) and ``radii_nm`` (M,) float32; attributes ``schema``, ``spec`` (JSON) and ``seed``.
    """
    with h5py.File(path, "w") as file:
        file.create_dataset("precipitate", data=truth.precipitate, compression="gzip", shuffle=True, fletcher32=True)
        for name, values in (("centers_nm", truth.centres_nm), ("radii_nm", truth.radii_nm)):
            file.create_dataset(name, data=values).attrs["units"] = "nm"
        file["precipitate"].attrs["meaning"] = "number of the precipitate an ion comes from, -1: matrix"
        file.attrs["schema"] = TRUTH_SCHEMA
        file.attrs["spec"] = json.dumps(spec.model_dump(mode="json"))
        file.attrs["seed"] = seed


def read_truth(path: Path) -> tuple[VolumeTruth, VolumeSpec, int]:
    """Read the file of `write_truth`: the truth, its world, and its seed.

    Raises
    ------
    InputError
        If the file is damaged or in another format.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("schema") != TRUTH_SCHEMA:
                raise InputError(f"not a truth file of schema {TRUTH_SCHEMA}")
            truth = VolumeTruth(
                np.asarray(file["precipitate"], dtype=np.int32),
                np.asarray(file["centers_nm"], dtype=np.float32),
                np.asarray(file["radii_nm"], dtype=np.float32),
            )
            return truth, VolumeSpec.model_validate_json(str(file.attrs["spec"])), int(str(file.attrs["seed"]))
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path.name} can't be read as the truth of a simulated volume: {error}") from error
