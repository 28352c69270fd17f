"""Write a scan's output files: HDF5, VTK, labelled ions, tables, a summary."""

from __future__ import annotations

import base64
import csv
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.services.apt.scanning.scan import OrderScan
from braggwatch.services.apt.scanning.summary import summary
from braggwatch.services.version import tool_version
from braggwatch.sim.apt.files import write_pos
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import IonCloud
from braggwatch.sim.whole_file import whole_file

SCAN_FILE = "scan.h5"
VTK_FILE = "scan.vti"
IONS_FILE = "ordered-ions.pos"
TABLE_FILE = "precipitates.csv"
SUMMARY_FILE = "summary.json"


def write_outputs(scan: OrderScan, mass_to_charge_Da: NDArray[np.float32], folder: Path) -> dict[str, Path]:
    """Write all files; each is written completely or not at all.

    Returns
    -------
    Paths by content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = ion_labels(scan)
    paths = {
        "hdf5": folder / SCAN_FILE,
        "vtk": folder / VTK_FILE,
        "ions": folder / IONS_FILE,
        "table": folder / TABLE_FILE,
        "summary": folder / SUMMARY_FILE,
    }
    with whole_file(paths["hdf5"]) as partial:
        _write_hdf5(scan, labels, partial)
    fields = {
        "log_odds": scan.log_odds,
        "precipitate": scan.found.label,
        "solute_part": scan.concentration,
        "spread": scan.scores.spread,
    }
    with whole_file(paths["vtk"]) as partial:
        write_vti(partial, scan.grid, fields)
    inside = labels >= 0
    with whole_file(paths["ions"]) as partial:
        write_pos(partial, IonCloud(scan.ions.positions_nm[inside], mass_to_charge_Da[inside]))
    with whole_file(paths["table"]) as partial:
        _write_table(scan, partial)
    with whole_file(paths["summary"]) as partial:
        partial.write_text(json.dumps(summary(scan), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return paths


def ion_labels(scan: OrderScan) -> NDArray[np.int32]:
    """Return the number of each ion's precipitate, (N,); -1 for the matrix and for regions without a score."""
    flat = scan.grid.flat_index(scan.level.apply(scan.ions.positions_nm))
    labels = np.full(len(flat), -1, dtype=np.int32)
    labels[flat >= 0] = scan.found.label.ravel()[flat[flat >= 0]]
    return labels


def _write_hdf5(scan: OrderScan, labels: NDArray[np.int32], path: Path) -> None:
    """Write groups in the style of NeXus's atom probe results (NXapm_paraprobe): NXdata, with axes if any."""
    grid = scan.grid
    centres = [
        np.array([grid.origin_nm[a] + (n + 0.5) * grid.voxel_nm for n in range(grid.shape[a])]) for a in range(3)
    ]
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry1"
        entry = _group(file, "entry1", "NXentry")
        entry.attrs["default"] = "order"
        entry["definition"] = "NXapm"
        entry["program"] = "braggwatch"
        entry["program"].attrs["version"] = tool_version()
        entry["summary"] = json.dumps(summary(scan))
        order = _group(entry, "order", "NXdata")
        order.attrs["signal"] = "log_odds"
        order.attrs["axes"] = ["x", "y", "z"]
        for name, axis in zip("xyz", centres, strict=True):
            order[name] = axis
            order[name].attrs["units"] = "nm"
        order.attrs["z_is"] = "levelled depth; see coordinate_system"
        for name, values in {
            "log_odds": scan.log_odds,
            "log_odds_raw": scan.scores.logit,
            "spread": scan.scores.spread,
            "distance": scan.scores.distance,
            "precipitate": scan.found.label,
            "solute_part": scan.concentration,
        }.items():
            order.create_dataset(name, data=values, compression="gzip", shuffle=True, fletcher32=True)
        found = _group(entry, "precipitates", "NXobject")
        for name, values, units in (
            ("center", scan.found.centres_nm, "nm"),
            ("radius", scan.found.radii_nm, "nm"),
            ("voxels", scan.found.voxels, ""),
            ("at_edge", scan.found.at_edge, ""),
        ):
            found[name] = values
            if units:
                found[name].attrs["units"] = units
        ions = _group(entry, "ions", "NXobject")
        ions.create_dataset("precipitate", data=labels, compression="gzip", shuffle=True, fletcher32=True)
        ions["precipitate"].attrs["meaning"] = "in the order of the reconstruction's ions; -1: matrix, or not scored"
        planes = _group(entry, "lattice_planes", "NXobject")
        planes.attrs["origin_nm"], planes.attrs["edge_nm"] = scan.planes.origin_nm, scan.planes.edge_nm
        for name in ("signal", "spacing_nm", "tilt_x_deg", "tilt_y_deg", "resolved"):
            planes[name] = getattr(scan.planes, name)
        level = _group(entry, "coordinate_system", "NXcoordinate_system")
        level.attrs["meaning"] = "z' = scale (z + a x + b y + c x^2/2 + d y^2/2 + e x y), x and y from the middle, nm"
        level["middle_nm"], level["slope"] = scan.level.middle_nm, scan.level.slope
        level["bend_per_nm"], level["scale"] = scan.level.bend_per_nm, scan.level.scale
        for phase_sdm in scan.phases:
            sdm = _group(entry, f"zsdm_{phase_sdm.phase}_{phase_sdm.pair[0]}_{phase_sdm.pair[1]}", "NXdata")
            sdm.attrs["signal"], sdm.attrs["axes"] = "counts", ["dz"]
            sdm["counts"], sdm["dz"] = phase_sdm.counts, phase_sdm.z_nm
            sdm["dz"].attrs["units"] = "nm"


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def write_vti(path: Path, grid: VoxelGrid, fields: Mapping[str, NDArray[np.float32] | NDArray[np.int32]]) -> None:
    """Write cell data on a regular grid as a VTK XML image (.vti), for ParaView and the like; NaN stays NaN.

    Source: VTK file formats, kitware: binary, base64 with a UInt64 length before each array, x fastest.
    """
    nx, ny, nz = grid.shape
    extent = f"0 {nx} 0 {ny} 0 {nz}"
    origin, step = " ".join(f"{o:.6g}" for o in grid.origin_nm), f"{grid.voxel_nm:g}"
    with path.open("w", encoding="ascii") as stream:
        stream.write(
            '<?xml version="1.0"?>\n<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" '
            f'header_type="UInt64">\n<ImageData WholeExtent="{extent}" Origin="{origin}" '
            f'Spacing="{step} {step} {step}">\n<Piece Extent="{extent}">\n<CellData Scalars="{next(iter(fields))}">\n'
        )
        for name, values in fields.items():
            if values.shape != grid.shape:
                raise ValueError(f"{name} has shape {values.shape}, the grid {grid.shape}")
            kind, dtype = ("Int32", "<i4") if values.dtype == np.int32 else ("Float32", "<f4")
            data = values.astype(dtype).tobytes(order="F")
            text = base64.b64encode(struct.pack("<Q", len(data)) + data).decode("ascii")
            stream.write(f'<DataArray type="{kind}" Name="{name}" format="binary">{text}</DataArray>\n')
        stream.write("</CellData>\n</Piece>\n</ImageData>\n</VTKFile>\n")


def _write_table(scan: OrderScan, path: Path) -> None:
    at = scan.level.undo(scan.found.centres_nm)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["precipitate", "x_nm", "y_nm", "z_nm", "radius_nm", "voxels", "at_edge", "solute_part"])
        for n in range(len(scan.found)):
            part = np.nanmean(scan.concentration[scan.found.label == n])
            table.writerow(
                [
                    n,
                    *(f"{v:.2f}" for v in at[n]),
                    f"{scan.found.radii_nm[n]:.3f}",
                    int(scan.found.voxels[n]),
                    int(scan.found.at_edge[n]),
                    f"{part:.4f}",
                ]
            )
