"""How a notebook shows what was judged: a small table that reads on light and dark pages and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal

Tone = Literal["named", "caution", "none"]
"""Of the headline's mark: a class that may be trusted, a class or pattern to look at again, nothing to rely on."""

_MARKS: Mapping[Tone, str] = {"named": "#2e9e5b", "caution": "#d08700", "none": "#8a8f98"}
_BAR = "#4c82d8"
_MOST_BARS = 6

# Styles stand on each element: notebooks drop style sheets of outputs that they don't trust. Colours of text and
# ground are the page's own; the few others are of middle brightness.
_PLAIN = "border:none;background:none;color:inherit"
_TABLE = f"{_PLAIN};border-collapse:collapse;max-width:48em;font-size:13px;line-height:1.45"
_CELL = f"{_PLAIN};text-align:left;vertical-align:top;white-space:normal;padding:2px 14px 2px 0"
_FAINT = "opacity:.7"


@dataclass(frozen=True, slots=True)
class VerdictCard:
    """What is told of one verdict, in plain text that `html` escapes.

    Attributes
    ----------
    headline
        What it comes to, in a few words.
    tone
        Colour of the mark before the headline.
    shares
        Probability of each class or group, 0 to 1; one bar each, of many the most probable.
    rows
        (what, value) pairs, shown in this order.
    """

    headline: str
    tone: Tone
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    rows: tuple[tuple[str, str], ...] = ()

    def html(self) -> str:
        """Return a table as an HTML fragment."""
        rows = [*_bars(self.shares), *(_row(what, escape(value)) for what, value in self.rows)]
        head = f"{_CELL};font-size:15px;font-weight:600;padding-bottom:6px"
        mark = f"display:inline-block;width:.7em;height:.7em;border-radius:50%;background:{_MARKS[self.tone]}"
        return (
            f'<table style="{_TABLE}"><thead><tr style="background:none"><th colspan="2" style="{head}">'
            f'<span style="{mark}"></span> {escape(self.headline)}</th></tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table>"
        )


def percent(share: float) -> str:
    """Write a share as a percentage; never as 100 % or 0 % where it is not quite that."""
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def _bars(shares: Mapping[str, float]) -> list[str]:
    shown = list(shares)
    if len(shown) > _MOST_BARS:
        shown = sorted(shown, key=lambda name: shares[name], reverse=True)[:_MOST_BARS]
    rows = [_row(name, _bar(shares[name])) for name in shown]
    left = len(shares) - len(shown)
    if left:
        rest = percent(max(0.0, 1.0 - sum(shares[name] for name in shown)))
        rows.append(_row(f"{left} others", f'<span style="{_FAINT}">{escape(rest)} together</span>'))
    return rows


def _bar(share: float) -> str:
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        '<span style="display:inline-block;width:12em;height:.7em;margin-right:.7em;border-radius:3px;overflow:hidden;'
        'background:rgba(128,128,128,.25)"><span style="display:block;height:100%;'
        f'width:{width:.1f}%;background:{_BAR}"></span></span>{escape(percent(share))}'
    )


def _row(what: str, value: str) -> str:
    return (
        f'<tr style="background:none"><th scope="row" style="{_CELL};font-weight:normal;white-space:nowrap;{_FAINT}">'
        f'{escape(what)}</th><td style="{_CELL}">{value}</td></tr>'
    )
