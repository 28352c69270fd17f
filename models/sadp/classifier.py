"""From a measured pattern to its class and P(space group), or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.models.bundling.bundle import Bundle, BundleError
from braggwatch.models.bundling.tasks import SPACE_GROUP_TASK
from braggwatch.models.runtimes.base import InferenceError, Runtime
from braggwatch.models.runtimes.factory import RuntimePreference, open_runtime
from braggwatch.models.runtimes.takeover import TakeoverRuntime
from braggwatch.models.sadp.cells import cubic_cells, shows_cell
from braggwatch.models.sadp.crystal import CrystalPosterior, NextZone, combine, next_zones, pattern_groups
from braggwatch.models.sadp.crystal_card import crystal_card
from braggwatch.models.sadp.groups import GroupTable, Zone
from braggwatch.models.sadp.lattice_map import MAP_SHAPE, SINGLE_SHAPE, lattice_maps
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.sadp.plane_lattice import PlaneLattice
from braggwatch.models.sadp.task import group_table
from braggwatch.models.uncertainty.judging import Answer, distance_gate, judged
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.models.verdict_html import VerdictCard

_MOST_DISORDER = 1.2
"""Spots without mates, amplitude off the lattice and lean to one side, added up: each of them may be large in a good
pattern with spots of higher Laue zones; all of them are where the beam is off the zone."""


class PatternJudgement(BaseModel):
    """What is said of one zone-axis pattern.

    ``verdict`` names the class of look-alike patterns, or says why not; ``groups`` is what the class probabilities mean
    for the space group, given wherever the network ran.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    groups: dict[str, FiniteFloat] = Field(default_factory=dict, description="P(space group) from this pattern alone.")
    members: tuple[str, ...] = Field(default=(), description="Group and zone of the class, e.g. '225 [0 1 1]'.")
    spots: int = Field(ge=0)
    cell_ratio: FiniteFloat | None = Field(default=None, description="|b| / |a| of the plane cell, at least 1.")
    cell_angle_deg: FiniteFloat | None = Field(default=None, description="Between a and b, 60 to 90.")
    unexplained_spots: FiniteFloat | None = Field(default=None, description="Share of the spots off the plane lattice.")
    residual_px: FiniteFloat | None = Field(default=None, description="Of the spots from their lattice points, rms.")

    @property
    def usable(self) -> bool:
        """Whether it may speak for its crystal: the network ran, and the pattern is like those it learnt."""
        return self.verdict.outcome in {Outcome.CLASSIFIED, Outcome.UNSURE}

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it: P(space group) as bars."""
        card = self.verdict.card
        shows = (("shows", ", ".join(self.members)),) if self.members else ()
        return replace(card, shares=self.groups, rows=(*card.rows, *shows, ("spots", str(self.spots))))

    def _repr_html_(self) -> str:
        return self.card.html()


class CrystalJudgement(BaseModel):
    """What is said of one crystal after some patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patterns: int = Field(ge=0, description="Patterns that were usable.")
    set_aside: int = Field(ge=0, description="Patterns that were not.")
    product: dict[str, FiniteFloat] = Field(description="P(space group) by the normalised product.")
    mean: dict[str, FiniteFloat] = Field(description="P(space group) by the arithmetic mean (Ra et al. 2021).")
    next_zones: tuple[tuple[Zone, FiniteFloat], ...] = Field(
        description="Zones that would tell most, with the bits expected of them, best first."
    )
    model: ModelIdentity

    @property
    def best(self) -> tuple[str, float] | None:
        """The most probable group by the product, and its probability; None before any usable pattern."""
        if not self.patterns:
            return None
        group = max(self.product, key=lambda name: self.product[name])
        return group, self.product[group]

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it: P(space group) by the product as bars."""
        return crystal_card(
            self.best,
            self.product,
            self.next_zones,
            ("patterns", f"{self.patterns} usable, {self.set_aside} set aside"),
            ("model", f"{self.model.id} on {self.model.runtime}"),
        )

    def _repr_html_(self) -> str:
        return self.card.html()


class SadpClassifier:
    """Judges measured patterns with the network, the thresholds and the group table of a bundle.

    Parameters
    ----------
    bundle
        Whose input is lattice maps and which has a group table.
    runtime
        Runs its graph; where it fails, ONNX Runtime on the CPU runs that pattern and all that follow.
    threads
        CPU threads of what takes over.
    on_takeover
        See :class:`TakeoverRuntime`.

    Raises
    ------
    BundleError
        If the bundle is of another task, states no metrics, or doesn't say what its classes are.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        *,
        threads: int = 1,
        on_takeover: Callable[[str], None] | None = None,
    ) -> None:
        bundle.require_task(SPACE_GROUP_TASK)
        manifest = bundle.manifest
        table = group_table(manifest)
        if table is None or manifest.input.shape not in (MAP_SHAPE, SINGLE_SHAPE):
            raise BundleError(f"{manifest.id} has no space groups behind its classes, or takes no lattice maps")
        if manifest.metrics is None:
            raise BundleError(
                f"{manifest.id} states no accuracy, without which what the next zone would tell can't be said: write "
                "bundles with 'braggwatch sadp train', which tests them"
            )
        self._bundle = bundle
        self._runtime = TakeoverRuntime(bundle, runtime, threads, on_takeover)
        self._table: GroupTable = table
        self._accuracy = float(manifest.metrics.accuracy)

    @classmethod
    def load(
        cls,
        path: Path,
        threads: int = 1,
        prefer: RuntimePreference = "auto",
        on_takeover: Callable[[str], None] | None = None,
    ) -> SadpClassifier:
        """Read a bundle, verify it, open a runtime and run the golden self-test.

        Raises
        ------
        BundleError
            If the bundle is incomplete, changed or of another task.
        RuntimeUnavailableError
            If nothing here can run it, or not to its golden outputs.
        """
        bundle = Bundle.load(path)
        bundle.require_task(SPACE_GROUP_TASK)
        runtime, _ = open_runtime(bundle, prefer, threads)
        return cls(bundle, runtime, threads=threads, on_takeover=on_takeover)

    @property
    def identity(self) -> ModelIdentity:
        """Which model speaks, and what runs it now."""
        manifest = self._bundle.manifest
        return ModelIdentity(
            name=manifest.name, version=manifest.version, sha256=self._bundle.sha256, runtime=self._runtime.name
        )

    @property
    def table(self) -> GroupTable:
        """Which groups show which classes along which zones."""
        return self._table

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return self._bundle.manifest.classes

    def classify(self, measured: MeasuredPattern) -> PatternJudgement:
        """Judge one pattern; ``out_of_distribution`` is the answer "other", and nothing raises for bad data."""
        if measured.problem is not None:
            bare = measured.problem.startswith(("no picture", "too few"))
            outcome = Outcome.INVALID if bare else Outcome.OUT_OF_DISTRIBUTION
            return self._without_network(measured, None, outcome, measured.problem)
        lattice = measured.lattice
        if lattice is None:
            return self._without_network(
                measured, None, Outcome.OUT_OF_DISTRIBUTION, "the spots lie on no plane lattice"
            )
        most = self._bundle.manifest.thresholds.unexplained_spots
        # weak spots of higher Laue zones lie off the lattice of any sharp pattern of a thin foil
        off = measured.off_lattice(lattice)
        if most is not None and off > most:
            reason = f"{off:.0%} of the amplitude lies off one lattice: twins, several grains or no zone axis"
            return self._without_network(measured, lattice, Outcome.OUT_OF_DISTRIBUTION, reason)
        lonely, lean = 1.0 - measured.quality.paired, measured.lean()
        if off + lonely + lean > _MOST_DISORDER:
            reason = (
                f"no single zone: {lonely:.0%} of the spots lack their Friedel mate, {off:.0%} of the amplitude lies "
                f"off one lattice, and brightness leans to one side by {lean:.0%}"
            )
            return self._without_network(measured, lattice, Outcome.OUT_OF_DISTRIBUTION, reason)
        manifest = self._bundle.manifest
        lattices = measured.lattices
        maps = lattice_maps(
            lattices,
            measured.positions_px,
            measured.intensity,
            measured.field,
            manifest.symmetry_copies,
            manifest.input.shape,
        )
        try:
            output = self._runtime.run(maps)
        except InferenceError as error:
            return self._without_network(measured, lattice, Outcome.ERROR, str(error))
        answer = Answer.of(output, manifest, self._bundle.trust)
        verdict = judged(answer, manifest, (self._never_named, distance_gate(manifest)), self.identity)
        return self._judgement(measured, lattice, self._in_its_cell(verdict, lattices), answer)

    def judge_crystal(
        self, patterns: list[PatternJudgement] | tuple[PatternJudgement, ...], seen: tuple[Zone, ...] = ()
    ) -> CrystalJudgement:
        """Combine the usable patterns of one crystal.

        Parameters
        ----------
        patterns
            Of one crystal, along different zones best.
        seen
            Zones not to propose again.
        """
        usable = [one for one in patterns if one.usable]
        rows = np.array([[one.verdict.probabilities[name] for name in self.classes] for one in usable])
        posterior: CrystalPosterior = combine(rows.reshape(len(usable), len(self.classes)), self._table)
        ranked: tuple[NextZone, ...] = next_zones(
            posterior.product, self._table, len(self.classes), accuracy=self._accuracy, seen=seen
        )
        return CrystalJudgement(
            patterns=len(usable),
            set_aside=len(patterns) - len(usable),
            product={name: float(p) for name, p in zip(posterior.groups, posterior.product, strict=True)},
            mean={name: float(p) for name, p in zip(posterior.groups, posterior.mean, strict=True)},
            next_zones=tuple((one.zone, one.expected_bits) for one in ranked[:5]),
            model=self.identity,
        )

    def _in_its_cell(self, verdict: Verdict, lattices: Sequence[PlaneLattice | None]) -> Verdict:
        """Take back a class none of whose zones shows a cell like those measured."""
        if verdict.label is None:
            return verdict
        number = self.classes.index(verdict.label)
        zones = {one.zone for one in self._table.members if one.class_index == number}
        if shows_cell(lattices, cubic_cells(zones)):
            return verdict
        reason = f"{verdict.label} at {verdict.confidence:.2f}, but the plane cell measured is none that it shows"
        return verdict.model_copy(update={"outcome": Outcome.UNSURE, "label": None, "reason": reason})

    def _never_named(self, answer: Answer) -> str | None:
        outlier = self.classes[answer.best] in self._bundle.manifest.alien_classes
        return f"no cubic zone known here ({answer.confidence:.2f})" if outlier else None

    def _judgement(
        self, measured: MeasuredPattern, lattice: PlaneLattice, verdict: Verdict, answer: Answer
    ) -> PatternJudgement:
        return PatternJudgement(
            verdict=verdict,
            groups={
                name: float(value)
                for name, value in zip(
                    self._table.groups, pattern_groups(answer.probabilities, self._table)[0], strict=True
                )
            },
            members=tuple(
                f"{one.group} [{' '.join(map(str, one.zone))}]"
                for one in self._table.members
                if one.class_index == answer.best
            ),
            spots=measured.quality.spots,
            cell_ratio=lattice.ratio,
            cell_angle_deg=lattice.angle_deg,
            unexplained_spots=lattice.unexplained,
            residual_px=lattice.residual,
        )

    def _without_network(
        self, measured: MeasuredPattern, lattice: PlaneLattice | None, outcome: Outcome, reason: str
    ) -> PatternJudgement:
        return PatternJudgement(
            verdict=Verdict(outcome=outcome, reason=reason, model=self.identity),
            spots=measured.quality.spots,
            cell_ratio=None if lattice is None else lattice.ratio,
            cell_angle_deg=None if lattice is None else lattice.angle_deg,
            unexplained_spots=None if lattice is None else lattice.unexplained,
            residual_px=None if lattice is None else lattice.residual,
        )
