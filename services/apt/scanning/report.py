"""Write a scan as one self-contained HTML page: a rotatable 3D view, sizes, maps of both phases, controls."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.services.apt.scanning.outputs import SCAN_FILE
from braggwatch.sim.errors import InputError

_MOST_POINTS = 40_000
_SURFACES = {"otsu": "Otsu's cut", "given": "given"}
_RULES = {
    "bundle": "the bundle's threshold",
    "control": "raised to what one voxel in a thousand exceeds where species are shuffled",
    "given": "as given",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#1d2733}"
    "canvas{width:100%;height:34rem;background:#10151c;border-radius:8px;touch-action:none;cursor:grab}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2rem .9rem .2rem 0;text-align:right;border-bottom:1px solid #d9dde5}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%}svg text{font-size:11px;fill:#5b6b7b}"
    "p.note{color:#5b6b7b}label{margin-right:1rem}.figures{display:flex;flex-wrap:wrap;gap:1.5rem}"
)


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """The part of a scan's HDF5 file that the page uses."""

    summary: dict[str, object]
    label: NDArray[np.int32]
    log_odds: NDArray[np.float32]
    solute_part: NDArray[np.float32]
    voxel_nm: float
    phases: tuple[tuple[str, NDArray[np.float64], NDArray[np.float64]], ...]

    @classmethod
    def read(cls, folder: Path) -> ScanRecord:
        """Read ``scan.h5`` of a folder that 'braggwatch apt scan' wrote.

        Raises
        ------
        InputError
            If the file doesn't exist or isn't a scan.
        """
        path = folder / SCAN_FILE
        if not path.exists():
            raise InputError(f"{folder} contains no {SCAN_FILE}: run 'braggwatch apt scan' with --out {folder} first")
        try:
            with h5py.File(path, "r") as file:
                entry = _group(file, "entry1")
                order = _group(entry, "order")
                z = _values(order, "z")
                names = [name for name in map(str, entry) if name.startswith("zsdm_")]
                phases = tuple(
                    (name.removeprefix("zsdm_").replace("_", " "), _values(phase, "dz"), _values(phase, "counts"))
                    for name, phase in ((name, _group(entry, name)) for name in names)
                )
                return cls(
                    json.loads(str(_dataset(entry, "summary").asstr()[()])),
                    _values(order, "precipitate").astype(np.int32),
                    _values(order, "log_odds").astype(np.float32),
                    _values(order, "solute_part").astype(np.float32),
                    float(z[1] - z[0]) if len(z) > 1 else 1.0,
                    phases,
                )
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} can't be read as a scan: {error}") from error


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    found = parent[name]
    if not isinstance(found, h5py.Group):
        raise InputError(f"{name} is not a group")
    return found


def _dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    found = parent[name]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{name} is not a dataset")
    return found


def _values(parent: h5py.Group, name: str) -> NDArray[np.float64]:
    return np.asarray(_dataset(parent, name), dtype=np.float64)


def view_data(record: ScanRecord) -> dict[str, object]:
    """Return the surface voxels of ordered and of solute-rich regions for the 3D view, bytes as base64."""
    shape = record.label.shape
    rich_cut = 1.0
    for surface in _dicts(record.summary.get("isoconcentration")):
        if surface.get("name") == "otsu":
            rich_cut = float(str(surface["part"]))
    scored = np.isfinite(record.log_odds)
    groups = {
        "ordered": _surface(record.label >= 0),
        "solute": _surface(scored & (np.nan_to_num(record.solute_part) > rich_cut)),
    }
    out: dict[str, object] = {"shape": list(shape), "voxel_nm": record.voxel_nm}
    for name, mask in groups.items():
        at = np.argwhere(mask)
        if len(at) > _MOST_POINTS:
            at = at[np.random.default_rng(0).permutation(len(at))[:_MOST_POINTS]]
        number = record.label[tuple(at.T)] if len(at) else np.empty(0, np.int32)
        packed = np.column_stack([at, number % 32749]).astype("<i2") if len(at) else np.empty((0, 4), "<i2")
        out[name] = base64.b64encode(packed.tobytes()).decode("ascii")
    return out


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that have a face outside it."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(3):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return mask & ~inner


def _dicts(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def report_page(record: ScanRecord, title: str) -> str:
    """Return the page."""
    summary = record.summary
    script = files("braggwatch.services.apt.scanning").joinpath("apt_view.js").read_text(encoding="utf-8")
    data = json.dumps(view_data(record))
    sizes = summary.get("precipitates")
    methods = [("order", sizes)] if isinstance(sizes, dict) else []
    methods += [(_surface_name(summary, surface), surface) for surface in _dicts(summary.get("isoconcentration"))]
    histograms = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{_histogram(found)}</figure>" for name, found in methods
    )
    curves = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{_curve(z, counts)}</figure>"
        for name, z, counts in record.phases
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}: order</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p class=note>{escape(str(summary.get('bundle')))}; host {escape(str(summary.get('host')))}, solute "
        f"{escape(str(summary.get('solute')))}; {summary.get('ions')} ions. Drag to turn, wheel to zoom. Each "
        "colour is a precipitate.</p>"
        '<canvas id="view" role="img" aria-label="Ordered precipitates in three dimensions"></canvas><p>'
        '<label><input type="checkbox" id="show-ordered" checked> ordered</label>'
        '<label><input type="checkbox" id="show-solute"> solute-rich (Otsu)</label></p>'
        f"<h2>Found, and the isoconcentration surfaces beside it</h2>{_table(summary)}"
        f"<h2>Radii</h2><div class=figures>{histograms}</div><h2>What the data can show</h2>{_facts(summary)}"
        f'<h2>z-SDM of each phase</h2><div class="figures">{curves}</div>'
        f'<script type="application/json" id="data">{data}</script><script>{script}</script></body></html>\n'
    )


def _number(value: object, form: str = ".2f") -> str:
    return format(value, form) if isinstance(value, int | float) else "none"


def _surface_name(summary: dict[str, object], surface: dict[str, object]) -> str:
    rule = _SURFACES.get(str(surface.get("name")), str(surface.get("name")))
    return f"{summary.get('solute')} above {_number(surface.get('part'), '.1%')} ({rule})"


def _table(summary: dict[str, object]) -> str:
    sizes = summary.get("precipitates")
    rows = [("order", sizes)] if isinstance(sizes, dict) else []
    rows += [(_surface_name(summary, surface), surface) for surface in _dicts(summary.get("isoconcentration"))]
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{found.get('precipitates')}</td><td>{found.get('at_edge')}</td>"
        f"<td>{_number(found.get('mean_nm'))}</td><td>{_number(found.get('sd_nm'))}</td>"
        f"<td>{_number(found.get('volume_fraction'), '.1%')}</td>"
        f"<td>{_number(found.get('density_per_m3'), '.2e')}</td></tr>"
        for name, found in rows
    )
    return (
        "<table><thead><tr><th>by</th><th>precipitates</th><th>at the edge</th><th>mean radius, nm</th>"
        f"<th>spread, nm</th><th>volume</th><th>per m³</th></tr></thead><tbody>{body}</tbody></table>"
        "<p class=note>Order and composition are different maps: solute may cluster without ordering, and order may "
        "exist without a difference in composition.</p>"
    )


def _facts(summary: dict[str, object]) -> str:
    lines: list[str] = []
    planes, cut = summary.get("planes"), summary.get("threshold")
    if isinstance(planes, dict):
        lines.append(
            f"Lattice planes {_number(planes.get('spacing_nm'), '.4f')} nm apart, resolved in "
            f"{_number(planes.get('resolved_share'), '.0%')} of the regions."
        )
    if isinstance(cut, dict):
        rule = str(cut.get("rule"))
        lines.append(f"Cut at log odds {_number(cut.get('threshold'))}: {_RULES.get(rule, rule)}.")
    control, limit = summary.get("random_label_control"), summary.get("detection_limit")
    if isinstance(control, dict):
        lines.append(
            f"With species shuffled among the ions: {control.get('false_precipitates')} false precipitates in "
            f"{control.get('voxels')} voxels."
        )
    if isinstance(limit, dict):
        shares = zip(limit["radii_nm"], limit["found"], limit["injected"], strict=True)
        lines.append(
            "Precipitates injected into these data, found of injected: "
            + ", ".join(f"{radius:g} nm {hits}/{of}" for radius, hits, of in shares)
            + "."
        )
        smallest = limit.get("limit_nm")
        lines.append(
            "Smallest radius found at 80 %: "
            + ("above the largest injected." if smallest is None else f"{_number(smallest)} nm.")
        )
    lines.append(
        f"{_number(summary.get('far_from_training_share'), '.1%')} of the voxels are unlike the training data."
    )
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _histogram(sizes: dict[str, object]) -> str:
    counts, edges = sizes.get("counts"), sizes.get("edges_nm")
    if not isinstance(counts, list | tuple) or not isinstance(edges, list | tuple) or not any(counts):
        return "<p class=note>all touch the edge</p>"
    # a precipitate that spans the volume lengthens the axis but is not counted
    counts = counts[: max(n for n, c in enumerate(counts) if c) + 1]
    top = max(counts)
    width = 24
    bars = "".join(
        f'<rect x="{30 + n * width}" y="{130 - 110 * c / top:.1f}" width="{width - 3}" height="{110 * c / top:.1f}" '
        f'fill="#1f5fbf"><title>{edges[n]:g} to {edges[n + 1]:g} nm: {c}</title></rect>'
        + (f'<text x="{30 + n * width}" y="145">{edges[n]:g}</text>' if float(edges[n]).is_integer() else "")
        for n, c in enumerate(counts)
    )
    return (
        f'<svg viewBox="0 0 {60 + width * len(counts)} 165" width="{60 + width * len(counts)}">{bars}'
        f'<text x="2" y="22">{top}</text><text x="30" y="161">radius, nm</text></svg>'
    )


def _curve(z_nm: NDArray[np.float64], counts: NDArray[np.float64]) -> str:
    top = float(counts.max()) or 1.0
    reach = float(np.abs(z_nm).max())
    points = " ".join(
        f"{160 + 150 * z / reach:.1f},{110 - 100 * c / top:.1f}" for z, c in zip(z_nm, counts, strict=True)
    )
    return (
        f'<svg viewBox="0 0 320 130" width="320"><polyline fill="none" stroke="#1f5fbf" points="{points}"/>'
        f'<text x="2" y="126">-{reach:.2f}</text><text x="155" y="126">0</text>'
        f'<text x="270" y="126">{reach:.2f} nm</text></svg>'
    )


def write_report(folder: Path, path: Path, title: str | None = None) -> None:
    """Return the page of a scan's folder."""
    path.write_text(report_page(ScanRecord.read(folder), title or folder.name), encoding="utf-8")
