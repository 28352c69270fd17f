"""From a measured pattern to its class and P(space group), or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.models.bundle import Bundle
from braggwatch.models.ood import sample_scores
from braggwatch.models.runtimes.base import InferenceError, Runtime, RuntimeOutput
from braggwatch.models.runtimes.factory import RuntimePreference, open_runtime
from braggwatch.models.runtimes.takeover import TakeoverRuntime
from braggwatch.models.sadp.cells import cubic_cells, shows_cell
from braggwatch.models.sadp.crystal import CrystalPosterior, NextZone, combine, next_zones, pattern_groups
from braggwatch.models.sadp.groups import GroupTable, Zone
from braggwatch.models.sadp.lattice_map import MAP_SHAPE, SINGLE_SHAPE, lattice_maps
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.sadp.plane_lattice import PlaneLattice
from braggwatch.models.sadp.task import group_table
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict

_CLASSES_NAMED = 4
"""More classes that can't be ruled out than these are counted, not listed: nobody reads two dozen."""

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
    ValueError
        If the bundle is of another system, or states no metrics.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        *,
        threads: int = 1,
        on_takeover: Callable[[str], None] | None = None,
    ) -> None:
        manifest = bundle.manifest
        table = group_table(manifest)
        if table is None or manifest.input.shape not in (MAP_SHAPE, SINGLE_SHAPE):
            raise ValueError(f"{manifest.id} is no bundle for electron diffraction patterns")
        if manifest.metrics is None:
            raise ValueError(
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
            If the bundle is incomplete or changed.
        RuntimeUnavailableError
            If nothing here can run it, or not to its golden outputs.
        ValueError
            If it is a bundle of another system.
        """
        bundle = Bundle.load(path)
        if bundle.manifest.groups is None:
            raise ValueError(f"{bundle.manifest.id} is no bundle for electron diffraction patterns")
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
        return self._judgement(measured, lattice, self._in_its_cell(self._judge(output), lattices), self._mean(output))

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

    def _mean(self, output: RuntimeOutput) -> NDArray[np.float64]:
        mean = output.probabilities.astype(np.float64).mean(axis=0)
        return mean / mean.sum()

    def _judge(self, output: RuntimeOutput) -> Verdict:
        manifest, trust = self._bundle.manifest, self._bundle.trust
        per_copy = output.probabilities.astype(np.float64)
        if not np.isfinite(per_copy).all() or not np.isfinite(output.features).all():
            return Verdict(
                outcome=Outcome.ERROR, reason="the network's outputs are not finite numbers", model=self.identity
            )
        mean = self._mean(output)
        best = int(mean.argmax())
        members = trust.conformal.prediction_set(mean, manifest.thresholds.significance)
        score = float(sample_scores(trust.detector, output.features[None])[0])
        outcome, reason = self._gate(score, best, min(float(mean[best]), 1.0), members)
        p_values = trust.conformal.p_values(mean)
        return Verdict(
            outcome=outcome,
            label=manifest.classes[best] if outcome is Outcome.CLASSIFIED else None,
            reason=reason,
            probabilities={name: float(value) for name, value in zip(manifest.classes, mean, strict=True)},
            confidence=min(float(mean[best]), 1.0),
            prediction_set=tuple(manifest.classes[number] for number in members),
            p_values={name: float(value) for name, value in zip(manifest.classes, p_values, strict=True)},
            ood_score=score,
            ood_threshold=manifest.thresholds.ood,
            flip_spread=float(per_copy[:, best].std()),
            model=self.identity,
        )

    def _gate(self, score: float, best: int, confidence: float, members: tuple[int, ...]) -> tuple[Outcome, str | None]:
        manifest = self._bundle.manifest
        name = manifest.classes[best]
        if name in manifest.alien_classes:
            return Outcome.OUT_OF_DISTRIBUTION, f"no cubic zone known here ({confidence:.2f})"
        if score > manifest.thresholds.ood:
            limit = manifest.thresholds.ood
            return Outcome.OUT_OF_DISTRIBUTION, f"unlike the training data (distance {score:.2f}, at most {limit:.2f})"
        if confidence < manifest.thresholds.confidence:
            asked = manifest.thresholds.confidence
            return Outcome.UNSURE, f"{name} at {confidence:.2f}, at least {asked:.2f} is asked for"
        if not members:
            return Outcome.UNSURE, "no class fits the calibration samples"
        if members != (best,):
            named = " or ".join(manifest.classes[number] for number in members)
            listed = named if len(members) <= _CLASSES_NAMED else f"{len(members)} of {len(manifest.classes)} classes"
            return Outcome.UNSURE, f"can't rule out {listed}"
        return Outcome.CLASSIFIED, None

    def _judgement(
        self, measured: MeasuredPattern, lattice: PlaneLattice, verdict: Verdict, mean: NDArray[np.float64]
    ) -> PatternJudgement:
        best = int(mean.argmax())
        return PatternJudgement(
            verdict=verdict,
            groups={
                name: float(value)
                for name, value in zip(self._table.groups, pattern_groups(mean, self._table)[0], strict=True)
            }
            if verdict.probabilities
            else {},
            members=tuple(
                f"{one.group} [{' '.join(map(str, one.zone))}]"
                for one in self._table.members
                if one.class_index == best
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
