"""The tables of the study of training regimes, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from braggwatch.models.cxdp.evaluation import Evaluation, Score
from braggwatch.models.cxdp.scores import wilson_interval
from braggwatch.models.cxdp.unclassed import UnclassedScore
from braggwatch.services.cxdp.studies.regime_study import RegimeRecord

_NO_VALUE = "–"


def regime_tables(records: Sequence[RegimeRecord], tests: Sequence[str]) -> str:
    """Lay out accuracy on each test set, then what was said of edges, and of lines that have no class.

    Parameters
    ----------
    records
        In the order of the rows; several seeds of one regime are one row, their mean.
    tests
        Names of the test sets, in the order of the columns.
    """
    regimes = {record.regime: [r for r in records if r.regime == record.regime] for record in records}
    labelled = [name for name in tests if any(name in record.tests for record in records)]
    mixed = [name for name in tests if any(name in record.mixed for record in records)]
    parts = [_accuracy(regimes, labelled), _confusions(regimes, labelled)]
    parts += [_mixed(regimes, name) for name in mixed]
    return "\n".join(parts)


def _accuracy(regimes: dict[str, list[RegimeRecord]], tests: Sequence[str]) -> str:
    rows = [
        (
            name,
            f"{made[0].crystals} / {made[0].patterns}",
            _interval([record.held_out.overall for record in made]),
            *(_interval([r.tests[test].overall for r in made if test in r.tests]) for test in tests),
        )
        for name, made in regimes.items()
    ]
    return _table(("regime", "crystals / patterns", "own held-out", *tests), rows)


def _confusions(regimes: dict[str, list[RegimeRecord]], tests: Sequence[str]) -> str:
    columns = [(truth, said) for truth, said in (("edge", "screw"), ("screw", "edge"))]
    rows = [
        (
            name,
            *(
                _share([r.tests[test] for r in made if test in r.tests], truth, said)
                for test in tests
                for truth, said in columns
            ),
            *(_missed([r.tests[test] for r in made if test in r.tests]) for test in tests),
        )
        for name, made in regimes.items()
    ]
    heads = [f"{test}: {truth} → {said}" for test in tests for truth, said in columns]
    return _table(("regime", *heads, *(f"{test}: perfect or defect" for test in tests)), rows)


def _mixed(regimes: dict[str, list[RegimeRecord]], test: str) -> str:
    kinds = sorted({one.kind for made in regimes.values() for r in made for one in r.mixed.get(test, ())})
    rows = [
        (name, *(_said([one for r in made for one in r.mixed.get(test, ()) if one.kind == kind]) for kind in kinds))
        for name, made in regimes.items()
    ]
    return _table((f"regime ({test})", *(f"{kind}: screw / edge / perfect" for kind in kinds)), rows)


def _interval(scores: Sequence[Score]) -> str:
    if not scores:
        return _NO_VALUE
    mean = sum(score.accuracy for score in scores) / len(scores)
    low, high = wilson_interval(mean * scores[0].configurations, scores[0].configurations)
    return f"{100 * mean:.1f} % ({100 * low:.0f} to {100 * high:.0f})"


def _share(evaluations: Sequence[Evaluation], truth: str, said: str) -> str:
    rows = [(one.confusion[one.classes.index(truth)], one.classes.index(said)) for one in evaluations]
    total = sum(sum(row) for row, _ in rows)
    return f"{100 * sum(row[at] for row, at in rows) / total:.1f} %" if total else _NO_VALUE


def _missed(evaluations: Sequence[Evaluation]) -> str:
    scores = [one.perfect_vs_defect for one in evaluations if one.perfect_vs_defect is not None]
    return f"{100 * sum(score.accuracy for score in scores) / len(scores):.1f} %" if scores else _NO_VALUE


def _said(scores: Sequence[UnclassedScore]) -> str:
    total = sum(sum(one.said.values()) for one in scores)
    if not total:
        return _NO_VALUE
    return " / ".join(
        f"{100 * sum(one.said.get(name, 0) for one in scores) / total:.0f} %" for name in ("screw", "edge", "perfect")
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
