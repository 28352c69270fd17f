"""Write a bundle's card: its purpose, training data, scores and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from braggwatch.models.bundling.manifest import Separation
from braggwatch.models.cxdp.evaluation import Evaluation, Score
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
    defect, named = evaluation.perfect_vs_defect, evaluation.named
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
    outlier_rows = "\n".join(
        f"| {a.kind} | {'shown in training' if a.kind in outliers else 'never shown'} | "
        f"{'' if a.auroc is None else f'{a.auroc:.3f}'} | {a.set_aside:.1%} |"
        for a in evaluation.aliens
    )
    tables = "\n\n".join(
        _table(f"{first} {meaning}".strip().replace("|", "\\|"), scores)
        for first, meaning, scores in evaluation.groupings
    )
    limits = (
        "Mixed lines, loops, stacking faults, twins and several lines are not among its classes."
        if facts.relaxed
        else "Dislocations are unrelaxed straight lines with the isotropic elastic field; mixed lines, loops, stacking "
        "faults, twins and several lines are not among its classes."
    )
    scores = [f"accuracy {evaluation.overall.accuracy:.1%} in {len(evaluation.classes)} classes"]
    if defect is not None:
        scores.append(f"{defect.accuracy:.1%} perfect against defect")
    scores.append(f"expected calibration error {evaluation.calibration_error:.3f}")
    untested = [name for name, row in zip(evaluation.classes, evaluation.confusion, strict=False) if not sum(row)]
    lacking = f" There was no {' and no '.join(untested)} to test on." if untested else ""
    named_accuracy = f", and that class is correct for {named.accuracy:.1%}" if named is not None else ""
    told = ", ".join(scores)
    further = "" if further_from is None else f"the weights of {further_from}, then "
    return f"""# {name} {version}

Classifies an fcc crystal from one Bragg coherent X-ray diffraction pattern as perfect, or containing a screw or an edge
dislocation. For screening while a scan runs; not a substitute for phase retrieval.

**Trained on** {further}{facts.patterns} simulated patterns of {facts.crystals} crystals in {shards} shards, no
measured ones{rejected}. {origin[0].upper()}{origin[1:]}. {", ".join(facts.elements)}; reflections
{", ".join(facts.reflections)}; peaks of {low:.0e} to {high:.0e} counts. {noise} The patterns went through the
preprocessing of live data. Specifications (and shards of each): {specifications}.

**Tested on** {evaluation.samples} patterns of {evaluation.configurations} crystals;
{statement(separation)}. {told[0].upper()}{told[1:]}; a class is named for {evaluation.coverage:.1%} of
them{named_accuracy}.{lacking}

{tables}

| outlier | in training | AUROC | set aside |
|---|---|---|---|
{outlier_rows}

**Limits.** {limits} A dislocation with g·b = 0 is invisible in the measured reflection and is classified as perfect.
Noise, ring and empty outliers are made on the model's grid: in detector frames the preprocessing rejects nearly all of
them before the network runs.
"""


def _table(title: str, scores: Sequence[Score]) -> str:
    rows = "\n".join(f"| {s.group} | {s.samples} | {s.accuracy:.1%} |" for s in scores)
    return f"| {title} | patterns | accuracy |\n|---|---|---|\n{rows}"
