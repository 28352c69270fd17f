"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from braggwatch.models.cxdp.evaluation import Evaluation, OutlierScore, UnclassedScore
from braggwatch.models.cxdp.group_scores import SURE, GroupScore, Share
from braggwatch.models.cxdp.lines_anywhere import FAR, FAR_AREA
from braggwatch.models.cxdp.mistakes import Mistake
from braggwatch.models.cxdp.report_figures import (
    accuracy_by_group,
    confusion_matrix,
    reliability_diagram,
    risk_coverage_curve,
)
from braggwatch.models.cxdp.scores import Score

_STYLE = """
:root { --ink: #1d2330; --soft: #5b6475; --line: #d9dde5; --paper: #fff; --panel: #f5f6f9; --mark: #1f5fbf; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf2; --soft: #a3acbd; --line: #3a4252; --paper: #14181f; --panel: #1c222c; --mark: #6ea3f0; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
p.note, caption { color: var(--soft); } .figures { display: flex; flex-wrap: wrap; gap: 1.2rem; }
section { background: var(--panel); border-radius: 8px; padding: 1rem 1.2rem; margin: 1.2rem 0; overflow-x: auto; }
.figures section { margin: 0; } dl.head { display: flex; flex-wrap: wrap; gap: 1.6rem; margin: 1rem 0; }
dl.head dt { color: var(--soft); font-size: .85rem; }
dl.head dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
dl.head dd small { font-size: .8rem; color: var(--soft); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0; width: 392px; max-width: 100%; } img { max-width: 100%; image-rendering: pixelated; }
figcaption { font-size: .85rem; }
svg { max-width: 100%; height: auto; } svg text { font-size: 13px; fill: var(--ink); }
svg text.small { font-size: 11px; fill: var(--soft); } svg text.axis { fill: var(--soft); }
svg .cell { fill: var(--paper); } svg .shade { fill: #1f5fbf; } svg text.on-dark { fill: #fff; }
svg .plot { fill: var(--paper); } svg .grid { stroke: var(--line); } svg .dot { fill: var(--mark); }
svg .curve { fill: none; stroke: var(--mark); stroke-width: 2; }
p.warning { border-left: 4px solid #c77700; padding-left: .8rem; }
svg .diagonal { stroke: var(--soft); stroke-dasharray: 4 4; } svg .whisker { stroke: var(--mark); stroke-width: 2; }
"""


def _headline(name: str, score: Score | None) -> str:
    if score is None:
        return f"<div><dt>{escape(name)}</dt><dd>none</dd></div>"
    return (
        f"<div><dt>{escape(name)}</dt><dd>{score.accuracy:.1%} "
        f"<small>{score.low:.1%} to {score.high:.1%}</small></dd></div>"
    )


def _anywhere(evaluation: Evaluation) -> str:
    lines = evaluation.lines_anywhere
    return "" if lines is None else _headline("accuracy, lines anywhere", lines.accuracy)


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>" for row in rows)
    return (
        f"<section><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></section>"
    )


def _score_table(caption: str, first: str, scores: Sequence[GroupScore], *, distance: bool) -> str:
    rows = [
        (
            one.group,
            one.patterns,
            str(one.configurations),
            _with_interval(one.accuracy, one.low, one.high),
            _share(one.named),
            _share(one.named_right),
            _share(one.confidently_wrong),
            *((one.wrong_as_perfect, _calibration(one)) if distance else ()),
        )
        for one in scores
    ]
    header = (
        first,
        "patterns",
        "crystals",
        "accuracy",
        "named",
        "of the named, right",
        f"wrong at {SURE:g} or more",
        *(("of the wrong, called perfect", "calibration error") if distance else ()),
    )
    return _table(caption, header, rows)


def _share(share: Share | None) -> str:
    return "none" if share is None else _with_interval(share.value, share.low, share.high)


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def _calibration(one: GroupScore) -> str:
    return "none" if one.calibration_error is None else f"{one.calibration_error:.3f}"


def _lines_anywhere(evaluation: Evaluation) -> str:
    """Where the lines lie, as a paragraph; a warning where they crowd the centre."""
    lines = evaluation.lines_anywhere
    if lines is None:
        return ""
    counted = "each ring of a cross-section counts by its area" if lines.by_area else "each line counts once"
    text = (
        f"{lines.far} of {lines.lines} lines ({lines.far_share:.1%}) lie beyond {FAR:g} of the particle's size, "
        f"where {FAR_AREA:.0%} of a cross-section is. Lines anywhere: {counted}, and every class counts the same."
    )
    if lines.empty:
        text += f" Not measured: no line at {', '.join(lines.empty)}."
    note = f'<p class="note">{escape(text)}</p>'
    return note if lines.warning is None else f'<p class="warning">{escape(lines.warning)}.</p>{note}'


def _outlier_table(outliers: Sequence[OutlierScore]) -> str:
    rows = [
        (
            one.kind,
            str(one.samples),
            "none" if one.auroc is None else f"{one.auroc:.3f}",
            f"{one.set_aside:.1%}",
            f"{one.named:.1%}",
        )
        for one in outliers
    ]
    header = ("kind", "volumes", "AUROC of the distance", "set aside", "given a class")
    return _table("Input that is none of the classes", header, rows)


def _unclassed_table(unclassed: Sequence[UnclassedScore]) -> str:
    rows = [
        (
            one.kind,
            str(one.samples),
            str(one.configurations),
            "none" if one.defect is None else f"{one.defect.accuracy:.1%}",
            ", ".join(f"{name} {count}" for name, count in one.said.items()) or "none",
            ", ".join(f"{name} {count}" for name, count in one.named.items()) or "none",
            str(one.set_aside),
        )
        for one in unclassed
    ]
    header = ("kind", "patterns", "crystals", "said to have a defect", "most probable", "named", "no class given")
    return _table("Good crystals that no class describes", header, rows)


def _mistakes(mistakes: Sequence[Mistake]) -> str:
    cards = "".join(
        "<figure>"
        + (
            f'<img src="data:image/png;base64,{escape(one.picture)}" width="392" '
            f'alt="central slices of a {escape(one.truth)} taken for {escape(one.said)}"/>'
            if one.picture
            else ""
        )
        + f"<figcaption><b>{escape(one.truth)}</b> taken for <b>{escape(one.said)}</b> at {one.confidence:.2f} "
        f"({escape(one.outcome.replace('_', ' '))})<br/>crystal {escape(one.configuration)}: {escape(one.facts)}"
        "</figcaption></figure>"
        for one in mistakes
    )
    return (
        "<section><h2>The worst mistakes</h2>"
        '<p class="note">Wrong classes that were named come first, the surest foremost. Slices through the centre, '
        "logarithmic: along Q, then across either axis with Q pointing up.</p>"
        f'<div class="figures">{cards}</div></section>'
    )


def render_report(evaluation: Evaluation) -> str:
    """Make the page: pictures as inline SVG, the same numbers as tables, no scripts, nothing loaded from elsewhere."""
    clean = evaluation.calibration_error_unspoilt
    unspoilt = "" if clean is None else f", of unspoilt patterns {clean:.1%}"
    figures = [
        (
            "Truth against most probable class",
            confusion_matrix(evaluation.classes, evaluation.confusion),
        ),
        (
            f"Reliability (calibration error {evaluation.calibration_error:.1%}{unspoilt}, "
            f"{evaluation.calibration_bins} bins)",
            reliability_diagram(evaluation.reliability),
        ),
        ("Accuracy by counts in the peak", accuracy_by_group(evaluation.by_counts, "largest voxel, counts")),
    ]
    curve = evaluation.risk_coverage
    if curve is not None:
        title = f"Wrong among the named (area under the curve {curve.area:.4f})"
        figures.append((title, risk_coverage_curve(curve)))
    pictures = "".join(f"<section><h2>{escape(title)}</h2>{picture}</section>" for title, picture in figures)
    outcomes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in evaluation.outcomes.items())
    tables = "".join(
        _score_table(f"By {first}{f', {meaning}' if meaning else ''}", first, scores, distance=first == "distance")
        for first, meaning, scores in evaluation.groupings
    )
    if evaluation.unclassed:
        tables += _unclassed_table(evaluation.unclassed)
    if evaluation.aliens:
        tables += _outlier_table(evaluation.aliens)
    if evaluation.mistakes:
        tables += _mistakes(evaluation.mistakes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Evaluation of {escape(evaluation.model)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Evaluation of {escape(evaluation.model)}</h1>"
        f'<p class="note">{evaluation.samples} patterns of {evaluation.configurations} crystals on '
        f"{escape(evaluation.runtime)}; outcomes: {escape(outcomes)}. Intervals are 95 % and count crystals, "
        "not patterns.</p>"
        f"{_lines_anywhere(evaluation)}"
        f'<dl class="head">{_anywhere(evaluation)}{_headline("accuracy, every pattern", evaluation.overall)}'
        f"{_headline('perfect or defect', evaluation.perfect_vs_defect)}"
        f"{_headline('accuracy where a class was named', evaluation.named)}"
        f"<div><dt>given a class</dt><dd>{evaluation.coverage:.1%}</dd></div></dl>"
        f'<div class="figures">{pictures}</div>{tables}</body></html>\n'
    )


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write the page to ``path``."""
    path.write_text(render_report(evaluation), encoding="utf-8")
