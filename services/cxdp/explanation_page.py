"""Write an explanation as a single self-contained HTML file."""

from __future__ import annotations

import base64
from html import escape

from braggwatch.models.explain.explanation import Explanation

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733}"
    "img{width:100%;image-rendering:pixelated}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}"
    "dt{color:#5b6b7b}dd{margin:0}"
)
_READING = {
    "occlusion": (
        "Each block of the pattern was hidden in turn. Orange: hiding it speaks against {label}; blue: hiding it "
        "speaks for it. The strongest block is the most opaque."
    ),
    "gradcam": (
        "Grad-CAM: orange where the network's last feature maps raise {label}. One place of these maps stands for one "
        "place in each of the network's three fields of view, so the map is coarse."
    ),
}


def explanation_page(png: bytes, found: Explanation, *, title: str, model_id: str) -> str:
    """Return the HTML: the picture, how to read it, and the numbers.

    Parameters
    ----------
    png
        From `braggwatch.models.explain.picture.explanation_png`.
    found
        The explanation that the picture shows.
    title
        Name of the run or file.
    model_id
        Model that is explained.
    """
    facts = {
        "class": found.label,
        "probability": f"{found.probability:.4f}",
        "model": model_id,
        "method": found.method,
        "volumes run": str(found.evaluations),
        "time": f"{found.seconds:.1f} s",
    }
    if found.largest_drop is not None:
        facts["largest fall of the probability"] = f"{found.largest_drop:.4f}"
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    picture = base64.b64encode(png).decode("ascii")
    reading = escape(_READING[found.method].format(label=found.label))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}: why {escape(found.label)}'
        f"</title><style>{_STYLE}</style></head><body><h1>{escape(title)}: why {escape(found.label)}</h1>"
        f'<img alt="Three central slices, above as measured, below with the explanation" '
        f'src="data:image/png;base64,{picture}"><p>{reading} Left: seen along Q; middle and right: Q points up.</p>'
        f"<dl>{rows}</dl></body></html>\n"
    )
