"""Tables of the training-regime study, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from braggwatch.models.cxdp.evaluation import Evaluation, Score
from braggwatch.models.cxdp.scores import wilson_interval
from braggwatch.models.cxdp.unclassed import UnclassedScore
from braggwatch.services.cxdp.studies.regime_study import RegimeRecord

_NO_VALUE = "–"


def regime_tables(records: Sequence[RegimeRecord], tests: Sequence[str]) -> str:
    """Return the tables: accuracy on each test set, confusions of edge and screw, predictions for mixed dislocations.

    Parameters
    ----------
    records
        Records in the order of the rows; several seeds of one regime make one row, their mean.
    tests
        Names of the test sets, in the order of the columns.
    """
    regimes = {record.regime: [r for r in records if r.regime == record.regime] for record in records}
    labelled = [name for name in tests if any(name in record.tests for record in records)]
    mixed = [name for name in tests if any(name in record.mixed for record in records)]
    tables = [_accuracy(regimes, labelled), _confusions(regimes, labelled)]
    tables += [_mixed(regimes, name) for name in mixed]
    return "\n".join(tables)


def _accuracy(regimes: dict[str, list[RegimeRecord]], tests: Sequence[str]) -> str:
    rows = [
        (
            name,
            f"{seeds[0].crystals} / {seeds[0].patterns}",
            _interval([record.held_out.overall for record in seeds]),
            *(_interval([r.tests[test].overall for r in seeds if test in r.tests]) for test in tests),
        )
        for name, seeds in regimes.items()
    ]
    return _table(("regime", "crystals / patterns", "own held-out", *tests), rows)


def _confusions(regimes: dict[str, list[RegimeRecord]], tests: Sequence[str]) -> str:
    columns = (("edge", "screw"), ("screw", "edge"))
    rows = [
        (
            name,
            *(
                _share([r.tests[test] for r in seeds if test in r.tests], truth, predicted)
                for test in tests
                for truth, predicted in columns
            ),
            *(_defect_accuracy([r.tests[test] for r in seeds if test in r.tests]) for test in tests),
        )
        for name, seeds in regimes.items()
    ]
    headings = [f"{test}: {truth} → {predicted}" for test in tests for truth, predicted in columns]
    return _table(("regime", *headings, *(f"{test}: perfect or defect" for test in tests)), rows)


def _mixed(regimes: dict[str, list[RegimeRecord]], test: str) -> str:
    scores = {name: [score for r in seeds for score in r.mixed.get(test, ())] for name, seeds in regimes.items()}
    kinds = sorted({score.kind for found in scores.values() for score in found})
    rows = [
        (name, *(_predicted([score for score in found if score.kind == kind]) for kind in kinds))
        for name, found in scores.items()
    ]
    return _table((f"regime ({test})", *(f"{kind}: screw / edge / perfect" for kind in kinds)), rows)


def _interval(scores: Sequence[Score]) -> str:
    if not scores:
        return _NO_VALUE
    mean = sum(score.accuracy for score in scores) / len(scores)
    low, high = wilson_interval(mean * scores[0].configurations, scores[0].configurations)
    return f"{100 * mean:.1f} % ({100 * low:.0f} to {100 * high:.0f})"


def _share(evaluations: Sequence[Evaluation], truth: str, predicted: str) -> str:
    rows = [(e.confusion[e.classes.index(truth)], e.classes.index(predicted)) for e in evaluations]
    total = sum(sum(row) for row, _ in rows)
    return f"{100 * sum(row[at] for row, at in rows) / total:.1f} %" if total else _NO_VALUE


def _defect_accuracy(evaluations: Sequence[Evaluation]) -> str:
    scores = [e.perfect_vs_defect for e in evaluations if e.perfect_vs_defect is not None]
    return f"{100 * sum(score.accuracy for score in scores) / len(scores):.1f} %" if scores else _NO_VALUE


def _predicted(scores: Sequence[UnclassedScore]) -> str:
    total = sum(sum(score.said.values()) for score in scores)
    if not total:
        return _NO_VALUE
    return " / ".join(
        f"{100 * sum(score.said.get(name, 0) for score in scores) / total:.0f} %"
        for name in ("screw", "edge", "perfect")
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
