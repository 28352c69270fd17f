"""A bundle's card: what it is for, what it learnt from, its scores and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from braggwatch.models.cxdp.evaluation import Evaluation, Score
from braggwatch.services.cxdp.training.training_facts import TrainingFacts


def card_text(
    bundle_id: str,
    facts: TrainingFacts,
    evaluation: Evaluation,
    *,
    outliers: Mapping[str, int],
    further_from: str | None,
) -> str:
    """Write the card, Markdown.

    Parameters
    ----------
    outliers
        Patterns of each kind that were shown in training as what is to be refused.
    further_from
        The bundle whose weights were trained further.
    """
    name, _, version = bundle_id.partition("/")
    defect, named = evaluation.perfect_vs_defect, evaluation.named
    low, high = facts.peak_counts
    shards = sum(facts.specifications.values())
    specifications = ", ".join(f"{digest} ({count})" for digest, count in facts.specifications.items())
    refused = f", and {sum(outliers.values())} more patterns show what is to be refused" if outliers else ""
    origin = (
        f"{facts.relaxed} of the patterns are of atomistically relaxed crystals, the others of unrelaxed ones with the "
        "isotropic displacement field"
        if facts.relaxed
        else "all of unrelaxed crystals with the isotropic displacement field"
    )
    drawn = (
        f"{facts.clean} of the patterns are noiseless ones, to which noise, counts, gaps and the like are given anew "
        "at each showing; the others are as measured."
        if facts.clean
        else "Noise, counts, gaps and the like are part of the patterns."
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
        else "Unrelaxed straight lines by the isotropic field; mixed lines, loops, stacking faults, twins and several "
        "lines are not among its classes."
    )
    scores = [f"accuracy {evaluation.overall.accuracy:.1%} in {len(evaluation.classes)} classes"]
    if defect is not None:
        scores.append(f"{defect.accuracy:.1%} perfect against defect")
    scores.append(f"expected calibration error {evaluation.calibration_error:.3f}")
    told = f", and then right in {named.accuracy:.1%}" if named is not None else ""
    further = "" if further_from is None else f"the weights of {further_from}, then "
    return f"""# {name} {version}

Tells from one coherent X-ray diffraction pattern of an fcc crystal whether it is perfect or holds a screw or an edge
dislocation. For screening while a scan runs; not a substitute for phase retrieval.

**Learnt from** {further}{facts.patterns} simulated patterns of {facts.crystals} crystals in {shards} shards, no
measured one{refused}. {origin[0].upper()}{origin[1:]}. {", ".join(facts.elements)}; reflections
{", ".join(facts.reflections)}; peaks of {low:.0e} to {high:.0e} counts. {drawn} The patterns went through the
preprocessing of live data. Specifications (and shards of each): {specifications}.

**Tested on** {evaluation.samples} patterns of {evaluation.configurations} crystals used nowhere else:
{", ".join(scores)}; a class is named for {evaluation.coverage:.1%} of them{told}.

{tables}

| outlier | in training | AUROC | set aside |
|---|---|---|---|
{outlier_rows}

**Limits.** {limits} A line with g·b = 0 can't be seen at the reflection measured and comes out as perfect. Noise, ring
and empty outliers are made on the model's grid: in the detector's frame the preprocessing refuses nearly all of them
before a network runs.
"""


def _table(title: str, scores: Sequence[Score]) -> str:
    rows = "\n".join(f"| {s.group} | {s.samples} | {s.accuracy:.1%} |" for s in scores)
    return f"| {title} | patterns | accuracy |\n|---|---|---|\n{rows}"
