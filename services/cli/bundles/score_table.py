"""A bundle's scores as one table."""

from __future__ import annotations

from rich.table import Table

from braggwatch.models.cxdp.evaluation import Evaluation
from braggwatch.models.cxdp.group_scores import SURE, GroupScore
from braggwatch.models.cxdp.scores import Score


def score_table(evaluation: Evaluation) -> Table:
    """Lay out accuracy with its 95 % interval, what was named, calibration and the refusal of outliers."""
    title = f"{evaluation.model} on {evaluation.samples} patterns"
    columns = ("score", "patterns", "value", "95 %", "named", "of these right", f"wrong at {SURE:g}")
    lines = evaluation.lines_anywhere
    table = Table(*columns, title=title, caption=None if lines is None else lines.warning)
    scores: list[tuple[str, Score | None]] = []
    if lines is not None:
        scores.append(("lines anywhere", lines.accuracy))
    scores += [("three classes", evaluation.overall), ("perfect against defect", evaluation.perfect_vs_defect)]
    scores += [("where a class was named", evaluation.named)]
    for first, _, groups in evaluation.groupings:
        scores += [(f"{first} {one.group}", one) for one in groups]
    for name, score in scores:
        if score is not None:
            low, high = score.low, score.high
            told = (score.named, score.named_right, score.confidently_wrong) if isinstance(score, GroupScore) else ()
            shares = ("" if one is None else f"{one.value:.1%}" for one in told)
            table.add_row(name, str(score.samples), f"{score.accuracy:.1%}", f"{low:.1%} to {high:.1%}", *shares)
    table.add_row("expected calibration error", "", f"{evaluation.calibration_error:.3f}", "")
    if evaluation.calibration_error_unspoilt is not None:
        table.add_row("of unspoilt patterns", "", f"{evaluation.calibration_error_unspoilt:.3f}", "")
    if evaluation.risk_coverage is not None:
        table.add_row("area under risk-coverage", "", f"{evaluation.risk_coverage.area:.4f}", "")
    for one in evaluation.unclassed:
        value = "" if one.defect is None else f"{one.defect.accuracy:.1%} said to have a defect"
        said = ", ".join(f"{name} {count}" for name, count in one.said.items())
        table.add_row(f"no class: {one.kind}", str(one.samples), value, said)
    for alien in evaluation.aliens:
        value = "" if alien.auroc is None else f"AUROC {alien.auroc:.3f}"
        table.add_row(f"outlier {alien.kind}", str(alien.samples), value, f"{alien.set_aside:.0%} set aside")
    return table


def confusion_table(evaluation: Evaluation) -> Table:
    """Lay out how many patterns of each class were taken for which."""
    table = Table("truth", *(f"said {name}" for name in evaluation.classes), title="most probable class")
    for name, counts in zip(evaluation.classes, evaluation.confusion, strict=True):
        total = max(sum(counts), 1)
        table.add_row(name, *(f"{count} ({count / total:.1%})" for count in counts))
    return table


def mistakes_table(evaluation: Evaluation) -> Table:
    """Lay out the worst mistakes, the surest first."""
    table = Table("truth", "said", "confidence", "outcome", "crystal", "facts", title="worst mistakes")
    for one in evaluation.mistakes:
        outcome = one.outcome.replace("_", " ")
        table.add_row(one.truth, one.said, f"{one.confidence:.2f}", outcome, one.configuration, one.facts)
    return table
