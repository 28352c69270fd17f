"""From a model's answers to its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.models.cxdp.benchmarking.entrants import Answer, Entrant
from braggwatch.models.cxdp.benchmarking.patterns import SPLITS, Benchmark, PatternFacts, Split
from braggwatch.models.cxdp.groups import by_counts, by_reflection, by_source
from braggwatch.models.cxdp.predictions import Prediction
from braggwatch.models.cxdp.scores import Score, score_of, scores_by
from braggwatch.models.uncertainty.calibration import expected_calibration_error
from braggwatch.models.uncertainty.ood import auroc
from braggwatch.models.verdict import Outcome
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.errors import InputError

CALIBRATION_BINS = 15
_SMALLEST = 1e-12


class OutlierScore(BaseModel):
    """How well outliers of one kind are told from crystals' patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    samples: int
    auroc: FiniteFloat = Field(description="Of the strangeness, against the patterns of crystals in the same splits.")
    set_aside: FiniteFloat | None = Field(description="Share that got no class; none where the model has no such rule.")


class BenchmarkResult(BaseModel):
    """All scores of one model; accuracies are of the most probable class, no answer counts as wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    splits: tuple[Split, ...]
    model: str
    sha256: str = Field(description="Of the graph.")
    classes: tuple[str, ...] = CLASSES
    samples: int = Field(description="Patterns of crystals, outliers not counted.")
    unanswered: int = Field(description="Of them, without probabilities.")
    accuracy: Score = Field(description="With a 95 % Wilson interval that counts crystals.")
    perfect_vs_defect: Score
    by_split: tuple[Score, ...]
    by_source: tuple[Score, ...]
    by_counts: tuple[Score, ...]
    by_reflection: tuple[Score, ...]
    confusion: tuple[tuple[int, ...], ...] = Field(description="Rows: truth; columns: said. Of the answered ones.")
    nll: FiniteFloat = Field(description="Mean negative log-likelihood, nats; no answer counts as a third each.")
    expected_calibration_error: FiniteFloat = Field(description="Over 15 equal-width bins.")
    named: Score | None = Field(description="Accuracy where a class was named; none where the model has no such rule.")
    named_share: FiniteFloat | None
    strangeness: str = Field(description="What outliers are told by.")
    outlier_auroc: FiniteFloat | None = Field(description="Over all kinds together.")
    outliers: tuple[OutlierScore, ...]


def answer_all(
    entrant: Entrant,
    benchmark: Benchmark,
    splits: Sequence[Split] = SPLITS,
    on_pattern: Callable[[int], None] | None = None,
) -> list[Answer]:
    """Ask a model about every pattern of some splits, in their order; ``on_pattern`` is told how many are done."""
    answers: list[Answer] = []
    for _, counts in benchmark.volumes(splits):
        answers.append(entrant.answer(counts))
        if on_pattern is not None:
            on_pattern(len(answers))
    return answers


def score_answers(
    entrant: Entrant, benchmark: Benchmark, answers: Sequence[Answer], splits: Sequence[Split] = SPLITS
) -> BenchmarkResult:
    """Score a model's answers.

    Parameters
    ----------
    answers
        Of `answer_all` for the same splits.

    Raises
    ------
    InputError
        If there is another number of answers than of patterns, or no pattern of a crystal.
    """
    pairs = list(zip(benchmark.chosen(splits), answers, strict=True))
    inside = [(fact, answer) for fact, answer in pairs if not fact.is_outlier]
    if not inside:
        raise InputError(f"no pattern of a crystal in {', '.join(splits)}")
    members = [_prediction(fact, answer) for fact, answer in inside]
    truth = np.array([CLASSES.index(fact.label) for fact, _ in inside])
    answered = np.array([answer.probabilities is not None for _, answer in inside])
    third = np.full(len(CLASSES), 1.0 / len(CLASSES))
    probabilities = np.array([third if one.probabilities is None else one.probabilities for _, one in inside])
    best = probabilities.argmax(axis=1)
    right: list[bool] = ((best == truth) & answered).tolist()
    defect: list[bool] = (((best == 0) == (truth == 0)) & answered).tolist()
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(confusion, (truth[answered], best[answered]), 1)
    has_rule = inside[0][1].named is not None
    named = [(one, ok) for (_, answer), one, ok in zip(inside, members, right, strict=True) if answer.named]
    outlier = [answer.strangeness for fact, answer in pairs if fact.is_outlier]
    usual = np.array([answer.strangeness for _, answer in inside])
    return BenchmarkResult(
        benchmark=benchmark.name,
        splits=tuple(splits),
        model=entrant.name,
        sha256=entrant.sha256,
        samples=len(inside),
        unanswered=int((~answered).sum()),
        accuracy=score_of("all", members, right),
        perfect_vs_defect=score_of("perfect or defect", members, defect),
        by_split=_by_split([fact for fact, _ in inside], members, right),
        by_source=scores_by(by_source, members, right),
        by_counts=scores_by(by_counts, members, right),
        by_reflection=scores_by(by_reflection, members, right),
        confusion=tuple(tuple(int(value) for value in row) for row in confusion),
        nll=float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], _SMALLEST, 1.0)).mean()),
        expected_calibration_error=expected_calibration_error(probabilities, truth, CALIBRATION_BINS),
        named=score_of("named", [one for one, _ in named], [ok for _, ok in named]) if named else None,
        named_share=len(named) / len(inside) if has_rule else None,
        strangeness=entrant.strangeness,
        outlier_auroc=auroc(usual, np.array(outlier)) if outlier else None,
        outliers=_outliers(pairs),
    )


def _by_split(facts: Sequence[PatternFacts], members: Sequence[Prediction], right: Sequence[bool]) -> tuple[Score, ...]:
    found: list[Score] = []
    for split in SPLITS:
        those = [number for number, fact in enumerate(facts) if fact.split == split]
        if those:
            found.append(score_of(split, [members[n] for n in those], [right[n] for n in those]))
    return tuple(found)


def _outliers(pairs: Sequence[tuple[PatternFacts, Answer]]) -> tuple[OutlierScore, ...]:
    usual = np.array([answer.strangeness for fact, answer in pairs if not fact.is_outlier])
    scores: list[OutlierScore] = []
    for kind in sorted({fact.label for fact, _ in pairs if fact.is_outlier}):
        those = [answer for fact, answer in pairs if fact.label == kind]
        rule = those[0].named is not None
        scores.append(
            OutlierScore(
                kind=kind,
                samples=len(those),
                auroc=auroc(usual, np.array([one.strangeness for one in those])),
                set_aside=1.0 - sum(bool(one.named) for one in those) / len(those) if rule else None,
            )
        )
    return tuple(scores)


def _prediction(fact: PatternFacts, answer: Answer) -> Prediction:
    return Prediction(
        label=fact.label,
        configuration=fact.configuration,
        element=fact.element,
        line_offset=fact.line_distance,
        peak_counts=fact.peak_counts,
        outcome=Outcome.CLASSIFIED if answer.named else Outcome.UNSURE,
        probabilities=None if answer.probabilities is None else tuple(answer.probabilities.tolist()),
        ood_score=None,
        hkl=fact.hkl,
        g_dot_b=fact.g_dot_b,
        completeness=fact.completeness,
        source=fact.source,
    )
