"""A bundle's scores as one table."""

from __future__ import annotations

from rich.table import Table

from braggwatch.models.evaluation import Evaluation


def score_table(evaluation: Evaluation) -> Table:
    """Lay out accuracy with its 95 % interval, calibration and the refusal of outliers."""
    table = Table("score", "patterns", "value", "95 %", title=f"{evaluation.model} on {evaluation.samples} patterns")
    scores = [("three classes", evaluation.overall), ("perfect against defect", evaluation.perfect_vs_defect)]
    scores += [("where a class was named", evaluation.named)]
    scores += [(f"peak {s.group}", s) for s in evaluation.by_counts]
    scores += [(s.group, s) for s in evaluation.by_element]
    scores += [(f"line at {s.group}", s) for s in evaluation.by_line_offset]
    for name, score in scores:
        if score is not None:
            low, high = score.low, score.high
            table.add_row(name, str(score.samples), f"{score.accuracy:.1%}", f"{low:.1%} to {high:.1%}")
    table.add_row("expected calibration error", "", f"{evaluation.calibration_error:.3f}", "")
    for alien in evaluation.aliens:
        value = "" if alien.auroc is None else f"AUROC {alien.auroc:.3f}"
        table.add_row(f"outlier {alien.kind}", str(alien.samples), value, f"{alien.set_aside:.0%} set aside")
    return table
