"""Write classified diffraction patterns as one self-contained HTML page with indexed overlays."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.classifier import CrystalJudgement, PatternJudgement
from braggwatch.models.sadp.groups import GroupTable, Zone
from braggwatch.models.sadp.indexing import IndexedPattern, index_pattern
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.slice_picture import png_bytes

_SIDE = 460
_LABELS = 24
_NAME_WIDTH = 48.0
_STYLE = """
:root { --ink: #1d2330; --soft: #5b6475; --line: #d9dde5; --paper: #fff; --panel: #f5f6f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf2; --soft: #a3acbd; --line: #3a4252; --paper: #14181f; --panel: #1c222c; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
p.note { color: var(--soft); margin: .3rem 0; }
section { background: var(--panel); border-radius: 8px; padding: 1rem 1.2rem; margin: 1.2rem 0; }
.patterns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.2rem; }
.patterns section { margin: 0; } svg { width: 100%; height: auto; background: #000; border-radius: 4px; }
svg circle { fill: none; stroke-width: 1.5; } svg .on { stroke: #5ad17a; } svg .off { stroke: #ff8a5c; }
svg .dark { stroke: #7fb2ff; stroke-dasharray: 3 3; } svg text { font: 12px system-ui, sans-serif; fill: #d7f5df; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
"""


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """One picture with its measured pattern and its verdict."""

    name: str
    pixels: NDArray[np.generic]
    measured: MeasuredPattern
    judgement: PatternJudgement


def best_index(
    measured: MeasuredPattern, judgement: PatternJudgement, table: GroupTable, group: str | None
) -> IndexedPattern | None:
    """Index a pattern by the members of its most probable class, those of the crystal's group first.

    Parameters
    ----------
    group
        Space group of the crystal, if known.
    """
    lattice = measured.lattice
    if lattice is None or not judgement.usable:
        return None
    members: list[tuple[str, Zone]] = [
        (member.group, member.zone)
        for member in table.members
        if f"{member.group} [{' '.join(map(str, member.zone))}]" in judgement.members
    ]
    preferred = [member for member in members if group is not None and member[0].startswith(group)] or members
    indexed = (index_pattern(measured, lattice, *member) for member in preferred)
    return max(
        (pattern for pattern in indexed if pattern is not None),
        key=lambda pattern: (pattern.share_explained, -pattern.distortion),
        default=None,
    )


def write_sadp_report(
    path: Path, pictures: Sequence[JudgedPicture], table: GroupTable, crystal: CrystalJudgement | None
) -> None:
    """Write the page: pictures with circles around spots and reflection labels, no scripts, no external resources.

    Parameters
    ----------
    crystal
        Joint result of all pictures, if they are of one crystal.
    """
    group = crystal.best[0] if crystal is not None and crystal.best is not None else None
    cards = "".join(_card(picture, table, group) for picture in pictures)
    models = (picture.judgement.verdict.model for picture in pictures)
    model = next((model for model in models if model), None)
    head = "" if crystal is None else _crystal(crystal)
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Electron diffraction patterns</title><style>{_STYLE}</style></head><body>"
        f"<h1>{len(pictures)} electron diffraction pattern{'s' if len(pictures) != 1 else ''}</h1>"
        f'<p class="note">Classified by {escape(model.id if model is not None else "no model")}. Circles: green, an '
        "indexed spot; orange, a spot without a reflection; blue, the direct beam.</p>"
        f'{head}<div class="patterns">{cards}</div></body></html>\n',
        encoding="utf-8",
    )


def _crystal(crystal: CrystalJudgement) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{crystal.product[name]:.1%}</td><td>{crystal.mean[name]:.1%}</td></tr>"
        for name in sorted(crystal.product, key=lambda name: -crystal.product[name])
    )
    next_zones = ", ".join(f"[{' '.join(map(str, zone))}] ({bits:.2f} bit)" for zone, bits in crystal.next_zones[:3])
    return (
        f"<section><h2>The crystal, from {crystal.patterns} patterns ({crystal.set_aside} set aside)</h2>"
        "<table><thead><tr><th>space group</th><th>product</th><th>mean</th></tr></thead>"
        f'<tbody>{rows}</tbody></table><p class="note">Most informative zones to measure next: '
        f"{escape(next_zones)}</p></section>"
    )


def _card(picture: JudgedPicture, table: GroupTable, group: str | None) -> str:
    judgement = picture.judgement
    indexed = best_index(picture.measured, judgement, table, group)
    lines = [f"<b>{escape(judgement.verdict.headline)}</b>"]
    if judgement.verdict.confidence is not None:
        lines.append(f"class probability {judgement.verdict.confidence:.3f}")
    if judgement.verdict.reason:
        lines.append(escape(judgement.verdict.reason))
    if judgement.groups:
        ranked = sorted(judgement.groups.items(), key=lambda item: -item[1])
        lines.append("P(group): " + ", ".join(f"{name} {p:.1%}" for name, p in ranked if p >= 0.01))
    if indexed is not None:
        a = "" if indexed.lattice_parameter_A is None else f", a = {indexed.lattice_parameter_A:.3f} Å"
        lines.append(
            f"indexed as {indexed.group} [{' '.join(map(str, indexed.zone))}]: {indexed.share_explained:.0%} of "
            f"{judgement.spots} spots, residual {indexed.residual_px:.2f} px, stretch {indexed.distortion:.1%}{a}"
        )
    notes = "".join(f'<p class="note">{line}</p>' for line in lines)
    return f"<section><h2>{escape(picture.name)}</h2>{_overlay(picture, indexed)}{notes}</section>"


def _overlay(picture: JudgedPicture, indexed: IndexedPattern | None) -> str:
    height, width = picture.measured.shape
    scale = _SIDE / max(height, width)
    x0, y0 = picture.measured.centre_px
    radius = max(5.0, 2.5 * picture.measured.spot_sigma_px * scale)
    body: list[str] = []
    for number, (x, y) in enumerate(picture.measured.positions_px):
        explained = indexed is not None and bool(indexed.explained[number])
        px, py = (x + x0 + 0.5) * scale, (y + y0 + 0.5) * scale
        body.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" class="{"on" if explained else "off"}"/>')
        if explained and indexed is not None and number < _LABELS:
            name = " ".join(_with_bar(int(value)) for value in indexed.hkl[number])
            # near the right edge, left of the spot; near the top edge, lower: labels are not cut off
            left_of_spot = px > width * scale - _NAME_WIDTH
            x_text = f'x="{px - radius - 1:.1f}" text-anchor="end"' if left_of_spot else f'x="{px + radius + 1:.1f}"'
            body.append(f'<text {x_text} y="{max(py - 2, 14.0):.1f}">{name}</text>')
    centre = f'<circle cx="{(x0 + 0.5) * scale:.1f}" cy="{(y0 + 0.5) * scale:.1f}" r="3" class="dark"/>'
    png = b64encode(png_bytes(_grey(picture.pixels))).decode()
    return (
        f'<svg viewBox="0 0 {width * scale:.0f} {height * scale:.0f}" role="img" '
        f'aria-label="{escape(picture.name)} with its spots"><image href="data:image/png;base64,{png}" '
        f'width="{width * scale:.1f}" height="{height * scale:.1f}"/>{centre}{"".join(body)}</svg>'
    )


def _with_bar(value: int) -> str:
    return str(value) if value >= 0 else f"{-value}\u0305"


def _grey(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a picture in grey, (H, W, 3) uint8, intensities to the power 0.4, at most 512 pixels a side."""
    image = np.nan_to_num(np.asarray(pixels, dtype=np.float64), posinf=0.0, neginf=0.0)
    step = -(-max(image.shape) // 512)
    image = image[::step, ::step]
    low, high = np.quantile(image, [0.02, 0.9995])
    grey = 255 * np.clip((image - low) / max(high - low, 1e-12), 0, 1) ** 0.4
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
