"""What a bundle says of itself (``model.json``), checked field by field when it is read.

What only one task's bundles say is kept as JSON here: the task's own module checks it whenever a manifest is made or
read, and parses it (see `braggwatch.models.bundling.tasks`). Importing this module suffices to read any bundle's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, field_validator, model_validator
from pydantic_core import InitErrorDetails, ValidationError

from braggwatch.models.bundling.tasks import DEFECT_TASK, task_named

if TYPE_CHECKING:
    from braggwatch.models.runtimes.base import Runtime

SCHEMA_VERSION = 1

PRIOR_TOLERANCE = 0.01
"""Largest deviation from 1 of a prior's sum: shares are written with two or three figures."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

TaskJson = dict[str, JsonValue]
"""What a bundle says in its task's own words, as it stands in ``model.json``."""


def task_json(said: BaseModel) -> TaskJson:
    """Return a task's model as it is kept in a manifest."""
    return said.model_dump(mode="json")


def plain_word(value: str) -> str:
    """Return a bundle's name or version if it is one.

    Raises
    ------
    ValueError
        If it isn't.
    """
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} must be a plain lower-case word of letters, digits, '.', '_' and '-'")
    return value


Normalisation = Literal["log1p-max", "network"]
"""Inside the graph, before the network: log1p and division by the maximum; or nothing, the network does its own."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Frozen):
    """The array that the network takes, and what a voxel of it means."""

    name: str = Field(default="counts", description="Input name in the ONNX graph.")
    axes: tuple[str, str, str] = Field(
        default=("Q", "perpendicular_1", "perpendicular_2"),
        description="Meaning of the axes; one of them is 'Q' where the input is a diffraction pattern.",
    )
    shape: tuple[int, int, int] = Field(default=(64, 64, 64))
    dtype: Literal["float32"] = "float32"
    normalisation: Normalisation = Field(
        default="log1p-max",
        description="Done inside the graph: log1p, then division by the maximum; 'network': the network's own.",
    )
    fringe_period_voxels: FiniteFloat = Field(
        default=0.0,
        ge=0.0,
        description="Fringe period 2π/(δq·L) the network was trained at, in voxels; 0 where there are no fringes.",
    )
    sdm: TaskJson | None = Field(
        default=None, description="How the spatial distribution maps were counted, where the input is these."
    )

    @model_validator(mode="after")
    def _q_axis_is_named(self) -> InputSpec:
        if self.normalisation == "log1p-max" and self.axes.count("Q") != 1:
            raise ValueError(f"exactly one input axis must be 'Q', got {self.axes}")
        if "Q" in self.axes and self.fringe_period_voxels <= 0:
            raise ValueError("a diffraction pattern needs the fringe period it was trained at, in voxels")
        if min(self.shape) < 1:
            raise ValueError(f"input shape must be positive, got {self.shape}")
        return self


class GroupAccuracy(_Frozen):
    """Accuracy in one slice of the test set."""

    group: str = Field(description="Name of the slice, e.g. '1e4 to 1e5' counts or 'Pt'.")
    samples: int = Field(ge=0)
    accuracy: FiniteFloat = Field(ge=0.0, le=1.0)


class BundleMetrics(_Frozen):
    """What the bundle reached on its own held-out test set."""

    samples: int = Field(ge=0)
    configurations: int = Field(ge=0, description="Independent crystals among the samples.")
    accuracy: FiniteFloat = Field(ge=0.0, le=1.0)
    perfect_vs_defect_accuracy: FiniteFloat | None = Field(default=None, ge=0.0, le=1.0)
    expected_calibration_error: FiniteFloat | None = Field(default=None, ge=0.0, le=1.0)
    by_counts: tuple[GroupAccuracy, ...] = ()
    by_element: tuple[GroupAccuracy, ...] = ()
    by_reflection: tuple[GroupAccuracy, ...] = ()
    by_source: tuple[GroupAccuracy, ...] = Field(default=(), description="By where the crystals came from.")
    ood_auroc: dict[str, FiniteFloat] = Field(default_factory=dict, description="AUROC by kind of outlier.")


class RingLimit(_Frozen):
    """How bright one crystal's fringes are from one distance of the peak to the next."""

    from_voxels: FiniteFloat = Field(gt=0.0, description="Where the ring begins; it ends where the next one begins.")
    max_ratio: FiniteFloat = Field(gt=0.0, description="Largest value there, relative to the peak.")


class PeakLimits(_Frozen):
    """In-distribution bounds of the measures in :mod:`braggwatch.models.cxdp.volume.peak_checks`; none: not checked."""

    min_fringe_contrast: FiniteFloat | None = Field(
        default=None, ge=0.0, le=1.0, description="Contrast of the dark fringes; below it: unsure."
    )
    max_aspect: FiniteFloat | None = Field(
        default=None, ge=1.0, description="Longest over shortest axis of the particle; above it: unsure."
    )
    max_hole_ratio: FiniteFloat | None = Field(
        default=None, gt=0.0, description="Light about voxels without any, relative to the peak; above it: unsure."
    )
    rings: tuple[RingLimit, ...] | None = Field(
        default=None, description="Brightness by distance from the peak; above one: out of distribution."
    )


class VolumeLimits(_Frozen):
    """In-distribution bounds of the measures in :mod:`braggwatch.models.cxdp.volume.volume_checks`."""

    max_center_offset_voxels: FiniteFloat = Field(gt=0.0)
    max_second_peak_ratio: FiniteFloat = Field(gt=0.0)
    max_half_extent_voxels: FiniteFloat = Field(gt=0.0)
    min_peak_to_mean: FiniteFloat = Field(ge=0.0)
    second_peak_radius_voxels: FiniteFloat = Field(
        gt=0.0, description="A second peak is looked for outside this distance from the first."
    )
    peak: PeakLimits | None = Field(
        default=None, description="Bounds of the peak's fringes, shape and wholeness; none: not checked."
    )


class VisibleRegionRow(_Frozen):
    """How many lines were found at each distance from the centre, in patterns of one range of counts and contrast."""

    peak_counts_from: FiniteFloat = Field(ge=0.0, description="Smallest peak voxel of the range, counts.")
    fringe_contrast_from: FiniteFloat = Field(ge=0.0, le=1.0, description="Smallest fringe contrast of the range.")
    lines: tuple[int, ...] = Field(description="Visible lines tested, for each range of distances.")
    found: tuple[int, ...] = Field(description="Those of them that were not called perfect.")

    @model_validator(mode="after")
    def _found_of_those_tested(self) -> VisibleRegionRow:
        if len(self.lines) != len(self.found):
            raise ValueError(f"{len(self.lines)} numbers of lines and {len(self.found)} of those found")
        if any(not 0 <= found <= lines for lines, found in zip(self.lines, self.found, strict=True)):
            raise ValueError("no more lines can be found than were tested")
        return self


class VisibleRegion(_Frozen):
    """How far off the centre the bundle finds lines, measured on crystals that training never saw.

    A distance is that of the line from the particle's centre over the cube root of its volume.
    """

    share: FiniteFloat = Field(default=0.95, gt=0.0, lt=1.0, description="Share that must be found to count as seen.")
    fewest_lines: int = Field(default=20, ge=1, description="Ranges with fewer lines than this don't count as seen.")
    distances: tuple[FiniteFloat, ...] = Field(
        default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), description="Where each range of distances begins; the last is open."
    )
    rows: tuple[VisibleRegionRow, ...] = Field(
        min_length=1, description="One for each range of counts and contrast, which ends where the next one begins."
    )

    @model_validator(mode="after")
    def _rows_fit(self) -> VisibleRegion:
        rising = all(low < high for low, high in zip(self.distances, self.distances[1:], strict=False))
        if len(self.distances) < 2 or self.distances[0] != 0.0 or not rising:
            raise ValueError(f"distances must rise from 0, got {self.distances}")
        if any(len(row.lines) != len(self.distances) for row in self.rows):
            raise ValueError(f"each row must have {len(self.distances)} ranges of distances")
        places = [(row.peak_counts_from, row.fringe_contrast_from) for row in self.rows]
        if len(set(places)) < len(places):
            raise ValueError("two rows are of the same range of counts and contrast")
        return self


class Thresholds(_Frozen):
    """Where a verdict stops being one."""

    confidence: FiniteFloat = Field(ge=0.0, le=1.0, description="Below this calibrated probability: unsure.")
    ood: FiniteFloat = Field(gt=0.0, description="Above this Mahalanobis distance: out of distribution.")
    significance: FiniteFloat = Field(
        gt=0.0, lt=1.0, description="Conformal error rate: classes with a smaller p-value are ruled out."
    )
    volume: VolumeLimits | None = Field(default=None, description="Bounds of the volume checks; none: not checked.")
    foreign: FiniteFloat | None = Field(
        default=None,
        description="Above these log odds of what the network learnt to refuse: out of distribution; none: not asked.",
    )
    unexplained_spots: FiniteFloat | None = Field(
        default=None, gt=0.0, le=1.0, description="Largest share of a pattern's spots off its lattice; none: no spots."
    )


class ValidDomain(_Frozen):
    """What the training data covered; outside it a verdict would be a guess."""

    elements: tuple[str, ...] = ()
    lattices: tuple[str, ...] = Field(
        default=(),
        description="Lattices trained on, e.g. 'fcc'; none: those of the elements, where tabulated.",
    )
    reflections: tuple[str, ...] = Field(
        default=(), description="Families trained on: '{111}' of any of the lattices, '{110} of bcc' of that one."
    )
    min_peak_counts: FiniteFloat = Field(default=0.0, ge=0.0, description="Smallest peak voxel trained on, counts.")
    max_peak_counts: FiniteFloat | None = Field(default=None, gt=0.0, description="Stated, not enforced.")
    notes: tuple[str, ...] = ()


class LearntCrystals(_Frozen):
    """The crystals that weights learnt from, for a later training that starts from them."""

    numbers: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict,
        description="Continuum crystals by the specification's seed: first and last of each range.",
    )
    relaxed: tuple[str, ...] = Field(default=(), description="What stands for each relaxed crystal.")
    complete: bool = Field(description="Whether these are all, those of earlier bundles included.")


class Separation(_Frozen):
    """Crystals in training, calibration and test, compared one by one."""

    training: int = Field(ge=0, description="Crystals learnt from.")
    calibration: int = Field(ge=0)
    test: int = Field(ge=0)
    shared: int = Field(
        ge=0,
        description="Crystals in several of these, or learnt from by an earlier bundle and calibrated or tested on.",
    )
    shared_outliers: int = Field(default=0, ge=0, description="Outliers both shown in training and tested on.")
    unidentified: int = Field(default=0, ge=0, description="Relaxed crystals that couldn't be compared.")
    started_from: str | None = Field(default=None, description="Bundle whose weights training started from.")
    earlier_known: bool = Field(default=True, description="Whether all crystals that it learnt from are known.")


class Provenance(_Frozen):
    """Where the weights come from."""

    training_sets: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of every training file, by file name."
    )
    code_version: str = Field(description="Version or commit of the code that trained it.")
    seed: int | None = None
    parameters: int | None = Field(default=None, ge=0, description="Number of trained parameters.")
    network: str | None = Field(default=None, description="Which network, e.g. 'foveated' or 'paper'.")
    specifications: tuple[str, ...] = Field(
        default=(), description="Digests of the specifications that the training files were made by."
    )
    learnt: LearntCrystals | None = Field(default=None, description="Crystals learnt from, where these are recorded.")
    separation: Separation | None = Field(
        default=None, description="How training, calibration and test are kept apart, where that was checked."
    )

    @field_validator("training_sets")
    @classmethod
    def _hashes(cls, value: dict[str, str]) -> dict[str, str]:
        for name, digest in value.items():
            if not _SHA256.fullmatch(digest):
                raise ValueError(f"{name}: not a hexadecimal SHA-256: {digest!r}")
        return value


class TestedRuntime(_Frozen):
    """A runtime that reproduced the golden outputs when the bundle was made."""

    __test__ = False

    name: str
    version: str
    max_abs_difference: FiniteFloat = Field(ge=0.0, description="Largest deviation of a logit from the reference.")

    @classmethod
    def reference(cls, runtime: Runtime) -> TestedRuntime:
        """Return the record of the runtime that made the golden outputs."""
        return cls(name=runtime.name, version=runtime.version, max_abs_difference=0.0)


class Manifest(BaseModel):
    """The whole of ``model.json``; a task may have fields of its own after these."""

    # What isn't a field is refused unless the task has it, and no task here does.
    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra={"additionalProperties": False})

    schema_version: int = SCHEMA_VERSION
    name: str = Field(description="Bundle name, lower case, e.g. 'cxdp-fcc'.")
    version: str = Field(description="Bundle version, e.g. '1.0.0'.")
    task: str = Field(
        default=DEFECT_TASK,
        min_length=1,
        description="What is classified, e.g. 'apt-order': who uses a bundle goes by this word and the input's shape.",
    )
    classes: tuple[str, ...] = Field(description="Class names in the order of the network's outputs.")
    alien_classes: tuple[str, ...] = Field(
        default=(), description="Those of the classes that stand for what is no single crystal's peak: never named."
    )
    input: InputSpec
    groups: TaskJson | None = Field(
        default=None, description="Space groups behind the classes, where these are of zone-axis patterns."
    )
    order_rule: TaskJson | None = Field(
        default=None, description="How a map of scores is cut into ordered and not, where voxels are classified."
    )
    features: int = Field(gt=0, description="Length of the feature vector.")
    temperature: FiniteFloat = Field(gt=0.0, description="Softmax temperature inside the graph.")
    symmetry_copies: Literal[1, 2, 4, 8] = Field(
        default=8, description="Mirror images averaged in calibration; the classifier's default."
    )
    thresholds: Thresholds
    prior: dict[str, FiniteFloat] | None = Field(
        default=None, description="Share of each class among the calibration samples; none: not stated."
    )
    visible_region: VisibleRegion | None = Field(
        default=None, description="How far off the centre lines are found; none: not measured."
    )
    valid_domain: ValidDomain = Field(default_factory=ValidDomain)
    provenance: Provenance
    metrics: BundleMetrics | None = None
    tested_runtimes: tuple[TestedRuntime, ...] = ()
    golden_tolerance: FiniteFloat = Field(
        default=1e-3, gt=0.0, description="Largest allowed deviation of a golden logit or probability."
    )

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, value: int) -> int:
        if value != SCHEMA_VERSION:
            raise ValueError(f"this code reads bundle schema {SCHEMA_VERSION}, the bundle has {value}")
        return value

    @field_validator("name", "version")
    @classmethod
    def _plain_word(cls, value: str) -> str:
        return plain_word(value)

    @field_validator("classes")
    @classmethod
    def _distinct_classes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) < 2 or len(set(value)) != len(value):
            raise ValueError(f"at least two distinct classes are needed, got {value}")
        return value

    @model_validator(mode="after")
    def _outliers_are_classes(self) -> Manifest:
        if not set(self.alien_classes) < set(self.classes):
            raise ValueError(f"alien classes {self.alien_classes} must be some, not all, of {self.classes}")
        return self

    @model_validator(mode="after")
    def _prior_is_of_the_classes(self) -> Manifest:
        if self.prior is None:
            return self
        if set(self.prior) != set(self.classes) or min(self.prior.values()) <= 0.0:
            raise ValueError(f"the prior must give each of {self.classes} a positive share, got {self.prior}")
        if abs(sum(self.prior.values()) - 1.0) > PRIOR_TOLERANCE:
            raise ValueError(f"the prior's shares add up to {sum(self.prior.values()):.4f}, not to 1")
        return self

    @model_validator(mode="after")
    def _task_says_what_it_may(self) -> Manifest:
        task = task_named(self.task)
        own = frozenset[str]() if task is None else task.fields
        unknown = [name for name in self.model_extra or {} if name not in own]
        if unknown:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [InitErrorDetails(type="extra_forbidden", loc=(name,), input=None) for name in unknown],
            )
        if task is not None:
            task.check(self.model_dump(mode="json"))
        return self

    @property
    def id(self) -> str:
        """Name and version in one word, e.g. ``cxdp-fcc/1.0.0``."""
        return f"{self.name}/{self.version}"
