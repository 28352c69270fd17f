"""Test patterns and what was said of each, without the volumes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.cxdp.classifier import Classifier
from braggwatch.models.slice_picture import png_bytes, render_slices
from braggwatch.models.verdict import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class LabelledVolume:
    """One test pattern. What isn't known of it is None.

    Attributes
    ----------
    counts
        (64, 64, 64) float32 raw counts, axis 0 along Q.
    label
        True class, by name, or a kind of pattern that is none of the classes.
    configuration
        Identifies the crystal: patterns of one crystal aren't independent.
    element
        Chemical symbol.
    line_offset
        Distance of the dislocation line from the particle's centre, in cube roots of the crystal's volume, where there
        is a line.
    hkl
        Reflection measured.
    g_dot_b
        Product of reciprocal lattice vector and Burgers vector, where there is a line.
    completeness
        Share of the rocking curve's frames that arrived.
    strain_rad
        Smooth strain, as the phase that it makes at the reflection.
    source
        Where the crystal came from, e.g. 'continuum'.
    character_deg
        Angle between line and Burgers vector, where there is a line: 0 screw, 90 edge.
    aspect
        Longest over shortest extent of the crystal.
    blur_fringes
        Sigma of the blur of partial coherence along the axis where it is largest, in fringes.
    artefact
        What spoils the pattern, e.g. 'gap' or 'blank_frames'; 'none' where nothing does.
    lattice
        Of the crystal, e.g. 'fcc'.
    """

    counts: NDArray[np.float32]
    label: str
    configuration: str
    element: str | None = None
    line_offset: float | None = None
    hkl: tuple[int, int, int] | None = None
    g_dot_b: float | None = None
    completeness: float | None = None
    strain_rad: float | None = None
    source: str | None = None
    character_deg: float | None = None
    aspect: float | None = None
    blur_fringes: float | None = None
    artefact: str | None = None
    lattice: str | None = None


NO_ARTEFACT = "none"
"""What spoils a pattern of which it is known that nothing does."""

Loader = Callable[[], Iterable[LabelledVolume]]
"""Opens a labelled data set, whatever its files look like; called once an evaluation."""

OutlierLoader = Callable[[], Iterable[NDArray[np.float32]]]
"""Opens volumes of one kind that no class of the bundle describes."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said of one labelled pattern, without its volume; facts as in `LabelledVolume`.

    Attributes
    ----------
    peak_counts
        Largest voxel.
    probabilities
        Of every class; None where no network ran (invalid, error).
    picture
        Where the most probable class is wrong: the central slices as PNG, base64.
    """

    label: str
    configuration: str
    element: str | None
    line_offset: float | None
    peak_counts: float
    outcome: Outcome
    probabilities: tuple[float, ...] | None
    ood_score: float | None
    hkl: tuple[int, int, int] | None = None
    g_dot_b: float | None = None
    completeness: float | None = None
    strain_rad: float | None = None
    source: str | None = None
    picture: str | None = None
    character_deg: float | None = None
    aspect: float | None = None
    blur_fringes: float | None = None
    artefact: str | None = None
    lattice: str | None = None

    @property
    def named(self) -> bool:
        """Whether a class was told to the user."""
        return self.outcome is Outcome.CLASSIFIED


def predict(classifier: Classifier, volumes: Iterable[LabelledVolume], classes: Sequence[str]) -> list[Prediction]:
    """Classify every volume as in service, keeping what an evaluation needs and none of the volumes."""
    return [_prediction(one, classifier.classify(one.counts), classes) for one in volumes]


def _prediction(volume: LabelledVolume, verdict: Verdict, classes: Sequence[str]) -> Prediction:
    seen = verdict.probabilities
    wrong = bool(seen) and volume.label in classes and max(classes, key=lambda name: seen[name]) != volume.label
    return Prediction(
        label=volume.label,
        configuration=volume.configuration,
        element=volume.element,
        line_offset=volume.line_offset,
        peak_counts=float(volume.counts.max()),
        outcome=verdict.outcome,
        probabilities=tuple(seen[name] for name in classes) if seen else None,
        ood_score=verdict.ood_score,
        hkl=volume.hkl,
        g_dot_b=volume.g_dot_b,
        completeness=volume.completeness,
        strain_rad=volume.strain_rad,
        source=volume.source,
        picture=b64encode(png_bytes(render_slices(volume.counts, zoom=1))).decode() if wrong else None,
        character_deg=volume.character_deg,
        aspect=volume.aspect,
        blur_fringes=volume.blur_fringes,
        artefact=volume.artefact,
        lattice=volume.lattice,
    )
