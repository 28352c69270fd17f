"""Evaluations and gap reports as JSON: what scripts read, and what today's code wrote is read tomorrow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from braggwatch.models.cxdp.evaluation import Evaluation, Prediction, summarise_all
from braggwatch.models.verdict import Outcome
from braggwatch.services.cxdp.studies.gap_to_real_data import GapReport
from support.golden import Golden
from support.schemas import fields

CLASSES = ("perfect", "screw", "edge")


def test_an_evaluation_has_at_least_the_same_fields(golden: Golden) -> None:
    golden.at_least_json("evaluation/fields.json", fields(TypeAdapter(Evaluation).json_schema()))
    golden.same_json("evaluation/gap-fields.json", fields(GapReport.model_json_schema()))


def test_an_evaluation_that_was_written_is_read(golden: Golden) -> None:
    evaluation = _evaluation()

    def make(path: Path) -> None:
        path.write_text(evaluation.to_json() + "\n", encoding="utf-8")

    written = golden.made_once("evaluation/evaluation.json", make)
    assert Evaluation.from_json(written.read_bytes()) == evaluation


def _evaluation() -> Evaluation:
    """One with every field in use."""
    line = Prediction(
        label="screw",
        configuration="1",
        element="Au",
        line_offset=0.05,
        peak_counts=2e4,
        outcome=Outcome.CLASSIFIED,
        probabilities=(0.0625, 0.875, 0.0625),
        ood_score=2.0,
        hkl=(1, 1, 1),
        g_dot_b=1.0,
        completeness=1.0,
        strain_rad=0.25,
        source="continuum",
        aspect=1.5,
        blur_fringes=0.25,
        artefact="none",
        lattice="fcc",
    )
    rings = [replace(line, configuration=str(n), line_offset=n / 10 + 0.05) for n in range(6)]
    perfect = replace(
        line, label="perfect", configuration="10", line_offset=None, g_dot_b=None, probabilities=(0.75, 0.125, 0.125)
    )
    wrong = replace(rings[5], configuration="11", artefact="gap", probabilities=(0.9375, 0.03125, 0.03125))
    noise = replace(perfect, label="noise", outcome=Outcome.OUT_OF_DISTRIBUTION, ood_score=9.0)
    mixed = replace(line, label="mixed", character_deg=30.0)
    return summarise_all([*rings, perfect, wrong, noise, mixed], CLASSES, "cxdp-fcc/9.9.9", "onnxruntime-cpu")
