"""Small pictures of an evaluation as inline SVG: nothing to install, nothing to load, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from braggwatch.models.cxdp.scores import Score
from braggwatch.models.uncertainty.calibration import ReliabilityBin
from braggwatch.models.uncertainty.risk_coverage import RiskCoverage

_LEFT, _TOP, _PLOT, _BOTTOM = 52, 14, 240, 48


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", css: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(text)}</text>'


def confusion_matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Rows are the truth, columns the most probable class; shade and per cent are fractions of a row."""
    cell, left, top = 84, 84, 44
    body = [_text(left + cell * len(classes) / 2, 14, "most probable class", css="axis")]
    body += [_text(left + cell * (n + 0.5), 34, name) for n, name in enumerate(classes)]
    for row, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        y, total = top + cell * row, max(sum(counts), 1)
        body.append(_text(left - 10, y + cell / 2 + 4, name, "end"))
        for column, count in enumerate(counts):
            x, share = left + cell * column, count / total
            css = "on-dark" if share > 0.5 else ""
            body.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{cell - 2}" rx="4" class="cell"/>'
                f'<rect x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{cell - 2}" rx="4" class="shade" '
                f'fill-opacity="{share:.3f}"/>'
            )
            body.append(_text(x + cell / 2, y + cell / 2, f"{share:.1%}", css=css))
            body.append(_text(x + cell / 2, y + cell / 2 + 18, str(count), css=f"small {css}"))
    side = cell * len(classes)
    return _svg(left + side + 4, top + side + 4, "Confusion matrix: truth in rows", body)


def _frame(x_label: str, y_label: str, top: float = 1.0) -> list[str]:
    body = [f'<rect x="{_LEFT}" y="{_TOP}" width="{_PLOT}" height="{_PLOT}" class="plot"/>']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _TOP + _PLOT * (1 - tick)
        body.append(f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        body.append(_text(_LEFT - 6, y + 4, f"{tick * top:.0%}" if top >= 0.2 else f"{tick * top:.1%}", "end", "small"))
    middle = _TOP + _PLOT / 2
    body.append(_text(_LEFT + _PLOT / 2, _TOP + _PLOT + 40, x_label, css="axis"))
    body.append(
        f'<text x="10" y="{middle}" text-anchor="middle" class="axis" transform="rotate(-90 10 {middle})">'
        f"{escape(y_label)}</text>"
    )
    return body


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy against stated confidence; on the diagonal the probabilities are honest. Dot area: samples."""
    body = _frame("stated confidence", "fraction right")
    body.append(f'<line x1="{_LEFT}" y1="{_TOP + _PLOT}" x2="{_LEFT + _PLOT}" y2="{_TOP}" class="diagonal"/>')
    for tick in (0.0, 0.5, 1.0):
        body.append(_text(_LEFT + _PLOT * tick, _TOP + _PLOT + 18, f"{tick:.0%}", css="small"))
    most = max((one.samples for one in bins), default=1) or 1
    for one in bins:
        if one.samples:
            x, y = _LEFT + _PLOT * one.mean_confidence, _TOP + _PLOT * (1 - one.accuracy)
            radius = 3.0 + 8.0 * (one.samples / most) ** 0.5
            tip = f"{one.lower:.2f} to {one.upper:.2f}: {one.samples} samples, {one.accuracy:.1%} right"
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="dot"><title>{tip}</title></circle>')
    return _svg(_LEFT + _PLOT + 16, _TOP + _PLOT + _BOTTOM, "Reliability diagram", body)


def accuracy_by_group(scores: Sequence[Score], x_label: str) -> str:
    """One dot for each group with its 95 % interval."""
    body = _frame(x_label, "accuracy")
    step = _PLOT / max(len(scores), 1)
    for number, one in enumerate(scores):
        x = _LEFT + step * (number + 0.5)
        y, low, high = (_TOP + _PLOT * (1 - value) for value in (one.accuracy, one.low, one.high))
        tip = f"{one.group}: {one.accuracy:.1%} ({one.low:.1%} to {one.high:.1%}), {one.samples} patterns"
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" class="whisker"/>')
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="dot"><title>{escape(tip)}</title></circle>')
        body.append(_text(x, _TOP + _PLOT + 18, one.group.replace(" to ", "–"), css="small"))
    return _svg(_LEFT + _PLOT + 16, _TOP + _PLOT + _BOTTOM, f"Accuracy by {x_label}", body)


def risk_coverage_curve(curve: RiskCoverage) -> str:
    """Share of the named that are wrong against the share named, as the confidence asked for falls."""
    worst = max(one.error for one in curve.points)
    top = next(one for one in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if one >= worst)
    body = _frame("share named", "of these, wrong", top)
    for tick in (0.0, 0.5, 1.0):
        body.append(_text(_LEFT + _PLOT * tick, _TOP + _PLOT + 18, f"{tick:.0%}", css="small"))
    places = [(_LEFT + _PLOT * one.coverage, _TOP + _PLOT * (1 - one.error / top)) for one in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    body.append(f'<polyline points="{path}" class="curve"/>')
    last = curve.points[-1]
    tip = f"as deployed: {last.coverage:.1%} named, {last.error:.1%} of them wrong"
    x, y = places[-1]
    body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="dot"><title>{tip}</title></circle>')
    return _svg(_LEFT + _PLOT + 16, _TOP + _PLOT + _BOTTOM, "Risk and coverage", body)
