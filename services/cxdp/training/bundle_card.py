"""Write a bundle's card: its purpose, training data, scores and limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from braggwatch.models.bundling.manifest import Separation
from braggwatch.models.cxdp.evaluation import Evaluation
from braggwatch.models.cxdp.group_scores import SURE, GroupScore, Share
from braggwatch.models.cxdp.lines_anywhere import FAR, FAR_AREA, LinesAnywhere
from braggwatch.models.uncertainty.risk_coverage import RiskCoverage
from braggwatch.services.cxdp.training.separation import statement
from braggwatch.services.cxdp.training.training_facts import TrainingFacts


def card_text(
    bundle_id: str,
    facts: TrainingFacts,
    evaluation: Evaluation,
    separation: Separation,
    *,
    outliers: Mapping[str, int],
    further_from: str | None,
) -> str:
    """Return the card in Markdown.

    Parameters
    ----------
    separation
        How training, calibration and test are kept apart.
    outliers
        Number of training patterns of each outlier kind, labelled as to be rejected.
    further_from
        The bundle whose weights training started from; None if it started from random ones.
    """
    name, _, version = bundle_id.partition("/")
    low, high = facts.peak_counts
    shards = sum(facts.specifications.values())
    specifications = ", ".join(f"{digest} ({count})" for digest, count in facts.specifications.items())
    rejected = f", and {sum(outliers.values())} outlier patterns that are to be rejected" if outliers else ""
    origin = (
        f"{facts.relaxed} of the patterns are of atomistically relaxed crystals, the others of unrelaxed ones with the "
        "isotropic elastic displacement field"
        if facts.relaxed
        else "all are of unrelaxed crystals with the isotropic elastic displacement field"
    )
    noise = (
        f"{facts.clean} of the patterns are stored without noise and get new noise, counts, detector gaps and the like "
        "each time they are used; the others are stored with them."
        if facts.clean
        else "Noise, counts, detector gaps and the like are part of the stored patterns."
    )
    limits = (
        "Mixed lines, loops, stacking faults, twins and several lines are not among its classes."
        if facts.relaxed
        else "Dislocations are unrelaxed straight lines with the isotropic elastic field; mixed lines, loops, stacking "
        "faults, twins and several lines are not among its classes."
    )
    further = "" if further_from is None else f"the weights of {further_from}, then "
    return f"""# {name} {version}

Classifies an fcc crystal from one Bragg coherent X-ray diffraction pattern as perfect, or containing a screw or an edge
dislocation. For screening while a scan runs; not a substitute for phase retrieval.

**Trained on** {further}{facts.patterns} simulated patterns of {facts.crystals} crystals in {shards} shards, no
measured ones{rejected}. {origin[0].upper()}{origin[1:]}. {", ".join(facts.elements)}; reflections
{", ".join(facts.reflections)}; peaks of {low:.0e} to {high:.0e} counts. {noise} The patterns went through the
preprocessing of live data. Specifications (and shards of each): {specifications}.

{_tested(evaluation, separation, set(outliers))}

**Limits.** {limits} A dislocation with g·b = 0 is invisible in the measured reflection and is classified as perfect.
Noise, ring and empty outliers are made on the model's grid: in detector frames the preprocessing rejects nearly all of
them before the network runs.
"""


def recalibrated_card(
    bundle_id: str, former: str, evaluation: Evaluation, separation: Separation, shown: Collection[str]
) -> str:
    """Return the card of a bundle whose network is another's, calibrated and tested anew.

    Parameters
    ----------
    former
        The bundle that the network comes from, whose card tells what it learnt from.
    shown
        Kinds of outliers that it was shown in training.
    """
    name, _, version = bundle_id.partition("/")
    return f"""# {name} {version}

The network of {former}, weight by weight: that bundle's card says what it learnt from. Calibrated and tested anew, with
checks on the volume and a measured distance from the centre up to which it finds lines.

{_tested(evaluation, separation, shown)}

**Limits.** As for {former}. "perfect" speaks of the stated distance from the centre alone.
"""


def _tested(evaluation: Evaluation, separation: Separation, shown: Collection[str]) -> str:
    """Return the card's account of the test."""
    defect, named = evaluation.perfect_vs_defect, evaluation.named
    outlier_rows = "\n".join(
        f"| {a.kind} | {'shown in training' if a.kind in shown else 'never shown'} | "
        f"{'' if a.auroc is None else f'{a.auroc:.3f}'} | {a.set_aside:.1%} |"
        for a in evaluation.aliens
    )
    tables = "\n\n".join(
        _table(f"{first} {meaning}".strip().replace("|", "\\|"), scores, distance=first == "distance")
        for first, meaning, scores in evaluation.groupings
    )
    lines = evaluation.lines_anywhere
    scores = [] if lines is None or lines.accuracy is None else [_anywhere(lines)]
    classes = f"{len(evaluation.classes)} classes, every pattern counted once"
    scores.append(f"accuracy {evaluation.overall.accuracy:.1%} in {classes}")
    if defect is not None:
        scores.append(f"{defect.accuracy:.1%} perfect against defect")
    clean = evaluation.calibration_error_unspoilt
    unspoilt = "" if clean is None else f" ({clean:.3f} of the unspoilt patterns)"
    scores.append(f"expected calibration error {evaluation.calibration_error:.3f}{unspoilt}")
    untested = [name for name, row in zip(evaluation.classes, evaluation.confusion, strict=False) if not sum(row)]
    lacking = f" There was no {' and no '.join(untested)} to test on." if untested else ""
    named_accuracy = f", and that class is correct for {named.accuracy:.1%}" if named is not None else ""
    told = ", ".join(scores)
    return f"""**Tested on** {evaluation.samples} patterns of {evaluation.configurations} crystals;
{statement(separation)}. {told[0].upper()}{told[1:]}; a class is named for {evaluation.coverage:.1%} of
them{named_accuracy}.{lacking}
{_where_the_lines_are(lines)}{_risk(evaluation.risk_coverage)}
{tables}

| outlier | in training | AUROC | set aside |
|---|---|---|---|
{outlier_rows}"""


def _anywhere(lines: LinesAnywhere) -> str:
    if lines.accuracy is None:
        return ""
    score = lines.accuracy
    return f"accuracy over lines anywhere {score.accuracy:.1%} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _where_the_lines_are(lines: LinesAnywhere | None) -> str:
    """Say where the lines of the test set lie, and warn where they crowd the centre."""
    if lines is None:
        return ""
    warning = "" if lines.warning is None else f"\n**Warning.** {lines.warning[0].upper()}{lines.warning[1:]}.\n"
    how = "each ring of a cross-section counts by its area" if lines.by_area else "each line counts once"
    empty = "" if not lines.empty else f" It can't be stated here: no line at {', '.join(lines.empty)}."
    return f"""{warning}
{lines.far} of {lines.lines} lines ({lines.far_share:.1%}) lie beyond {FAR:g} of the particle's size, where
{FAR_AREA:.0%} of a cross-section is. In the accuracy over lines anywhere, {how}, and every class counts the
same.{empty}
"""


def _risk(curve: RiskCoverage | None) -> str:
    if curve is None:
        return ""
    return (
        f"\nAmong the named, {curve.error_at(1.0):.2%} are wrong; among the surer half of them "
        f"{curve.error_at(0.5):.2%}; area under the risk-coverage curve {curve.area:.4f}.\n"
    )


def _table(title: str, scores: Sequence[GroupScore], *, distance: bool) -> str:
    columns = ["patterns", "accuracy", "named", "of the named, right", f"wrong at {SURE:g} or more"]
    rows = [
        [
            s.group,
            s.patterns,
            _interval(s.accuracy, s.low, s.high),
            *(_share(one) for one in (s.named, s.named_right, s.confidently_wrong)),
        ]
        for s in scores
    ]
    if distance:
        columns.append("of the wrong, called perfect")
        for row, s in zip(rows, scores, strict=True):
            row.append(s.wrong_as_perfect)
    lines = [[title, *columns], ["---"] * (len(columns) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(share: Share | None) -> str:
    return "none" if share is None else _interval(share.value, share.low, share.high)


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"
